"""Structures that break neighbour lists: each one small, each one awkward in its own way."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111

ALL_BOUNDARIES = list(itertools.product([False, True], repeat=3))
PERIODIC = (True, True, True)
OPEN = (False, False, False)

SKEWED = np.array([[3.1, 0.2, 0.0], [0.1, 4.0, 0.3], [-0.4, 0.2, 5.0]])
"""A harmless triclinic cell, to which others add."""


@dataclass(frozen=True)
class Case:
    """Atoms and a cutoff (Å)."""

    atoms: Atoms
    cutoff: float


def hydrogens(positions: np.ndarray, cell: np.ndarray | float = 0.0, pbc: tuple[bool, ...] = OPEN) -> Atoms:
    # Not Atoms(cell=…): it turns three numbers into a diagonal and refuses others.
    rows = np.zeros((3, 3)) + (np.asarray(cell) if np.ndim(cell) == 2 else np.diag(np.ones(3)) * cell)
    return Atoms(numbers=np.ones(len(positions), dtype=int), positions=positions, cell=rows, pbc=pbc)


def scattered(n_atoms: int, cell: np.ndarray, pbc: tuple[bool, ...] = PERIODIC, seed: int = 0) -> Atoms:
    """Atoms anywhere in the cell."""
    fractional = np.random.default_rng(seed).random((n_atoms, 3))
    return hydrogens(fractional @ cell, cell, pbc)


def hard_cases() -> dict[str, Case]:
    """By name; every one has fewer than 500 atoms and 50,000 edges."""
    groups = (
        _small_cells,
        _coincident_atoms,
        _boundaries,
        _far_away,
        _open_axes,
        _long_and_flat_cells,
        _skewed_cells,
        _sparse_systems,
        _cutoffs,
    )
    cases: dict[str, Case] = {}
    for group in groups:
        for name, case in group():
            assert name not in cases
            cases[name] = case
    return cases


Named = Iterator[tuple[str, Case]]


def _small_cells() -> Named:
    """Atoms that are neighbours of their own images."""
    for name, cutoff in {"Cu": 8.0, "Fe": 7.0, "Mg": 7.0, "Si": 9.0}.items():
        yield f"primitive {name}", Case(bulk(name), cutoff)
    yield "simple cubic of 1 Å", Case(hydrogens(np.zeros((1, 3)), 1.0, PERIODIC), 4.3)
    yield "simple cubic of 0.3 Å", Case(hydrogens([[0.1, 0.2, 0.3]], 0.3, PERIODIC), 1.3)
    yield "thin along x", Case(scattered(6, np.diag([0.7, 9.0, 9.0])), 6.0)
    yield "thin along y and z", Case(scattered(4, np.diag([8.0, 0.9, 1.1])), 5.0)
    for pbc in ALL_BOUNDARIES:
        letters = "".join("FT"[periodic] for periodic in pbc)
        yield f"one atom {letters}", Case(hydrogens([[0.4, -7.0, 2.2]], 0.45 * SKEWED, pbc), 5.0)
        yield f"tiny cell {letters}", Case(scattered(5, 0.5 * SKEWED, pbc), 4.5)


def _coincident_atoms() -> Named:
    cell = SKEWED + 3 * np.eye(3)
    for gap in (0.0, 5e-324, 1e-300, 1e-16, 1e-12, 1e-7):
        positions = np.vstack([np.zeros((2, 3)), np.ones((2, 3)), [[4.0, 4.0, 4.0]]])
        positions[1, 0], positions[3] = gap, positions[2] + [0.0, gap, -gap]
        yield f"{gap} Å apart", Case(hydrogens(positions, cell, PERIODIC), 3.0)
        yield f"{gap} Å apart, open", Case(hydrogens(positions), 3.0)
        yield f"{gap} Å apart, nothing else near", Case(hydrogens(positions, cell, PERIODIC), 1e-6)
        across = np.zeros((4, 3))  # the same place in the next cell, or nearly
        across[1], across[3] = cell[0] + [gap, 0.0, 0.0], cell.sum(axis=0) - gap
        across[2] = -gap
        yield f"{gap} Å apart across faces", Case(hydrogens(across, cell, PERIODIC), 2.0)
    yield "all on one spot", Case(hydrogens(np.full((30, 3), 1.3), cell, PERIODIC), 4.0)
    yield "all on one spot, open", Case(hydrogens(np.full((30, 3), -2.0)), 1e-3)
    yield "all on two corners", Case(hydrogens(np.repeat([[0, 0, 0], cell.sum(axis=0)], 9, axis=0), cell,
                                               PERIODIC), 1.0)  # fmt: skip


def _boundaries() -> Named:
    """Coordinates that wrapping may round to either side."""
    edges = [0.0, -0.0, 1.0, -1.0, 2.0, 1 - 1e-17, math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0)]
    edges += [-1e-17, 1e-17, -5e-324, 0.5, 0.25, 0.75]
    rng = np.random.default_rng(1)
    fractional = rng.choice(edges, size=(60, 3))
    for name, cell in {"cubic": np.eye(3) * 4.0, "a third": np.eye(3) / 0.3, "skewed": SKEWED}.items():
        for pbc in (PERIODIC, (False, True, True), (True, False, False)):
            letters = "".join("FT"[periodic] for periodic in pbc)
            atoms = hydrogens(fractional @ cell, cell, pbc)
            yield f"on faces, {name} {letters}", Case(atoms, 2.3)
    length = 7.3
    exact = rng.choice([0.0, length, -length, 2 * length, math.nextafter(length, 0.0)], size=(25, 3))
    yield "exactly L", Case(hydrogens(exact, length, PERIODIC), 3.0)
    grid = np.array(list(itertools.product(range(4), repeat=3)), dtype=float)
    yield "on every bin's face", Case(hydrogens(grid * 2, 8.0, PERIODIC), 2.0 + 1e-9)
    yield "on every bin's face, open", Case(hydrogens(grid * 2), 2.0 + 1e-9)


def _far_away() -> Named:
    rng = np.random.default_rng(2)
    atoms = scattered(40, SKEWED + 3 * np.eye(3), seed=3)
    for cells in (3, 10**4, 10**6):
        far = atoms.copy()
        far.positions += rng.integers(-cells, cells + 1, size=(40, 3)) @ atoms.cell.array
        yield f"up to {cells} cells outside", Case(far, 3.5)
    for offset in (1e4, -1e4, 1e6, 1e8):
        far = atoms.copy()
        far.positions += offset * np.array([1.0, -0.5, 0.1])
        yield f"offset by {offset:g} Å", Case(far, 3.5)
        yield f"offset by {offset:g} Å, open", Case(hydrogens(far.positions), 3.5)
        yield (
            f"offset by {offset:g} Å, wire",
            Case(hydrogens(far.positions, SKEWED, (False, True, False)), 3.0),
        )


def _open_axes() -> Named:
    """Vectors of open axes mean nothing."""
    atoms = scattered(40, SKEWED + 3 * np.eye(3), seed=4)
    for pbc in ALL_BOUNDARIES:
        letters = "".join("FT"[periodic] for periodic in pbc)
        yield f"boundaries {letters}", Case(hydrogens(atoms.positions, atoms.cell.array, pbc), 3.7)
        for name, row in {"zero": 0.0, "parallel": atoms.cell.array[[1, 2, 0]], "huge": 1e300}.items():
            if not all(pbc):
                rows = np.where(np.array(pbc)[:, None], atoms.cell.array, row)
                yield (
                    f"boundaries {letters}, open rows {name}",
                    Case(hydrogens(atoms.positions, rows, pbc), 3.7),
                )
    gaps = np.cumsum(10.0 ** np.arange(-3, 9))
    line = np.zeros((2 * len(gaps), 3))
    line[: len(gaps), 0], line[len(gaps) :, 1] = gaps, -gaps
    yield "ever larger gaps", Case(hydrogens(line), 20.0)
    yield "slab with vacuum", Case(fcc111("Al", (3, 3, 3), vacuum=20.0), 6.0)
    yield "periodic vacuum", Case(_with_pbc(fcc111("Al", (3, 3, 3), vacuum=20.0), PERIODIC), 6.0)
    yield "cutoff beyond everything", Case(scattered(40, np.eye(3) * 9.0, OPEN), 1e5)


def _with_pbc(atoms: Atoms, pbc: tuple[bool, ...]) -> Atoms:
    atoms.pbc = pbc
    return atoms


def _long_and_flat_cells() -> Named:
    rng = np.random.default_rng(5)
    for length in (1e3, 1e5, 1e7):
        for axis in range(3):
            sides = np.full(3, 4.0)
            sides[axis] = length
            # Pairs whose distance is 3 Å but for a small difference; in float32 it cannot be seen.
            middle = rng.random((60, 3)) * sides
            positions = np.concatenate([middle, middle + _pairs_of_length(3.0, 60, rng)])
            for pbc in (PERIODIC, OPEN):
                name = f"needle of {length:g} Å along {'xyz'[axis]}, {'periodic' if all(pbc) else 'open'}"
                yield name, Case(hydrogens(positions, np.diag(sides), pbc), 3.0)
    long_skewed = np.array([[2e4, 0.0, 0.0], [9e3, 5.0, 0.0], [-7e3, 2.0, 5.0]])
    yield "skewed needle", Case(scattered(300, np.array(long_skewed), seed=6), 4.0)
    yield "plate", Case(scattered(250, np.diag([90.0, 90.0, 0.9])), 4.0)
    yield "plate, open on top", Case(scattered(250, np.diag([0.9, 90.0, 90.0]), (True, True, False)), 4.0)


def _pairs_of_length(length: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) vectors of nearly the same length, 1e-12 and less around it."""
    directions = rng.normal(size=(count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    differences = rng.choice([0.0, 2e-16, -2e-16, 1e-15, -1e-15, 1e-12, -1e-12], size=(count, 1))
    return directions * (length + differences)


def _skewed_cells() -> Named:
    a, b, c = SKEWED
    cells = {
        "b + 50 a": [a, b + 50 * a, c],
        "b + 50 a, c - 37 b": [a, b + 50 * a, c - 3 * b + 30 * a],
        "a - 20 c": [a - 20 * c, b, c],
        "left-handed": [b, a, c],
        "left-handed, skewed": [b + 7 * a, a, c - 4 * b],
        "negative rows": [-a, b, -c],
        "all rows negative": [-a, -b, -c],
        "permuted rows": [c, a, b],
        "nearly flat": [a, b, 0.3 * a + 0.4 * b + 0.06 * c],
    }
    for name, rows in cells.items():
        cell = np.array(rows)
        for pbc in (PERIODIC, (True, True, False), (False, True, True)):
            letters = "".join("FT"[periodic] for periodic in pbc)
            inside = scattered(6, cell, pbc, seed=7)
            yield f"{name} {letters}", Case(inside, 3.9)
    rotation = np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]
    yield "rotated", Case(scattered(30, 2 * SKEWED @ rotation, seed=9), 4.0)


def _sparse_systems() -> Named:
    rng = np.random.default_rng(10)
    particle = rng.normal(size=(150, 3)) * 2.5
    yield "particle at a corner of 1000 Å", Case(hydrogens(particle, 1000.0, PERIODIC), 3.0)
    yield "particle in the middle of 1000 Å", Case(hydrogens(particle + 500.0, 1000.0, PERIODIC), 3.0)
    centres = np.array([[0.0, 0.0, 0.0], [400.0, 0.0, 3.0], [401.0, 700.0, 0.0]])
    clumps = (centres[:, None] + rng.normal(size=(3, 30, 3))).reshape(-1, 3)
    yield "clumps", Case(hydrogens(clumps, 1000.0, PERIODIC), 2.0)
    yield "clumps, open", Case(hydrogens(clumps), 2.0)
    yield "clumps of one spot each", Case(hydrogens(np.repeat(centres, 20, axis=0), 1000.0, PERIODIC), 2.0)
    yield "two atoms, one bond", Case(hydrogens([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], 50.0, PERIODIC), 1.5)
    yield "two atoms, no bond", Case(hydrogens([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]), 1.5)
    yield "a wire of atoms", Case(hydrogens(np.outer(np.arange(100.0), [1.1, 0.0, 0.0])), 1.2)
    yield "one atom far from the others", Case(hydrogens([*clumps[:20], [1e8, -1e8, 1e8]]), 2.0)


def _cutoffs() -> Named:
    """Distances at the cutoff and next to it, on both sides."""
    rng = np.random.default_rng(11)
    centres = np.array(list(itertools.product(range(5), repeat=3))) * 12.0
    for cutoff in (1.0, 2.7, 4.0, math.pi):
        positions = np.concatenate([centres, centres + _pairs_of_length(cutoff, len(centres), rng)])
        yield f"pairs at {cutoff:.4g} Å", Case(hydrogens(positions), cutoff)
        shifted = hydrogens(positions + rng.random(3), 60.0, PERIODIC)
        yield f"pairs at {cutoff:.4g} Å, periodic", Case(shifted, cutoff)
        units = cutoff + np.arange(-6, 7) * np.spacing(cutoff)
        line = np.array([[x, 0.0, 0.0] for x in [0.0, *units]])
        yield f"units in the last place around {cutoff:.4g} Å", Case(hydrogens(line), cutoff)
    yield "below the nearest neighbour", Case(bulk("Cu", cubic=True) * 2, 2.5)
    yield "far below the nearest neighbour", Case(bulk("Cu", cubic=True) * 2, 1e-3)
    a = 3.6
    for name, cutoff in {"1st": a / math.sqrt(2), "2nd": a, "3rd": a * math.sqrt(1.5)}.items():
        metal = bulk("Cu", a=a, cubic=True) * 2
        yield f"{name} shell of fcc", Case(metal, cutoff)
        yield f"{name} shell of fcc, just beyond", Case(metal, cutoff * (1 + 1e-12))
        yield f"{name} shell of fcc, just short", Case(metal, cutoff * (1 - 1e-12))
        yield f"{name} shell of primitive fcc", Case(bulk("Cu", a=a), cutoff)
    yield "shell of diamond", Case(bulk("Si", a=5.43), 5.43 * math.sqrt(3) / 4)
    yield "cutoff of the cell's length", Case(hydrogens(np.zeros((1, 3)), 3.3, PERIODIC), 3.3)
    yield "cutoff of half the cell", Case(hydrogens([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], 4.0, PERIODIC), 2.0)
