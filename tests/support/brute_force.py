"""Neighbours the slow and obvious way: every pair, every image."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

Edge = tuple[int, int, tuple[int, int, int]]
"""(receiver, sender, shift): the vector is positions[sender] - positions[receiver] + shift @ cell."""


@dataclass(frozen=True)
class Pairs:
    """All pairs up to somewhat beyond a cutoff, with their lengths."""

    edges: list[Edge]
    lengths: np.ndarray

    def within(self, cutoff: float) -> Counter[Edge]:
        return Counter(edge for edge, length in zip(self.edges, self.lengths, strict=True) if length < cutoff)

    def near(self, cutoff: float, tolerance: float = 1e-9) -> bool:
        """Whether some pair is so close to the cutoff that rounding may decide."""
        return bool(np.any(np.abs(self.lengths - cutoff) < tolerance))


def all_pairs(atoms: Atoms, reach: float) -> Pairs:
    """Every pair of atoms and images up to ``reach`` (Å), an atom with its own images included."""
    positions, cell = atoms.positions, atoms.cell.array
    shifts = _shifts_within(atoms, reach)
    edges: list[Edge] = []
    lengths = []
    for receiver in range(len(atoms)):
        for sender in range(len(atoms)):
            distances = np.linalg.norm(positions[sender] - positions[receiver] + shifts @ cell, axis=1)
            for index in np.flatnonzero(distances < reach):
                shift = tuple(int(k) for k in shifts[index])
                if receiver != sender or any(shift):
                    edges.append((receiver, sender, (shift[0], shift[1], shift[2])))
                    lengths.append(distances[index])
    return Pairs(edges, np.array(lengths))


def _shifts_within(atoms: Atoms, reach: float) -> np.ndarray:
    """(n, 3) every shift that any pair within reach may have."""
    cell = complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    fractional = np.linalg.solve(cell.T, atoms.positions.T).T
    spread = fractional.max(axis=0) - fractional.min(axis=0)
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    most = np.where(atoms.pbc, np.ceil(reach / heights + spread).astype(int), 0)
    return np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in most], indexing="ij"), axis=-1).reshape(-1, 3)


def angles(edges: Counter[Edge]) -> Counter[tuple[Edge, Edge]]:
    """All ordered pairs of different edges with the same receiver."""
    return Counter((a, b) for a in edges for b in edges if a[0] == b[0] and a != b)
