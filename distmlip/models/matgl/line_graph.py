"""The part of matgl's directed line graph that one partition updates.

A node is a directed short bond, and the angles around its first atom update it. So a partition's nodes are
the reverses of its short edges, which end at its own atoms. The angles also read the bonds that lead to these
atoms; such a bond is itself a node of this partition, unless it is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distmlip.models.interface import LocalGraph


@dataclass(frozen=True)
class LineGraph:
    """Nodes and angles of a partition, and where they are in its atom graph.

    Rows ``[0, n_nodes)`` are the nodes that the partition updates, rows ``[n_nodes, n_nodes + n_cut)`` those
    of other partitions that its angles read, in the order of ``graph.bonds.cut``.
    """

    edges: Tensor
    """(n_nodes,) int64, ascending: each node is the reverse of this edge."""
    reverses: Tensor
    """(n_nodes,) int64: the edge that is the node itself; -1 where another partition owns it."""
    rows: Tensor
    """(n_nodes,) int64: the row of the node that each of :attr:`edges` itself is."""
    cut_edges: Tensor
    """(n_cut,) int64: the edge of each cut bond."""
    cut_nodes: Tensor
    """(n_cut,) int64: the node of each cut bond that this partition updates."""
    angles: Tensor
    """(2, n_angles) int64: the node that sends and the node that receives."""
    centres: Tensor
    """(n_angles,) int64: local row of the atom in the middle."""

    @classmethod
    def of(cls, graph: LocalGraph) -> LineGraph:
        """The line graph of all bonds that are part of an angle here or, maybe, where their other copy is."""
        bonds = graph.require_bonds()
        first, second = bonds.angles.T
        is_node = torch.zeros(bonds.n_bonds, dtype=torch.bool, device=first.device)
        is_node[bonds.edge_bond[first]] = True
        is_node[bonds.cut] = True
        edges = is_node[bonds.edge_bond].nonzero().squeeze(1)
        node_at = torch.zeros(graph.n_edges, dtype=torch.int64, device=edges.device)
        node_at[edges] = torch.arange(len(edges), device=edges.device)
        reverse, cut_edges = bonds.reverse_edges(), bonds.bond_edge[bonds.cut]
        row = node_at[reverse]
        row[cut_edges] = len(edges) + torch.arange(len(cut_edges), device=edges.device)
        return cls(
            edges=edges,
            reverses=reverse[edges],
            rows=row[edges],
            cut_edges=cut_edges,
            cut_nodes=node_at[cut_edges],
            angles=torch.stack([row[first], node_at[second]]),
            centres=graph.receivers[first],
        )

    @property
    def n_nodes(self) -> int:
        """Nodes are directed bonds."""
        return len(self.edges)

    def all_rows(self, features: Tensor) -> Tensor:
        """(n_nodes + n_cut, width) from (n_nodes, width), of features that a bond and its reverse share."""
        return torch.cat([features, features.index_select(0, self.cut_nodes)])

    def read(self, edges: Tensor, from_others: Tensor) -> Tensor:
        """(n_nodes + n_cut, width) from all edges (n_edges, width) and the nodes that are the edges of other
        partitions (n_cut, width)."""
        nodes = edges.index_select(0, self.reverses.clamp(min=0)).index_copy(0, self.cut_nodes, from_others)
        return torch.cat([nodes, edges.index_select(0, self.cut_edges)])

    def write(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """(n_edges, width): ``edges``, but where they are nodes those (n_nodes + n_cut, width)."""
        return edges.index_copy(0, self.edges, nodes.index_select(0, self.rows))
