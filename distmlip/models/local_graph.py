"""What one partition sees of the system: its atoms, edges, bonds and angles as tensors on its device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from distmlip.errors import InvalidInputError


@dataclass(frozen=True)
class BondGraph:
    """The bonds and angles of one partition (three-body models).

    A bond is undirected: an edge and its reverse are one bond. A bond whose two atoms belong to different
    partitions is *cut* and has a copy in both. Angles are formed of the edges that are shorter than the
    model's bond cutoff; all angles of an owned centre atom are here.
    """

    edge_bond: Tensor
    """(n_edges,) int64: the bond of each directed edge."""
    bond_edge: Tensor
    """(n_bonds,) int64: one directed edge of each bond."""
    short_bonds: Tensor
    """(n_short,) int64, ascending: the bonds below the model's bond cutoff; all that angles are made of."""
    angles: Tensor
    """(n_angles, 2) int64: ordered pairs of different short edges with the same receiver."""
    cut: Tensor
    """(n_cut,) int64: the short bonds that have a copy in another partition."""
    n_angles_total: int
    """Number of angles of the whole system."""

    @property
    def n_bonds(self) -> int:
        """Of this partition; those that are cut count here, too."""
        return len(self.bond_edge)

    @cached_property
    def bonds_of_angles(self) -> Tensor:
        """(2, n_angles) int64: the row in :attr:`short_bonds` of either bond of each angle."""
        row = torch.zeros_like(self.bond_edge)
        row[self.short_bonds] = torch.arange(len(self.short_bonds), device=row.device)
        return row[self.edge_bond[self.angles.T]]

    def reverse_edges(self) -> Tensor:
        """(n_edges,) int64: the reverse of each directed edge; -1 where another partition owns it."""
        edges = torch.arange(len(self.edge_bond), device=self.edge_bond.device)
        both = torch.zeros_like(self.bond_edge).index_add(0, self.edge_bond, edges)
        # Not bincount, for which the host would wait.
        copies = torch.zeros_like(self.bond_edge).index_add(0, self.edge_bond, torch.ones_like(edges))
        return torch.where(copies[self.edge_bond] == 2, both[self.edge_bond] - edges, -1)


@dataclass(frozen=True)
class LocalGraph:
    """What one partition sees of the system in one evaluation."""

    partition: int
    n_owned: int
    """Rows ``[0, n_owned)`` are owned atoms, ``[n_owned, n_local)`` halo atoms."""
    atoms: Tensor
    """(n_local,) int64: index of each local row in the user's structure."""
    numbers: Tensor
    """(n_local,) int64: atomic numbers."""
    senders: Tensor
    """(n_edges,) int64: local row of each edge's sender."""
    receivers: Tensor
    """(n_edges,) int64: local row of each edge's receiver: ascending, all ``< n_owned``."""
    vectors: Tensor
    """(n_edges, 3) in the model's dtype: sender minus receiver, in Å. All are shorter than the cutoff."""
    bonds: BondGraph | None = None
    """Present if the adapter has a ``bond_cutoff``; see :meth:`require_bonds`."""
    system: Mapping[str, Tensor] = field(default_factory=dict)
    """What :meth:`Adapter.system` returned, on this partition's device; the same in every partition."""

    @property
    def n_local(self) -> int:
        """Rows of atoms, owned and halo."""
        return len(self.numbers)

    @property
    def n_halo(self) -> int:
        """Rows of halo atoms."""
        return self.n_local - self.n_owned

    @property
    def n_edges(self) -> int:
        """Directed edges, all with an owned receiver."""
        return len(self.senders)

    def edge_index(self) -> Tensor:
        """(2, n_edges) int64: senders, receivers."""
        return torch.stack([self.senders, self.receivers])

    def reversed_edge_index(self) -> Tensor:
        """(2, n_edges) int64: receivers, senders; of models whose edges begin at the atom that reads them."""
        return torch.stack([self.receivers, self.senders])

    def require_bonds(self) -> BondGraph:
        """The bonds, of a model with angles.

        Raises:
            InvalidInputError: there are none.
        """
        if self.bonds is None:
            raise InvalidInputError("the graph has no bonds; set the adapter's bond_cutoff")
        return self.bonds
