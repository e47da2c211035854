"""Input that must be refused with a message, and input that is odd but must work.

Run as a program with the name of a file, it makes every call, writes into the file what it is about to do,
and at last "done": that calls do not print, exit or hang only another process can tell.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.graph.neighbors import neighbor_list
from distmlip.graph.partitioning import partition

Call = Callable[[], object]

COPPER = bulk("Cu", cubic=True)
FULLY = (True, True, True)


def structure(cell: Any = 4.0, positions: Any = None, pbc: Any = FULLY) -> Atoms:
    """Four atoms."""
    atoms = Atoms("H4", positions=COPPER.positions if positions is None else positions, pbc=pbc)
    atoms.cell[:] = np.eye(3) * cell if np.ndim(cell) == 0 else cell
    return atoms


def moved(atom: int, axis: int, value: float, **other: Any) -> Atoms:
    atoms = structure(**other)
    atoms.positions[atom, axis] = value
    return atoms


A, B, C = np.diag([4.0, 5.0, 6.0])

BAD_STRUCTURES: dict[str, tuple[Atoms, str]] = {
    "position not a number": (moved(2, 1, math.nan), r"atom 2 .*nan.*finite"),
    "position infinite": (moved(3, 0, math.inf), r"atom 3 .*inf.*finite"),
    "position infinite, open": (moved(0, 2, -math.inf, pbc=False), r"atom 0 .*inf.*finite"),
    "position not a number, open": (moved(1, 0, math.nan, cell=0.0, pbc=False), r"atom 1 .*nan.*finite"),
    "position too far away": (moved(1, 1, 2e9), r"atom 1 .*2e\+09.*1e\+09"),
    "too many cells away": (moved(1, 1, 9e8, cell=0.1), r"atom 1 .*cells.*wrap"),
    "no cell": (structure(0.0), r"volume.*switch off pbc"),
    "no first vector": (structure([A * 0, B, C]), r"volume.*switch off pbc"),
    "no second vector of two": (structure([A, B * 0, C], pbc=(True, True, False)), r"switch off pbc"),
    "no third vector of one": (structure([A, B, C * 0], pbc=(False, False, True)), r"switch off pbc"),
    "same vector twice": (structure([A, B, A]), r"volume.*independent"),
    "opposite vectors": (structure([A, -A, C], pbc=(True, True, False)), r"volume.*independent"),
    "vectors in a plane": (structure([A, B, 3 * A - 2 * B]), r"volume.*independent"),
    "nearly in a plane": (structure([A, B, A + B + 1e-12 * C]), r"volume.*independent"),
    "cell not a number": (structure([A, [0, math.nan, 0], C]), r"nan.*finite"),
    "cell infinite": (structure([A, [0, math.inf, 0], C]), r"inf.*finite"),
    "cell far too small": (structure(0.02), r"3.*0\.02.*65535.*repeat the cell"),
    "cell far too thin": (structure([1e-5 * A, B, C]), r"images.*repeat the cell"),
    "cell far too flat": (structure([A, B, 3 * A + 2 * B + 1e-4 * C]), r"images.*repeat the cell"),
    "no cell to speak of": (structure(1e-200), r"volume|images|cells"),
}

BAD_CUTOFFS: dict[str, tuple[float, str]] = {
    "negative": (-1.0, r"cutoff.*-1"),
    "not a number": (math.nan, r"cutoff.*nan"),
    "infinite": (math.inf, r"cutoff.*inf"),
    "minus infinity": (-math.inf, r"cutoff.*inf"),
    "beyond all images": (1e9, r"1e\+09.*(images.*repeat the cell|at most)"),
    "next to infinity": (1e308, r"(1e\+308|inf).*(images.*repeat the cell|at most)"),
}

BAD_DECOMPOSITIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no cutoff": ({"cutoff": 0.0}, r"cutoff is 0 .*above 0"),
    "minus no cutoff": ({"cutoff": -0.0}, r"cutoff is -0 .*above 0"),
    "bond cutoff above the cutoff": ({"bond_cutoff": 3.01}, r"bond_cutoff is 3\.01 .*cutoff of 3"),
    "negative bond cutoff": ({"bond_cutoff": -1.0}, r"bond_cutoff is -1"),
    "bond cutoff not a number": ({"bond_cutoff": math.nan}, r"bond_cutoff is nan"),
    "negative skin": ({"skin": -0.1}, r"skin is -0\.1"),
    "skin not a number": ({"skin": math.nan}, r"skin is nan"),
    "infinite skin": ({"skin": math.inf}, r"skin is inf"),
    "skin beyond all images": ({"skin": 1e5}, r"images.*repeat the cell"),
    "no partitions": ({"n_partitions": 0}, r"n_partitions is 0; .*between 1 and"),
    "minus one partition": ({"n_partitions": -1}, r"n_partitions is -1; .*between 1 and"),
    "1e9 partitions": ({"n_partitions": 10**9}, r"n_partitions is 1000000000; .*between 1 and"),
    "positions in a row": ({"positions": np.zeros(12)}, r"positions .*\(n_atoms, 3\)"),
    "positions of four numbers": ({"positions": np.zeros((3, 4))}, r"positions .*\(n_atoms, 3\)"),
    "positions of three axes": ({"positions": np.zeros((4, 3, 1))}, r"positions .*\(n_atoms, 3\)"),
    "one number for positions": ({"positions": np.array(1.0)}, r"positions .*\(n_atoms, 3\)"),
    "cell of two rows": ({"cell": np.eye(3)[:2]}, r"cell .*\(3, 3\)"),
    "cell of nine numbers": ({"cell": np.eye(3).ravel()}, r"cell .*\(3, 3\)"),
    "three weights": ({"weights": np.ones(3)}, r"weights .*\(n_atoms,\)"),
    "weights in a column": ({"weights": np.ones((4, 1))}, r"weights .*\(n_atoms,\)"),
    "negative weight": ({"weights": np.array([1, 2, -3, 4.0])}, r"weights\[2\] is -3"),
    "weight not a number": ({"weights": np.array([1, math.nan, 3, 4.0])}, r"weights\[1\] is nan"),
    "infinite weight": ({"weights": np.array([1, 2, 3, math.inf])}, r"weights\[3\] is inf"),
    "unknown method": ({"method": "metis"}, r"'metis'.*'slab'"),
}


def refused() -> dict[str, tuple[Call, str]]:
    """By name: a call, and a pattern of the message that it must be refused with."""
    calls: dict[str, tuple[Call, str]] = {}

    def add(name: str, call: Call, message: str) -> None:
        assert name not in calls
        calls[name] = (call, message)

    for name, (atoms, message) in BAD_STRUCTURES.items():
        add(f"neighbor_list, {name}", lambda atoms=atoms: neighbor_list("ijdDS", atoms, 3.0), message)
        add(f"partition, {name}", lambda atoms=atoms: partition(atoms, 3.0, 3), message)
        add(f"Decomposition, {name}", lambda atoms=atoms: decomposition(atoms, skin=0.5), message)
    for name, (cutoff, message) in BAD_CUTOFFS.items():
        add(f"neighbor_list, cutoff {name}", lambda c=cutoff: neighbor_list("i", COPPER, c), message)
        add(f"partition, cutoff {name}", lambda c=cutoff: partition(COPPER, c, 2), message)
        add(f"Decomposition, cutoff {name}", lambda c=cutoff: decomposition(COPPER, cutoff=c), message)
    for name, (options, message) in BAD_DECOMPOSITIONS.items():
        add(f"Decomposition, {name}", lambda options=options: decomposition(COPPER, **options), message)
    for name, count in {"no": 0, "minus one": -1, "1e9": 10**9, "1e30": 10**30}.items():
        add(f"partition, {name} partitions", lambda n=count: partition(COPPER, 3.0, n), f"{count}.*between 1")
    return calls


def decomposition(atoms: Atoms, **changes: Any) -> core.Decomposition:
    call = {"positions": atoms.positions, "cell": atoms.cell.array, "periodic": atoms.pbc, "cutoff": 3.0}
    return core.Decomposition(**{**call, "n_partitions": 3, **changes})


ODD_CELLS = {
    "open rows not a number": structure([A, [math.nan] * 3, C], pbc=(True, False, True)),
    "open rows infinite": structure([A, B, [math.inf] * 3], pbc=(True, True, False)),
    "nothing but nan": structure(np.full((3, 3), math.nan), pbc=False),
}
"""Vectors of open axes mean nothing; these may be ignored or refused."""


def allowed() -> dict[str, Call]:
    """By name: calls that must come back, and not with an exception."""
    lone = structure(4.0, np.zeros((4, 3)))
    calls: dict[str, Call] = {}
    for cutoff in (0.0, 5e-324, 1e-310, 1e-200, 1e-20):
        for name, atoms in {"all at the origin": lone, "copper": COPPER, "one atom": lone[:1]}.items():
            calls[f"cutoff {cutoff}, {name}"] = lambda a=atoms, c=cutoff: neighbor_list("ijdDS", a, c)
            if cutoff > 0:
                calls[f"partition, cutoff {cutoff}, {name}"] = lambda a=atoms, c=cutoff: partition(a, c, 3)
    calls["radii of zero"] = lambda: neighbor_list("ij", lone, np.zeros(4))
    calls["pair cutoff of zero"] = lambda: neighbor_list("ij", lone, {("H", "H"): 0.0})
    for name, weights in {"huge": np.full(4, 1e308), "tiny": np.full(4, 5e-324), "zero": np.zeros(4)}.items():
        for method in ("slab", "bisection"):
            calls[f"{name} weights, {method}"] = lambda w=weights, m=method: partition(
                COPPER, 3.0, 3, weights=w, method=m
            )
    calls["more threads than atoms"] = lambda: decomposition(COPPER, n_threads=10_000)
    calls["all partitions there may be"] = lambda: decomposition(COPPER, n_partitions=4096)
    calls["cutoff of 1e6 Å, open"] = lambda: partition(structure(pbc=False), 1e6, 3)
    calls["positions not a number in a step"] = lambda: decomposition(COPPER, bond_cutoff=3.0, skin=1.0).step(
        0, np.full((4, 3), math.nan)
    )
    calls["infinite positions in a step"] = lambda: decomposition(COPPER, bond_cutoff=3.0, skin=1.0).step(
        0, np.full((4, 3), math.inf)
    )
    return calls


def main(progress: Path) -> None:
    def refuses(call: Call) -> bool:
        try:
            call()
        except InvalidInputError:
            return True
        return False

    for name, (call, _) in refused().items():
        progress.write_text(f"refused: {name}")
        if not refuses(call):
            raise SystemExit(1)
    for name, call in allowed().items():
        progress.write_text(f"allowed: {name}")
        call()
    for name, atoms in ODD_CELLS.items():
        progress.write_text(f"refused or ignored: {name}")
        plain = structure(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0), pbc=atoms.pbc)
        if not refuses(lambda atoms=atoms: neighbor_list("i", atoms, 3.0)):
            assert len(neighbor_list("i", atoms, 3.0)) == len(neighbor_list("i", plain, 3.0))
        if not refuses(lambda atoms=atoms: partition(atoms, 3.0, 2)):
            n_edges = sum(len(part.senders) for part in partition(atoms, 3.0, 2).parts)
            assert n_edges == len(neighbor_list("i", plain, 3.0))
    progress.write_text("done")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
