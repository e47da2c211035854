"""Neighbour lists side by side: distmlip, vesin, nvalchemi-toolkit-ops, pymatgen, matscipy and ASE.

    python benchmarks/bench_neighbors.py            everything, about 15 minutes on 2 cores
    python benchmarks/bench_neighbors.py --quick    one minute: few sizes, few rounds

Two contests on each structure. "edges": who is whose neighbour in which image, in each package's own
compact form; for distmlip that is the graph of one partition, as its calculator uses it. "arrays":
neighbor_list("ijSD"), new NumPy arrays sorted by i. A third, "boundaries", has a slab under vacuum whose
third axis is open or periodic. Candidates take turns (measure.py).

Who takes part: a package that would need more than 10 s a turn, judged by the next smaller size, does not;
10^6 atoms are for distmlip and vesin only, except in fcc Cu with the first cutoff; and so are two threads,
which the others do not use.

Writes benchmarks/results/neighbors.json and prints it as tables.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import candidates
import tables
from ase import Atoms
from measure import PACKAGES, RESULTS, Arena, Candidate, Facts, machine, seconds, versions, write_results
from systems import SYSTEMS, slab
from tables import FASTEST

from distmlip._native import core

OUTPUT = RESULTS / "neighbors.json"
SIZES = (10**4, 10**5, 10**6)
CUTOFFS = (5.0, 6.0)  # Å
MOST_ATOMS_FOR_ALL = 200_000
SLAB_ATOMS = 48_000
LONGEST_TURN = 10.0  # s, expected
LIMIT = 40.0  # s, after which a turn is given up
BUDGET = 5.0  # s for the turns of a candidate, beyond three

ENTRANTS: dict[str, dict[str, dict[str, Any]]] = {
    "edges": {
        "distmlip": {"prepare": candidates.distmlip_graph},
        "vesin": {"prepare": candidates.vesin_edges, "package": "vesin"},
        "nvalchemi": {"prepare": candidates.nvalchemi_edges, "package": "nvalchemiops"},
        "pymatgen": {"prepare": candidates.pymatgen_edges, "package": "pymatgen"},
    },
    "arrays": {
        "distmlip": {"prepare": candidates.distmlip_arrays},
        "vesin": {"prepare": candidates.vesin_arrays, "package": "vesin"},
        "vesin, unsorted": {"prepare": candidates.vesin_arrays, "package": "vesin", "in_order": False},
        "matscipy": {"prepare": candidates.matscipy_arrays, "package": "matscipy"},
        "ase": {"prepare": candidates.ase_arrays, "package": "ase"},
    },
}


@dataclass(frozen=True)
class Case:
    """One contest."""

    kind: str
    system: str
    size: int
    cutoff: float
    threads: int = 1


def cases(systems: list[str], sizes: list[int], cutoffs: list[float], threads: list[int]) -> Iterator[Case]:
    """Contests in the order of their sizes; at the largest size the cheap ones only."""
    for size in sorted(sizes):
        for system in systems:
            for cutoff in cutoffs:
                for n_threads in threads:
                    small = size <= MOST_ATOMS_FOR_ALL
                    reference = system == "fcc Cu" and cutoff == cutoffs[0]
                    if small or reference or (n_threads == 1 and cutoff == cutoffs[0]):
                        yield Case("edges", system, size, cutoff, n_threads)
                    if small or (reference and n_threads == 1):
                        yield Case("arrays", system, size, cutoff, n_threads)


class Bench:
    """Runs cases and remembers how long each candidate took."""

    def __init__(self, arena: Arena, rounds: int | None) -> None:
        self.arena = arena
        self.rounds = rounds
        self.seconds_per_atom: dict[tuple[str, str, str], float] = {}

    def run(self, case: Case, atoms: Atoms) -> Facts:
        """One contest, with a line for each candidate that is left out."""
        not_run, entered = {}, []
        for name, entrant in self._entrants(case).items():
            expected = self.seconds_per_atom.get((case.kind, name, case.system), 0.0) * len(atoms)
            if expected > LONGEST_TURN:
                not_run[name] = {"status": f"not run: about {expected:.0f} s expected"}
            else:
                entered.append(_candidate(name, atoms, case, **entrant))
        results = self.arena.compete(entered, self._rounds(len(atoms)), LIMIT, BUDGET) | not_run
        for name, result in results.items():
            if "cpu_s" in result and case.threads == 1:
                per_atom = seconds(result) / len(atoms)
                self.seconds_per_atom[case.kind, name, case.system] = per_atom
        return _facts(case, atoms, results)

    def boundaries(self, size: int, cutoff: float) -> Facts:
        """A slab under vacuum, its third axis open and periodic."""
        case = Case("boundaries", "Cu slab", size, cutoff)
        entered = []
        for boundary in ("TTF", "TTT"):
            atoms = slab(size)
            atoms.pbc = [letter == "T" for letter in boundary]
            entered += [
                _candidate(f"{name} {boundary}", atoms, case, **ENTRANTS["edges"][name]) for name in FASTEST
            ]
        return _facts(case, atoms, self.arena.compete(entered, self._rounds(len(atoms)), LIMIT, BUDGET))

    def _entrants(self, case: Case) -> dict[str, dict[str, Any]]:
        entrants = ENTRANTS[case.kind]
        if case.threads > 1 or (case.size > MOST_ATOMS_FOR_ALL and case.system != "fcc Cu"):
            return {name: entrants[name] for name in FASTEST}
        if case.kind == "edges" and case.system == "fcc Cu":
            levels = {
                f"distmlip, {level}": {**entrants["distmlip"], "simd": level}
                for level in core.simd_levels[1:]
            }
            return {**entrants, **levels}
        return entrants

    def _rounds(self, n_atoms: int) -> int:
        return self.rounds or (7 if n_atoms < 50_000 else 5 if n_atoms < MOST_ATOMS_FOR_ALL else 3)


def _candidate(
    name: str, atoms: Atoms, case: Case, prepare: Any, package: str = "distmlip", **options: Any
) -> Candidate:
    if case.threads > 1 and prepare is not candidates.distmlip_arrays:
        options["threads"] = case.threads
    return Candidate(name, prepare, atoms, {"cutoff": case.cutoff, **options}, package, case.threads)


def _facts(case: Case, atoms: Atoms, results: dict[str, Facts]) -> Facts:
    counts = {result["n_pairs"] for result in results.values() if "n_pairs" in result}
    if len(counts) > 1:
        print(f"!! {case}: pairs differ: {counts}", file=sys.stderr)
    return {
        "kind": case.kind,
        "system": case.system,
        "n_atoms": len(atoms),
        "n_pairs": min(counts, default=None),
        "cutoff": case.cutoff,
        "threads": case.threads,
        "results": results,
    }


def main() -> None:
    """Measure, write JSON, print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="atoms, about")
    parser.add_argument("--cutoffs", nargs="+", type=float, default=list(CUTOFFS), help="Å")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--packages", nargs="+", choices=list(PACKAGES), default=list(PACKAGES))
    parser.add_argument("--rounds", type=int, help="measured turns of each candidate, at most")
    parser.add_argument(
        "--quick", action="store_true", help="fcc Cu, water and the nanoparticle with 5 Å only"
    )
    parser.add_argument("--output", type=Path, help="JSON; by default in benchmarks/results unless quick")
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.quick else OUTPUT)
    slab_atoms = min(SLAB_ATOMS, max(arguments.sizes))
    if arguments.quick:
        arguments.systems = ["fcc Cu", "water", "Cu nanoparticle"]
        arguments.sizes, arguments.cutoffs, arguments.threads, arguments.rounds = [10**4], [5.0], [1], 2
        slab_atoms = 10**4
    bench = Bench(Arena(arguments.packages), arguments.rounds)
    header = {"machine": machine(), "versions": versions(), "simd": list(core.simd_levels)}
    measured = [bench.boundaries(slab_atoms, arguments.cutoffs[0])]
    for case in cases(arguments.systems, arguments.sizes, arguments.cutoffs, arguments.threads):
        print(case, file=sys.stderr)
        measured.append(bench.run(case, SYSTEMS[case.system](case.size)))
        write_results(output, header, measured)
    print(tables.neighbors({**header, "cases": measured}, everything=True))


if __name__ == "__main__":
    main()
