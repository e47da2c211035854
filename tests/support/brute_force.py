"""Neighbours the slow and obvious way: every pair, every image; in float64 and without a grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell

Edge = tuple[int, int, tuple[int, int, int]]
"""(receiver, sender, shift): the vector is positions[sender] - positions[receiver] + shift @ cell."""

PAIRS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class EdgeArrays:
    """Directed edges, sorted by receiver, sender and shift."""

    receivers: np.ndarray
    """(n_edges,)"""
    senders: np.ndarray
    """(n_edges,)"""
    shifts: np.ndarray
    """(n_edges, 3)"""
    vectors: np.ndarray
    """(n_edges, 3) exactly as the core must have them, bit for bit."""

    def __len__(self) -> int:
        return len(self.receivers)

    @property
    def lengths(self) -> np.ndarray:
        return lengths_of(self.vectors)

    @property
    def keys(self) -> np.ndarray:
        """(n_edges, 5) receiver, sender, shift."""
        return edge_keys(self.receivers, self.senders, self.shifts)

    def select(self, which: np.ndarray) -> EdgeArrays:
        return EdgeArrays(self.receivers[which], self.senders[which], self.shifts[which], self.vectors[which])

    def within(self, cutoff: float) -> EdgeArrays:
        return self.select(self.lengths < cutoff)


def edge_keys(receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    return np.column_stack([receivers, senders, shifts]).astype(np.int64)


def sorted_rows(keys: np.ndarray) -> np.ndarray:
    """The order in which the rows ascend, the first column counting most."""
    return np.lexsort(keys.T[::-1])


def lengths_of(vectors: np.ndarray) -> np.ndarray:
    """In the order of operations that decides about a cutoff, which np.linalg.norm does not promise."""
    x, y, z = vectors.T
    return np.sqrt((x * x + y * y) + z * z)


def offsets_of(shifts: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """(n, 3) shift @ cell in a fixed order of operations, which a matrix product does not promise."""
    n = shifts.astype(np.float64)
    return (n[:, :1] * cell[0] + n[:, 1:2] * cell[1]) + n[:, 2:] * cell[2]


def edges_within(positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray, cutoff: float) -> EdgeArrays:
    """All directed edges shorter than the cutoff, an atom's edges to its own images included.

    Vectors are ``(x[sender] - x[receiver]) + shift @ cell`` in float64, in this order.
    """
    periodic = np.asarray(periodic, dtype=bool)
    cell = np.where(periodic[:, None], cell, 0.0)
    home = _cells_from_home(positions, cell, periodic)
    found = [np.zeros((0, 5), dtype=np.int64)]
    vectors = [np.zeros((0, 3))]
    for receivers, senders, shifts in _candidates(positions, cell, periodic, home, cutoff):
        vector = (positions[senders] - positions[receivers]) + offsets_of(shifts, cell)
        is_edge = (lengths_of(vector) < cutoff) & ((receivers != senders) | shifts.any(axis=1))
        found.append(edge_keys(receivers, senders, shifts)[is_edge])
        vectors.append(vector[is_edge])
    keys = np.concatenate(found)
    order = sorted_rows(keys)
    keys = keys[order]
    return EdgeArrays(keys[:, 0], keys[:, 1], keys[:, 2:], np.concatenate(vectors)[order])


def _cells_from_home(positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """(n, 3) by how many cells each atom is outside; an error of one does not matter."""
    fractional = np.linalg.solve(complete_cell(cell).T, positions.T).T
    return np.where(periodic, np.floor(fractional), 0.0).astype(np.int64)


def _candidates(
    positions: np.ndarray, cell: np.ndarray, periodic: np.ndarray, home: np.ndarray, cutoff: float
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(receivers, senders, shifts) of all pairs within the cutoff, and a few beyond: atoms and images are
    sorted along the longest extent, and each atom is compared with all that are within the cutoff of it
    there."""
    if len(positions) == 0:
        return
    inside = positions - offsets_of(home, cell)
    reach = cutoff * (1 + 1e-6) + 1e-9 + 1e-12 * np.abs(positions).max()
    images = _images_within(inside, cell, periodic, reach)
    places = np.tile(inside, (len(images), 1)) + np.repeat(offsets_of(images, cell), len(inside), axis=0)
    near = np.all((places >= inside.min(axis=0) - reach) & (places <= inside.max(axis=0) + reach), axis=1)
    copies = np.flatnonzero(near)
    axis = int(np.argmax(np.ptp(inside, axis=0)))
    copies = copies[np.argsort(places[copies, axis], kind="stable")]
    along = places[copies, axis]
    first = np.searchsorted(along, inside[:, axis] - reach, side="left")
    last = np.searchsorted(along, inside[:, axis] + reach, side="right")
    ends = np.cumsum(last - first)
    begin = 0
    while begin < len(inside):
        done = ends[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")))
        counts = last[begin:end] - first[begin:end]
        receivers = np.repeat(np.arange(begin, end), counts)
        runs = np.arange(len(receivers)) - np.repeat(np.cumsum(counts) - counts, counts)
        chosen = copies[np.repeat(first[begin:end], counts) + runs]
        close = lengths_of(places[chosen] - inside[receivers]) < reach
        receivers, chosen = receivers[close], chosen[close]
        senders = chosen % len(inside)
        yield receivers, senders, images[chosen // len(inside)] - home[senders] + home[receivers]
        begin = end


def _images_within(inside: np.ndarray, cell: np.ndarray, periodic: np.ndarray, reach: float) -> np.ndarray:
    """(n, 3) every shift that a pair within reach may have."""
    full = complete_cell(cell)
    spread = np.ptp(np.linalg.solve(full.T, inside.T).T, axis=0)
    heights = 1 / np.linalg.norm(np.linalg.inv(full), axis=0)
    most = np.where(periodic, np.ceil(reach / heights + spread), 0).astype(int)
    return np.stack(np.meshgrid(*[np.arange(-k, k + 1) for k in most], indexing="ij"), axis=-1).reshape(-1, 3)


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
    found = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, reach)
    shifts = map(tuple, found.shifts.tolist())
    edges = list(zip(found.receivers.tolist(), found.senders.tolist(), shifts, strict=True))
    return Pairs(edges, found.lengths)


def angles(edges: Counter[Edge]) -> Counter[tuple[Edge, Edge]]:
    """All ordered pairs of different edges with the same receiver."""
    return Counter((a, b) for a in edges for b in edges if a[0] == b[0] and a != b)
