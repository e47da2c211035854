"""matgl's CHGNet as native stages. What crosses them is that of the eager ones (chgnet.py); angles before
their first update are a stage of their own, which costs so little that it is computed again with recompute.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matgl.layers._basis import FourierExpansion
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.directed_layers import by_number, gated_layer, norm_of, require_padded
from distmlip.models.exchanges import Exchange, Halo
from distmlip.models.length_tables import Function, length_tables
from distmlip.models.linear_layers import weights_of
from distmlip.models.local_graph import LocalGraph
from distmlip.models.matgl.architecture import MARGIN
from distmlip.models.native import Matrix, NativeStage, padded
from distmlip.models.stages import EagerStage, Stage, Tensors

if TYPE_CHECKING:
    from matgl.layers._graph_convolution import _GatedMLPNorm
    from matgl.models import CHGNet

    from distmlip.models.matgl.chgnet import CHGNetArchitecture

EMBEDDING = 0
"""Of edges, the group of functions of the length."""


class NativeCHGNet:
    """The native stages of a network."""

    def __init__(self, architecture: CHGNetArchitecture, dtype: torch.dtype, recompute: bool) -> None:
        """``dtype``: of the stages; ``recompute``: whether they are to be computed again for the way back.

        Raises:
            NotNativeError: a part of the model is of a kind that native stages do not know; so do methods.
        """
        # Weights are folded in float64; those of a model in float32 are exact there.
        self.exact = exact = architecture.copy(torch.float64)
        self.replica = architecture.copy(dtype)
        self.network: CHGNet = exact.network
        self.numbers = architecture.numbers
        self.dtype = dtype
        self.recompute = recompute
        network = self.network
        if network.readout_field != "atom_feat":
            raise NotNativeError(
                f"readout_field={network.readout_field!r}; native stages know readouts of 'atom_feat'"
            )
        self.atoms = int(network.atom_embedding.embedding_dim)
        self.edges = int(network.bond_embedding.layers[-1].out_features)
        require_padded(atoms=self.atoms, edges=self.edges)
        self.angles = 0
        if exact.has_line_graph:
            self.angles = int(network.angle_embedding.layers[-1].out_features)
            require_padded(angles=self.angles)

    @torch.no_grad()
    def stages(self) -> list[Stage]:
        """As the eager ones, with angles before and the readout behind them."""
        exact, stages = self.exact, list[Stage]()
        if exact.has_line_graph and exact.last > 0:
            stages.append(self._angle_embedding())
        for k in range(exact.last + 1):
            if k == exact.last and exact.site_properties:
                stages.append(self._eager("magmoms", self._magmoms, "magmoms"))
            stages.append(self._block(k))
            if self.exact._updates_nodes(k) and exact.updates_edges:
                stages.append(self._line_graph(k))
        return [*stages, self._eager("readout", self._read_out, "energy")]

    # ---- stages

    def _angle_embedding(self) -> NativeStage:
        name = ("angle_embedding",)
        return NativeStage(
            name="angles",
            writes=name,
            is_cheap=self.recompute,
            compiled=core.directed_angles(
                is_double=self.dtype == torch.float64,
                frequencies=self._frequencies().tolist(),
                embedding=self._embedding_of_angles(),
                margin=MARGIN,
            ),
        )

    def _block(self, k: int) -> NativeStage:
        exact = self.exact
        before: tuple[Exchange, ...] = (Halo("atoms", (self.atoms,)),) if k > 0 else ()
        if k > 0 and exact.has_line_graph:
            before = (*before, exact._swap())
        carried = {exact._edges(k)} & {"edges"}
        reads_angles = exact._updates_angles(k) or self._has_nodes_behind(k)
        if k > 0 and exact.has_line_graph:
            carried.add("nodes")
        if reads_angles:
            carried.add(exact._angles(k))
        return NativeStage(
            name=f"block {k}",
            before=before,
            reads=(*(exchange.name for exchange in before), *sorted(carried)),
            writes=exact._writes(k) or ("atoms",),
            computes=("atoms", "edges", *(("angles",) if reads_angles else ())),
            compiled=self._compiled(k),
        )

    def _line_graph(self, k: int) -> NativeStage:
        exact = self.exact
        return NativeStage(
            name=f"line graph {k}",
            before=(exact._swap(),),
            reads=("crossing", "atoms", "edges", exact._angles(k + 1)),
            writes=("crossing", "nodes"),
            computes=("angles",),
            compiled=core.directed_nodes(
                is_double=self.dtype == torch.float64,
                tables=self._tables([self._node_weights(k)]),
                nodes=self._nodes(k, 0),
            ),
        )

    def _has_nodes_behind(self, k: int) -> bool:
        """Whether a block ends with the line graph."""
        return self.exact._updates_nodes(k) and not self.exact.updates_edges

    def _compiled(self, k: int) -> core.NativeStage:
        exact, layer = self.exact, self.network.atom_graph_layers[k]
        conv, first, last = layer.conv, k == 0, k == exact.last
        reads_edges = exact._edges(k) == "edges"
        groups: list[Function] = [] if reads_edges else [self._edge_embedding]
        groups.append(self._weights(self.network.atom_bond_weights, conv.node_weight_func, self.atoms))
        messages = core.WeightedLayer(self._edge_layer(conv.node_update_func), len(groups) - 1)
        edge_update, nodes = None, None
        if conv.edge_update_func is not None:
            groups.append(self._weights(self.network.bond_bond_weights, conv.edge_weight_func, self.edges))
            edge_update = core.WeightedLayer(self._edge_layer(conv.edge_update_func), len(groups) - 1)
        if self._has_nodes_behind(k):
            groups.append(self._node_weights(k))
            nodes = self._nodes(k, len(groups) - 1)
        of_angles = self.network.bond_graph_layers[k - 1].conv if exact._updates_angles(k) else None
        return core.directed_block(
            is_double=self.dtype == torch.float64,
            atoms=self.atoms,
            edges=self.edges,
            tables=self._tables(groups),
            messages=messages,
            embedding=-1 if reads_edges else EMBEDDING,
            species=by_number(self.numbers, self.network.atom_embedding.weight.detach()) if first else None,
            has_nodes=exact.has_line_graph and k > 0,
            angles=None if of_angles is None else self._angle_layer(of_angles.edge_update_func),
            nodes=nodes,
            edge_update=edge_update,
            out=weights_of(conv.node_out_func),
            atom_norm=norm_of(layer.atom_norm),
            edge_norm=norm_of(layer.bond_norm),
            gives_edges=exact.updates_edges and not last,
            gives_crossing=exact.updates_edges and exact.has_line_graph and not last,
        )

    # ---- layers

    def _edge_layer(self, mlp: _GatedMLPNorm) -> core.GatedLayer:
        """Matgl's edges run from sender to receiver, with themselves between."""
        return _gated(mlp, (2, 0, 1), (self.atoms, self.edges, self.atoms))

    def _angle_layer(self, mlp: _GatedMLPNorm) -> core.GatedLayer:
        return _gated(mlp, (0, 3, 2, 1), (self.edges, self.angles, self.atoms, self.edges))

    def _nodes(self, k: int, weights: int) -> core.NodeUpdate:
        conv = self.network.bond_graph_layers[k].conv
        messages = core.WeightedLayer(self._angle_layer(conv.node_update_func), weights)
        return core.NodeUpdate(messages, weights_of(conv.node_out_func))

    # ---- functions of the length

    def _tables(self, groups: list[Function]) -> core.LengthTables:
        kinks = [float(self.network.three_body_cutoff)]
        return length_tables(groups, float(self.network.cutoff), kinks, self.dtype)

    def _expanded(self, lengths: Tensor) -> Tensor:
        return self.exact._expanded(self.network.bond_expansion, lengths, self.network.cutoff)

    def _edge_embedding(self, lengths: Tensor) -> Tensor:
        embedded: Tensor = self.network.bond_embedding(self._expanded(lengths))
        return embedded

    def _weights(self, shared: nn.Module | None, own: nn.Module | None, width: int) -> Function:
        """Of messages of edges, or of their updates."""
        return lambda lengths: _product(self._expanded(lengths), (shared, own), width)

    def _node_weights(self, k: int) -> Function:
        network = self.network
        own = network.bond_graph_layers[k].conv.node_weight_func
        cutoff = network.three_body_cutoff

        def weights(lengths: Tensor) -> Tensor:
            expanded = self.exact._expanded(network.threebody_bond_expansion, lengths, cutoff)
            return _product(expanded, (network.threebody_bond_weights, own), self.edges)

        return weights

    # ---- angles

    def _frequencies(self) -> np.ndarray:
        expansion = self.network.angle_expansion
        if type(expansion) is not FourierExpansion:
            raise NotNativeError(f"angles are expanded by a {type_name(expansion)}")
        frequencies: np.ndarray = (
            expansion.frequencies.detach().double().numpy() * math.pi / expansion.interval
        )
        return frequencies

    def _embedding_of_angles(self) -> Matrix:
        """(2 padded frequencies, width): of sines, which the model has not of the first one, and cosines."""
        expansion, embedding = self.network.angle_expansion, self.network.angle_embedding
        if len(embedding.layers) != 1 or embedding.activate_last or embedding.layers[0].bias is not None:
            raise NotNativeError("angle_embedding is not linear; native stages know linear ones")
        weights = weights_of(embedding.layers[0]) / expansion.interval * expansion.scale_factor
        n, order = len(expansion.frequencies), padded(len(expansion.frequencies))
        matrix = np.zeros((2 * order, weights.shape[1]))
        matrix[1:n] = weights[1::2]
        matrix[order : order + n] = weights[::2]
        return matrix

    # ---- what is left behind the blocks

    def _eager(self, name: str, function: Callable[[LocalGraph, Tensors], Tensor], result: str) -> EagerStage:
        reads = ("atoms",) if result == "energy" or self.exact.last > 0 else ()
        return EagerStage(
            name=name,
            function=lambda graph, _, inputs: {result: function(graph, inputs)},
            reads=reads,
            results=(result,),
            computes=("atoms",),
        )

    def _magmoms(self, graph: LocalGraph, inputs: Tensors) -> Tensor:
        network = self.replica.network
        if "atoms" in inputs:
            atoms = inputs["atoms"]
        else:
            atoms = network.atom_embedding(self.replica.elements(graph)[: graph.n_owned])
        magmoms: Tensor = network.sitewise_readout(atoms).squeeze(1)  # of several targets all
        return magmoms

    def _read_out(self, _graph: LocalGraph, inputs: Tensors) -> Tensor:
        return self.replica.scaled(self.replica.network.final_layer(inputs["atoms"]).view(-1))


def _gated(mlp: Any, order: tuple[int, ...], widths: tuple[int, ...]) -> core.GatedLayer:
    """Of what is applied to rows side by side."""
    both, norms = [], []
    for part in (mlp.value, mlp.gate):
        if type(part.activation) is not nn.SiLU:
            raise NotNativeError(f"activation is a {type_name(part.activation)}; native stages know SiLU")
        if part.normalize_hidden and part.norms is not None and len(part.layers) > 1:
            raise NotNativeError("hidden layers are normalised; native stages know norms of the last ones")
        both.append(list(part.layers))
        if part.norms is not None:
            norms.append(part.norms[-1])
    if norms and norms[0].eps != norms[1].eps:
        raise NotNativeError("core and gate are normalised with different eps")
    return gated_layer(both, order, widths, norms)


def _product(expanded: Tensor, parts: tuple[nn.Module | None, ...], width: int) -> Tensor:
    """(n, width)"""
    product = expanded.new_ones(len(expanded), width)
    for part in parts:
        if part is not None:
            product = product * part(expanded)
    return product
