"""The two ways in which matgl's TensorNet computes with 3 x 3 tensors: in plain torch, and in warp kernels.

A tensor is the sum of its parts: a scalar times the identity, a skew-symmetric and a symmetric traceless one.
Everything here is applied to tensors of all channels, and made of the functions and methods that the model's
own layers are made of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from matgl.utils.maths import decompose_tensor, tensor_norm
from torch import Tensor, nn

from distmlip.models.interface import LocalGraph, Tensors

if TYPE_CHECKING:
    from matgl.layers import TensorEmbedding, TensorNetInteraction

Parts = Sequence[Tensor]
N_NUMBERS = 9
"""Of a tensor."""


class Algebra(ABC):
    """Operations on tensors in the layout of one of the two."""

    graph_tensors: tuple[str, ...] = ()
    """Derived tensors that message passing reads besides what is in the graph."""

    @abstractmethod
    def flat(self, tensors: Tensor) -> Tensor:
        """(n, N_NUMBERS * units): what crosses stages and partitions.

        The numbers of a tensor are I, A01, A02, A12, S00, S01, S02, S11 and S12, each of all channels.
        """

    @abstractmethod
    def from_flat(self, flat: Tensor) -> Tensor:
        """The tensors of such rows."""

    @abstractmethod
    def split(self, tensors: Tensor) -> Parts:
        """The three parts of tensors."""

    @abstractmethod
    def join(self, parts: Parts) -> Tensor:
        """The tensors of three parts."""

    @abstractmethod
    def mix(self, linears: Iterable[nn.Module], tensors: Tensor) -> Parts:
        """Apply a linear map over the channels to each part of tensors."""

    @abstractmethod
    def normalised(self, tensors: Tensor) -> Tensor:
        """Tensors divided by one more than their squared norm."""

    @abstractmethod
    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """Matrix products."""

    @abstractmethod
    def anticommutator(self, left: Tensor, right: Tensor) -> Tensor:
        """The sum of the matrix products in both orders."""

    @abstractmethod
    def invariants(self, tensors: Tensor) -> Tensor:
        """(n, 3 * units): squared norms of the parts."""

    def graph_of(self, graph: LocalGraph) -> Tensors:  # noqa: ARG002  only one of them needs any
        """The tensors in :attr:`graph_tensors`."""
        return {}

    @abstractmethod
    def embedding(
        self, layer: TensorEmbedding, graph: LocalGraph, elements: Tensor, edges: Tensors
    ) -> Tensor:
        """Tensors of the owned atoms from those of their edges."""

    @abstractmethod
    def messages(
        self, layer: TensorNetInteraction, graph: LocalGraph, parts: Parts, weights: Tensor, edges: Tensors
    ) -> Tensor:
        """Tensors of the owned atoms: sums over their edges of the senders' parts times (n_edges, 3 * units)
        weights."""


class TorchAlgebra(Algebra):
    """Tensors of shape (n, units, 3, 3); so are all their parts."""

    def flat(self, tensors: Tensor) -> Tensor:
        """Of (n, units, 3, 3)."""
        scalar = tensors.diagonal(dim1=-2, dim2=-1).mean(-1)
        skew = [(tensors[..., i, j] - tensors[..., j, i]) / 2 for i, j in ((0, 1), (0, 2), (1, 2))]
        rest = [(tensors[..., i, j] + tensors[..., j, i]) / 2 for i, j in ((0, 1), (0, 2), (1, 2))]
        diagonal = [tensors[..., k, k] - scalar for k in (0, 1)]
        numbers = [scalar, *skew, diagonal[0], rest[0], rest[1], diagonal[1], rest[2]]
        return torch.stack(numbers, dim=1).flatten(1)

    def from_flat(self, flat: Tensor) -> Tensor:
        """(n, units, 3, 3)."""
        i, a01, a02, a12, s00, s01, s02, s11, s12 = flat.view(len(flat), N_NUMBERS, -1).unbind(1)
        rows = [
            (i + s00, s01 + a01, s02 + a02),
            (s01 - a01, i + s11, s12 + a12),
            (s02 - a02, s12 - a12, i - s00 - s11),
        ]
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    def split(self, tensors: Tensor) -> Parts:
        """Each (n, units, 3, 3)."""
        parts: Parts = decompose_tensor(tensors)
        return parts

    def join(self, parts: Parts) -> Tensor:
        """(n, units, 3, 3): their sum."""
        scalar, skew, traceless = parts
        return scalar + skew + traceless

    def mix(self, linears: Iterable[nn.Module], tensors: Tensor) -> Parts:
        """Each (n, units, 3, 3), by its own map."""
        parts = zip(linears, self.split(tensors), strict=True)
        return [linear(part.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for linear, part in parts]

    def normalised(self, tensors: Tensor) -> Tensor:
        """(n, units, 3, 3)."""
        result: Tensor = tensors / (tensor_norm(tensors) + 1)[..., None, None]
        return result

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, units, 3, 3): ``left @ right``."""
        return left @ right

    def anticommutator(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, units, 3, 3)."""
        return right @ left + left @ right

    def invariants(self, tensors: Tensor) -> Tensor:
        """(n, 3 * units): those of the scalar part first."""
        return torch.cat([tensor_norm(part) for part in self.split(tensors)], dim=-1)

    def embedding(
        self, layer: TensorEmbedding, graph: LocalGraph, elements: Tensor, edges: Tensors
    ) -> Tensor:
        """(n_owned, units, 3, 3)."""
        # The layer would go on with a row for every atom whose species it is given.
        layer.aggregate = partial(_aggregate_owned, layer.aggregate, graph.n_owned)
        edge_index = graph.reversed_edge_index()
        try:
            tensors: Tensor
            tensors, _ = layer(elements, edge_index, edges["radial"], edges["lengths"], edges["vectors"])
        finally:
            del layer.aggregate
        return tensors

    def messages(
        self, layer: TensorNetInteraction, graph: LocalGraph, parts: Parts, weights: Tensor, _edges: Tensors
    ) -> Tensor:
        """(n_owned, units, 3, 3)."""
        weights = weights.view(graph.n_edges, layer.units, 3)
        messages = layer.message(graph.reversed_edge_index(), *parts, weights)
        return self.join(layer.aggregate(messages, graph.receivers, graph.n_owned))


def _aggregate_owned(
    aggregate: Callable[[Parts, Tensor, int], Parts],
    n_owned: int,
    messages: Parts,
    receivers: Tensor,
    **_: int,
) -> Parts:
    return aggregate(messages, receivers, n_owned)


class WarpAlgebra(Algebra):
    """Tensors of shape (n, 3, 3, units); their parts have 1, 3 and 5 components: (n, components, units)."""

    graph_tensors = ("row_data", "row_indices", "row_indptr", "col_data", "col_indices", "col_indptr")
    """Compressed sparse rows and columns: the edges of every receiver, and of every sender."""

    def __init__(self) -> None:
        from matgl import ops  # there only with warp-lang and nvalchemi-toolkit-ops

        self._ops = ops

    def flat(self, tensors: Tensor) -> Tensor:
        """Of (n, 3, 3, units)."""
        return torch.cat(list(self.split(tensors)), dim=1).flatten(1)

    def from_flat(self, flat: Tensor) -> Tensor:
        """(n, 3, 3, units)."""
        numbers = flat.view(len(flat), N_NUMBERS, -1)
        return self.join([part.contiguous() for part in torch.split(numbers, [1, 3, 5], dim=1)])

    def split(self, tensors: Tensor) -> Parts:
        """(n, 1, units), (n, 3, units) and (n, 5, units)."""
        parts: Parts = self._ops.fn_decompose_tensor(tensors)
        return parts

    def join(self, parts: Parts) -> Tensor:
        """(n, 3, 3, units)."""
        tensors: Tensor = self._ops.fn_compose_tensor(*parts)
        return tensors

    def mix(self, linears: Iterable[nn.Module], tensors: Tensor) -> Parts:
        """Each with the components of its part, by its own map."""
        return [linear(part) for linear, part in zip(linears, self.split(tensors), strict=True)]

    def normalised(self, tensors: Tensor) -> Tensor:
        """(n, 3, 3, units)."""
        return tensors / ((tensors * tensors).sum((-3, -2), keepdim=True) + 1)

    def product(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, 3, 3, units): ``left @ right``."""
        tensors: Tensor = self._ops.fn_tensor_matmul_so3_3x3(left, right)
        return tensors

    def anticommutator(self, left: Tensor, right: Tensor) -> Tensor:
        """(n, 3, 3, units)."""
        tensors: Tensor = self._ops.fn_tensor_matmul_o3_3x3(left, right)
        return tensors

    def invariants(self, tensors: Tensor) -> Tensor:
        """(n, 3 * units), by a kernel."""
        invariants: Tensor = self._ops.fn_tensor_norm3(tensors)
        return invariants

    def graph_of(self, graph: LocalGraph) -> Tensors:
        """Of both, as :func:`matgl.ops.graph_transform` makes them, int32."""
        tensors = self._ops.graph_transform(graph.reversed_edge_index().int(), graph.n_local)
        return dict(zip(self.graph_tensors, tensors, strict=True))

    def embedding(
        self, layer: TensorEmbedding, graph: LocalGraph, elements: Tensor, edges: Tensors
    ) -> Tensor:
        """(n_owned, 3, 3, units)."""
        tensors: Tensor = layer(
            elements,
            graph.reversed_edge_index(),
            edges["lengths"],
            edges["vectors"],
            edges["radial"],
            edges["row_data"],
            edges["row_indptr"][: graph.n_owned + 1],
        )
        return tensors

    def messages(
        self, layer: TensorNetInteraction, graph: LocalGraph, parts: Parts, weights: Tensor, edges: Tensors
    ) -> Tensor:
        """(n_owned, 3, 3, units)."""
        weights = weights.view(graph.n_edges, layer.units, 3).mT.contiguous()
        compressed = (edges[name] for name in self.graph_tensors)
        # It has a row for every sender, those of halo atoms without work: no edge ends at them.
        messages = self._ops.fn_message_passing(*parts, weights, *compressed)
        return self.join([message[: graph.n_owned] for message in messages])
