"""The edges that a graph of the nearest neighbours has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distmlip.models.interface import LocalGraph

ROUNDING = 1e-9
"""Å: of distances of float64, so that equal ones are equal wherever a structure lies."""
TIE = 1e-5
"""Å: distances that differ by less may come in either order where they are computed in single precision."""


def nearest_neighbors(graph: LocalGraph, limit: int, warn: Callable[[], None]) -> Tensor:
    """(n_kept,) int64, ascending: the edges from the nearest ``limit`` senders of each receiver.

    Of equally distant ones those with the lower index in the user's structure, and of images of one atom
    those with the smaller vector, so that it does not depend on partitions, nor on where the structure lies.
    ``warn`` is called if it could have been others.
    """
    receivers, device = graph.receivers, graph.receivers.device
    n_edges = torch.zeros(graph.n_owned, dtype=torch.int64, device=device)
    n_edges.index_add_(0, receivers, torch.ones_like(receivers))
    every = torch.arange(graph.n_edges, device=device)
    if graph.n_edges == 0 or int(n_edges.max()) <= limit:
        return every
    vectors = graph.vectors.double()
    lengths = vectors.norm(dim=1)
    places, rounded = (torch.round(of / ROUNDING) for of in (vectors, lengths))
    order = every
    for key in (*places.T, graph.atoms[graph.senders], rounded, receivers):  # the last one counts most
        order = order[torch.argsort(key[order], stable=True)]
    first = torch.cumsum(n_edges, 0) - n_edges
    rank = every - first[receivers]  # receivers ascend, and so they do in this order
    ordered = lengths[order]
    is_last = torch.nonzero((rank == limit - 1) & (n_edges[receivers] > limit))[:, 0]
    if bool((ordered[is_last + 1] - ordered[is_last] < TIE).any()):
        warn()
    return torch.sort(order[rank < limit]).values
