"""The graph of a structure, cut into partitions, as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
import torch

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.inputs import (
    METHODS,
    check_weights_fit,
    checked_atoms,
    checked_choice,
    checked_length,
    checked_partitions,
    checked_weights,
)

if TYPE_CHECKING:
    from ase import Atoms


class Groups(Sequence[np.ndarray]):
    """Rows that a partition shares with others: ``groups[q]`` (int64) are those shared with partition q.

    A sequence with one entry per partition, of which only those that are not empty take memory.
    """

    def __init__(self, rows: np.ndarray, groups: tuple[np.ndarray, np.ndarray], n_partitions: int) -> None:
        """``groups``: the partners, and where the rows of each begin."""
        partners, begin = groups
        self.partners = partners
        """(n_partners,) int64: the partitions whose group is not empty; ascending."""
        bounds = zip(partners.tolist(), begin[:-1], begin[1:], strict=True)
        self._groups: dict[int, np.ndarray] = {q: rows[first:last] for q, first, last in bounds}
        self._n_partitions = n_partitions
        self._empty: np.ndarray = rows[:0]

    def __len__(self) -> int:
        return self._n_partitions

    @overload
    def __getitem__(self, q: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, q: slice) -> tuple[np.ndarray, ...]: ...
    def __getitem__(self, q: int | slice) -> np.ndarray | tuple[np.ndarray, ...]:
        if isinstance(q, slice):
            return tuple(self[k] for k in range(*q.indices(len(self))))
        if not -len(self) <= q < len(self):
            raise IndexError(f"partition {q} of {len(self)}")
        group: np.ndarray = self._groups.get(q % len(self), self._empty)
        return group


@dataclass(frozen=True)
class Part:
    """One partition; all arrays are int64. *Local rows* are ``[0, n_owned)`` owned atoms, then halo atoms."""

    owned: np.ndarray
    """(n_owned,) global indices of the atoms that this partition owns."""
    halo: np.ndarray
    """(n_halo,) global indices of the other partitions' atoms that its edges start at; grouped by owner."""
    halo_owner: np.ndarray
    """(n_halo,) the owner of each halo atom; ascending."""
    senders: np.ndarray
    """(n_edges,) local row of each edge's sender."""
    receivers: np.ndarray
    """(n_edges,) local row of each edge's receiver: an owned atom; ascending."""
    shifts: np.ndarray
    """(n_edges, 3) integer shift of each edge's sender, for the positions as given: the edge's vector is
    ``positions[sender] - positions[receiver] + shift @ cell``."""
    send: Groups
    """``send[q]``: local rows (owned) that partition q reads, in the order of ``parts[q].recv[p]``."""
    recv: Groups
    """``recv[q]``: local rows (halo) that partition q owns."""
    bonds: np.ndarray | None = None
    """(n_bonds,) the edges that are shorter than the bond cutoff: rows of ``senders``; ascending."""
    bond_halo: Groups | None = None
    """``bond_halo[q]``: the bonds whose sender partition q owns, as indices into ``bonds``. Element k of
    ``parts[p].bond_halo[q]`` and element k of ``parts[q].bond_halo[p]`` are the two directions of a bond."""
    angles: np.ndarray | None = None
    """(n_angles, 2) ordered pairs of different bonds with the same receiver, as indices into ``bonds``."""


@dataclass(frozen=True)
class Partitioning:
    """Who owns which atom, and what each partition needs to compute its own edges."""

    owner: np.ndarray
    """(n_atoms,) int64: the partition that owns each atom."""
    parts: tuple[Part, ...]
    """One per partition; some may be empty."""
    method: str
    """``"slab"`` or ``"bisection"``: the one that was used."""


def partition(
    atoms: Atoms,
    cutoff: float,
    partitions: int,
    *,
    bond_cutoff: float | None = None,
    method: str = "auto",
    weights: np.ndarray | None = None,
) -> Partitioning:
    """Cut the graph of a structure into partitions that each compute what they own, once.

    Every directed edge (pair of atoms, or of an atom and a periodic image, with distance ``< cutoff``) is in
    exactly one partition: the one that owns its receiver. Works for any number of partitions, in any cell.

    Parameters
    ----------
    atoms
        The structure, with at least one atom; atoms may lie outside the cell.
    cutoff
        In Å, above 0.
    partitions
        Number of partitions, at least 1; may be larger than the number of atoms.
    bond_cutoff
        In Å, above 0 and at most ``cutoff``; ``None`` for a graph without bonds and angles.
    method
        ``"slab"``: parallel cuts across the longest axis; ``"bisection"``: cuts in two, again and again;
        ``"auto"``: slabs while they are thick compared with the structure's width, else bisection.
    weights
        (n_atoms,) work per atom, relative; all partitions get nearly the same. By default the number of
        edges of each atom, estimated from the local density.

    Raises
    ------
    InvalidInputError
        Before anything is computed, for arguments outside these limits, for positions that are not finite
        and for periodic cells without volume.
    """
    count = _checked_count(partitions)
    edge_cutoff = _checked_cutoff("cutoff", cutoff)
    bonds = None if bond_cutoff is None else _checked_cutoff("bond_cutoff", bond_cutoff)
    if len(checked_atoms(atoms)) == 0:
        raise InvalidInputError("the structure has no atoms; at least 1 is needed")
    balance = checked_weights(weights)
    check_weights_fit(balance, len(atoms))
    cut = core.Decomposition(
        positions=atoms.positions,
        cell=atoms.cell.array,
        periodic=[bool(periodic) for periodic in atoms.pbc],
        cutoff=edge_cutoff,
        n_partitions=count,
        bond_cutoff=bonds or 0.0,
        method=checked_choice("method", method, METHODS),
        weights=balance,
        n_threads=torch.get_num_threads(),
    )
    parts = tuple(_part(cut, p, atoms.positions) for p in range(count))
    return Partitioning(owner=cut.owner, parts=parts, method=cut.method)


def _checked_count(partitions: int) -> int:
    count = checked_partitions(partitions)
    if count is None:
        raise InvalidInputError("partitions='auto' is for DistCalculator; give a whole number of at least 1")
    return count


def _checked_cutoff(name: str, value: float) -> float:
    length = checked_length(name, value)
    if length == 0:
        raise InvalidInputError(f"{name}=0 Ang; it must be above 0")
    return length


def _part(cut: core.Decomposition, p: int, positions: np.ndarray) -> Part:
    owned, halo = cut.owned(p), cut.halo(p)
    graph = cut.step(p, positions)
    owners, begin = cut.halo_groups(p)
    bonds, bond_halo, angles = _bonds(cut, graph) if cut.bond_cutoff > 0 else (None, None, None)
    return Part(
        owned=owned,
        halo=halo,
        halo_owner=np.repeat(owners, np.diff(begin)),
        senders=graph["senders"],
        receivers=graph["receivers"],
        shifts=graph["shifts"],
        send=Groups(cut.send(p), cut.send_groups(p), cut.n_partitions),
        recv=Groups(len(owned) + np.arange(len(halo)), (owners, begin), cut.n_partitions),
        bonds=bonds,
        bond_halo=bond_halo,
        angles=angles,
    )


def _bonds(cut: core.Decomposition, graph: core._StepArrays) -> tuple[np.ndarray, Groups, np.ndarray]:
    bonds = graph["short_edges"]
    halo = Groups(np.searchsorted(bonds, graph["cut_edges"]), graph["cut_groups"], cut.n_partitions)
    return bonds, halo, np.searchsorted(bonds, graph["angles"])
