"""eSEN and UMA with convolutions and degree embedding in C++ (csrc/native/so2); all else is the model's own.

Rows cross partitions as before the model's own blocks. Experts that are mixed for another system give the
convolutions other layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from distmlip._native import core
from distmlip.models.exchanges import Halo
from distmlip.models.fairchem.stages import Blocks
from distmlip.models.linear_layers import bias_of, linears_of, weights_of
from distmlip.models.native import Matrix, NativeChoice, NativeStage, fitted, require_small
from distmlip.models.stages import EagerStage, Stage, Tensors

if TYPE_CHECKING:
    from fairchem.core.models.uma.escn_md import eSCNMDBackbone
    from fairchem.core.models.uma.nn.radial import RadialMLP


class NativeBlocks:
    """The native stages of one replica."""

    def __init__(
        self, blocks: Blocks, exact: eSCNMDBackbone, choice: NativeChoice, dtype: torch.dtype
    ) -> None:
        """``exact``: the backbone in float64; ``dtype``: of the stages.

        Raises:
            NotNativeError: tables of radial functions would be too large.
        """
        self._blocks = blocks
        edges = FrameEdges(exact, choice, dtype)
        with torch.no_grad():
            self._convolutions = [edges.convolution(k) for k in range(blocks.n_layers)]
            self._degrees = edges.degree_embedding()
        if not blocks.experts.has_layers:
            self._pack()

    def stages(self) -> list[Stage]:
        """Which edges there are, the embedding in two stages, and two for every block."""
        blocks = self._blocks
        stages: list[Stage] = [
            EagerStage("edges", self._edges, writes=("kept",)),
            NativeStage(
                "degrees", reads=("kept",), writes=("degrees",), computes=("edges",), compiled=self._degrees
            ),
            EagerStage(
                "embedding",
                self._embed,
                reads=("degrees",),
                writes=("features", "normed"),
                computes=("atoms",),
            ),
        ]
        for k, compiled in enumerate(self._convolutions):
            convolution = NativeStage(
                f"convolution {k}",
                before=(Halo("normed", blocks.width),),
                reads=("normed", "kept"),
                writes=("messages",),
                computes=("edges",),
                compiled=compiled,
            )
            stages += [convolution, self._block_stage(k)]
            if blocks.balances:
                stages.append(blocks.balance_stage(k))
        return stages

    def _edges(self, graph: Any, _vectors: Tensor, _inputs: Tensors) -> Tensors:
        if "experts" in graph.system and self._blocks.experts.merge(graph.system["experts"]):
            self._pack()
        return {"kept": self._blocks.kept(graph)}

    def _embed(self, graph: Any, _vectors: Tensor, inputs: Tensors) -> Tensors:
        return self._blocks.ready_for(0, graph, self._blocks.embedded(graph, inputs["degrees"]))

    def _block_stage(self, k: int) -> EagerStage:
        return EagerStage(
            f"block {k}",
            lambda graph, _, inputs: self._blocks.updated(k, graph, inputs["messages"] + inputs["features"]),
            reads=("features", "messages"),
            computes=("atoms",),
            **self._blocks.outputs_of_block(k),
        )

    # ---- layers

    @torch.no_grad()
    def _pack(self) -> None:
        """Give convolutions the layers of the replica as they are."""
        for block, convolution in zip(self._blocks.backbone.blocks, self._convolutions, strict=True):
            edge_wise, backbone = block.edge_wise, self._blocks.backbone
            first, second = edge_wise.so2_conv_1, edge_wise.so2_conv_2
            per_degree = _in_parts(second.fc_m0.weight, backbone.lmax + 1)
            halves = [_in_parts(of_order.fc.weight, 2) for of_order in second.so2_m_conv]
            degrees = [backbone.lmax + 1 - m for m in range(1, backbone.mmax + 1)]
            convolution.use(
                first=_matrix(first.fc_m0.weight),
                first_bias=first.fc_m0.bias.tolist(),
                first_orders=[_complex(of_order.fc.weight) for of_order in first.so2_m_conv],
                second=[_matrix(part) for part in per_degree],
                second_bias=second.fc_m0.bias.tolist(),
                second_real=[
                    [_matrix(part) for part in _in_parts(real, n)]
                    for (real, _), n in zip(halves, degrees, strict=True)
                ],
                second_imaginary=[
                    [_matrix(part) for part in _in_parts(imaginary, n)]
                    for (_, imaginary), n in zip(halves, degrees, strict=True)
                ],
            )


class FrameEdges:
    """Makes what reads radial functions: from a backbone in float64, which nobody needs any longer then."""

    def __init__(self, exact: eSCNMDBackbone, choice: NativeChoice, dtype: torch.dtype) -> None:
        self._exact = exact
        self._choice = choice
        self._dtype = dtype
        self._is_double = dtype == torch.float64

    def convolution(self, k: int) -> core.SO2Convolution:
        """Of block k, without layers.

        Raises:
            NotNativeError: tables of radial functions would be too large.
        """
        backbone = self._exact
        return core.so2_convolution(
            is_double=self._is_double,
            edges=self._frame_edges(backbone.blocks[k].edge_wise.so2_conv_1.rad_func, 1.0),
            mmax=backbone.mmax,
            hidden=backbone.hidden_channels,
        )

    def degree_embedding(self) -> core.NativeStage:
        """What atoms are embedded with of their edges; raises as :meth:`convolution`."""
        embedding = self._exact.edge_degree_embedding
        edges = self._frame_edges(embedding.rad_func, 1 / embedding.rescale_factor)
        return core.so2_degrees(is_double=self._is_double, edges=edges)

    def _frame_edges(self, network: RadialMLP, factor: float) -> core.FrameEdges:
        """``factor``: of messages."""
        backbone = self._exact
        with_tables = self._choice.table is not None
        return core.FrameEdges(
            numbers=list(self._choice.numbers),
            lmax=backbone.lmax,
            channels=backbone.sphere_channels,
            cutoff=float(backbone.cutoff),
            envelope_power=round(backbone.envelope.p),
            factor=factor,
            columns=network.net[-1].out_features,
            network=None if with_tables else self._network(network),
            tables=self._tables(network) if with_tables else None,
        )

    def _pairs(self) -> list[tuple[int, int]]:
        """Atomic numbers of receiver and sender, in the core's order."""
        return [(r, s) for r in self._choice.numbers for s in self._choice.numbers]

    def _network(self, network: RadialMLP) -> core.GaussianNetwork:
        """What the first layer reads of both elements is a bias of the pair."""
        linears, norms = _layers_of(network)
        expansion = self._exact.distance_expansion
        lengths, of_senders, of_receivers = np.split(
            weights_of(linears[0]),
            np.cumsum([len(expansion.offset), self._exact.edge_channels]),
        )
        senders, receivers = (
            embedding.weight.numpy()
            for embedding in (self._exact.source_embedding, self._exact.target_embedding)
        )
        biases = [
            bias_of(linears[0]) + senders[s] @ of_senders + receivers[r] @ of_receivers
            for r, s in self._pairs()
        ]
        return core.GaussianNetwork(
            centres=expansion.offset.tolist(),
            exponent=float(expansion.coeff),
            layers=[np.ascontiguousarray(lengths), *(weights_of(linear) for linear in linears[1:])],
            pair_biases=np.stack(biases),
            biases=[bias_of(linear).tolist() for linear in linears[1:]],
            norms=[core.RadialNorm(norm.weight.tolist(), norm.bias.tolist(), norm.eps) for norm in norms],
        )

    def _tables(self, network: RadialMLP) -> core.PairTables:
        size, pairs = self._choice.table, self._pairs()
        assert size is not None
        columns = network.net[-1].out_features
        n_bytes = len(pairs) * size.cells * size.coefficients * columns * self._dtype.itemsize
        require_small(f"tables of radial functions for {len(pairs)} pairs of elements", n_bytes)
        functions = [self._function(network, *pair) for pair in pairs]
        grid = fitted(size, float(self._exact.cutoff), None, functions)
        cells = [cell for function in functions for cell in grid.coefficients(function(grid.lengths))]
        return core.PairTables(ends=list(grid.ends), cells=cells)

    def _function(self, network: RadialMLP, receiver: int, sender: int) -> Callable[[Tensor], Tensor]:
        exact = self._exact

        def function(lengths: Tensor) -> Tensor:
            n = len(lengths)
            embedded = (exact.source_embedding.weight[sender], exact.target_embedding.weight[receiver])
            of_pair = [row.expand(n, -1) for row in embedded]
            values: Tensor = network(torch.cat([exact.distance_expansion(lengths), *of_pair], dim=1))
            return values

        return function


def _layers_of(network: RadialMLP) -> tuple[list[nn.Linear], list[nn.LayerNorm]]:
    """
    Raises:
        NotNativeError: it has others.
    """
    norms = [layer for layer in network.net if isinstance(layer, nn.LayerNorm)]
    linears = linears_of(layer for layer in network.net if not isinstance(layer, nn.LayerNorm))
    return linears, norms


def _matrix(weight: Tensor) -> Matrix:
    """(in, out)"""
    matrix: Matrix = np.ascontiguousarray(weight.double().numpy().T)
    return matrix


def _in_parts(weight: Tensor, n: int) -> list[Tensor]:
    """Of what a layer gives."""
    return list(weight.chunk(n))


def _complex(weight: Tensor) -> core.ComplexMatrix:
    real, imaginary = (part.double() for part in _in_parts(weight, 2))
    return core.ComplexMatrix(
        real=_matrix(real), difference=_matrix(imaginary - real), minus_sum=_matrix(-(imaginary + real))
    )
