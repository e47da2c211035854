"""The graph of a structure, cut into partitions, as NumPy arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.options import (
    METHODS,
    check_weights_fit,
    checked_choice,
    checked_length,
    checked_partitions,
    checked_weights,
)

if TYPE_CHECKING:
    from ase import Atoms


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
    send: tuple[np.ndarray, ...]
    """``send[q]``: local rows (owned) that partition q reads, in the order of ``parts[q].recv[p]``."""
    recv: tuple[np.ndarray, ...]
    """``recv[q]``: local rows (halo) that partition q owns."""
    bonds: np.ndarray | None = None
    """(n_bonds,) the edges that are shorter than the bond cutoff: rows of ``senders``; ascending."""
    bond_halo: tuple[np.ndarray, ...] | None = None
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
    if len(atoms) == 0:
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
        raise InvalidInputError(f"{name}=0 Å; it must be above 0")
    return length


def _part(cut: Any, p: int, positions: np.ndarray) -> Part:
    owned, halo, begin = cut.owned(p), cut.halo(p), cut.halo_begin(p)
    graph = cut.step(p, positions)
    rows = np.concatenate([owned, halo])
    senders, receivers = graph["senders"], graph["receivers"]
    everyone = range(cut.n_partitions)
    bonds, bond_halo, angles = _bonds(graph) if cut.bond_cutoff > 0 else (None, None, None)
    return Part(
        owned=owned,
        halo=halo,
        halo_owner=np.repeat(np.arange(cut.n_partitions), np.diff(begin)),
        senders=senders,
        receivers=receivers,
        # The core's shifts are those of wrapped positions: position - wrap @ cell.
        shifts=graph["shifts"] - cut.wrap[rows[senders]] + cut.wrap[rows[receivers]],
        send=tuple(cut.send(p, q) for q in everyone),
        recv=tuple(np.arange(begin[q], begin[q + 1]) + len(owned) for q in everyone),
        bonds=bonds,
        bond_halo=bond_halo,
        angles=angles,
    )


def _bonds(graph: dict[str, np.ndarray]) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    bonds = graph["short_edges"]
    # A cut bond has one edge in this partition: the first of its bond.
    cut_bonds = np.searchsorted(bonds, graph["bond_edge"][graph["cut_rows"]])
    bond_halo = tuple(np.split(cut_bonds, graph["cut_begin"][1:-1]))
    return bonds, bond_halo, np.searchsorted(bonds, graph["angles"])
