"""TensorNet's stages as native stages: the embedding, then one per interaction layer.

With recompute, what a layer reads of senders is a cheap stage of its own, and the embedding another one: all
that then waits for the way back is the tensors behind each layer.

A row of tensors has their nine numbers (``Algebra.flat``) of all channels. What an edge gives the embedding
depends on the species at its ends and is linear in some functions of its length; so sums over the edges from
each species are all that the embedding has to know of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matgl.layers._core import GatedMLP
from matgl.layers._readout_torch import WeightedReadOut
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.exchanges import Halo
from distmlip.models.linear_layers import bias_of, linears_of, weights_of
from distmlip.models.matgl.tensornet_radial import (
    DEGREES,
    RadialFunctions,
    projections_of,
)
from distmlip.models.matgl.tensors import N_NUMBERS, Algebra
from distmlip.models.native import (
    Builder,
    Irreps,
    NativeChoice,
    NativeStage,
    StageMaker,
    padded,
    require_small,
)
from distmlip.models.stages import Stage

if TYPE_CHECKING:
    from matgl.models import TensorNet

SCALAR: Irreps = [(0, 1)]


class NativeTensorNet:
    """The native stages of a network that is in float64."""

    def __init__(
        self,
        network: TensorNet,
        algebra: Algebra,
        scale: float,
        elements: Tensor,
        dtype: torch.dtype,
        choice: NativeChoice,
        recompute: bool,
    ) -> None:
        """
        ``algebra``: the network's; ``scale``: eV, of its energies; ``elements``: its index of each species;
        ``dtype``: of the stages; ``recompute``: whether they are to be computed again for the way back.

        Raises:
            NotNativeError: a part of the model is of a kind that native stages do not know; so do methods.
        """
        if type(network.activation) is not nn.SiLU:
            raise NotNativeError(f"activation is a {type_name(network.activation)}; native stages know SiLU")
        self.network = network
        self.scale = scale
        self.elements = elements
        self.recompute = recompute
        self.itemsize = dtype.itemsize
        # What vectors give the skew-symmetric part has the other sign in warp's kernels.
        self.maker = StageMaker(choice, dtype, float(network.cutoff), sign=-1 if network._use_warp else 1)
        # In warp's kernels a third has single precision there, whatever the dtype.
        identity = algebra.from_flat(torch.eye(1, N_NUMBERS, dtype=torch.float64))
        self.norm_of_identity = float(algebra.invariants(identity)[0, 0])
        self.tensors: Irreps = [(degree, network.units) for degree in DEGREES]
        self.scalars: Irreps = [(0, network.units)]
        self.n_layers = len(network.layers)
        self.radial = RadialFunctions(network, self.maker)

    # ---- stages

    def stages(self) -> list[Stage]:
        """The embedding, then one per interaction layer; with recompute with what it reads of senders before
        it."""
        stages = [self._embedding]
        for k in range(self.n_layers):
            stages += [partial(self._sent, k)] if self.recompute else []
            stages.append(partial(self._layer, k))
        with torch.no_grad():
            return [stage() for stage in stages]

    def _embedding(self) -> Stage:
        """Of what only depends on species and lengths."""
        builder, part = self.maker.builder(), self.network.tensor_embedding
        ones = self._ones(builder)
        n_functions = padded(self.radial.n_of_embedding)
        width = self.maker.n_species * n_functions
        sums = builder.expansion(
            self.radial.of_embedding(builder), [(degree, width) for degree in DEGREES], [0] * len(DEGREES)
        )
        of_edges = builder.linear(sums, self.tensors, self._maps_of_edges(n_functions))
        tensors = builder.of_tensors("of_harmonics", of_edges, self.tensors)
        norm = builder.of_tensors("norm", tensors, self.scalars)
        hidden = self._normed(builder, norm, part.init_norm)
        first, second = part.linears_scalar
        hidden = self._activated(builder, self._dense(builder, hidden, first, ones), first.out_features)
        # Behind the three parts three gates, one for each of them; the layer's outputs take turns.
        gated = builder.linear(tensors, self.tensors + self.scalars * 3, _mixed(part.linears_tensor))
        for k in DEGREES:
            builder.add_linear(
                hidden, gated, [core.LinearMap(0, 3 + k, [weights_of(second)[:, k::3].copy()])]
            )
            builder.add_linear(ones, gated, [core.LinearMap(0, 3 + k, [bias_of(second)[None, k::3].copy()])])
        gates = [core.Gated(k, k, 3 + k, "silu", 1.0) for k in DEGREES]
        return self._stage(builder, -1, builder.gate(gated, self.tensors, gates), ones)

    def _sent(self, k: int) -> Stage:
        """What a layer reads of senders."""
        builder = self.maker.builder()
        tensors = builder.input("tensors", self.tensors, of_senders=False, by_component=True)
        self._add_sent(builder, k, tensors)
        return NativeStage(
            name=f"sent to layer {k}",
            reads=("tensors",),
            writes=("sent",),
            computes=("atoms",),
            is_cheap=True,
            compiled=builder.stage(),
        )

    def _add_sent(self, builder: Builder, k: int, tensors: int) -> None:
        maps = _mixed(self.network.layers[k].linears_tensor[:3])
        builder.output("sent", builder.linear(tensors, self.tensors, maps), by_component=True)

    def _layer(self, k: int) -> Stage:
        """An interaction."""
        builder, part = self.maker.builder(), self.network.layers[k]
        before = builder.input("tensors", self.tensors, of_senders=False, by_component=True)
        sent = builder.input("sent", self.tensors, of_senders=True, by_component=True)
        messages = builder.scaling(sent, self.radial.of_layer(builder, k), list(DEGREES))
        both = part.equivariance_invariance_group == "O(3)"
        product = "anticommutator" if both else "twice_product"
        update = builder.of_two_tensors(product, builder.own_rows(sent), messages)
        change = builder.linear(update, self.tensors, _mixed(part.linears_tensor[3:]))
        return self._stage(builder, k, builder.of_two_tensors("plus_square", before, change), None)

    def _stage(self, builder: Builder, layer: int, tensors: int, ones: int | None) -> Stage:
        first, last = layer == -1, layer == self.n_layers - 1
        if last:
            self._read_out(builder, tensors, self._ones(builder) if ones is None else ones)
        else:
            tensors = builder.of_tensors("normalised", tensors, self.tensors)
            builder.output("tensors", tensors, by_component=True)
            if not self.recompute:
                self._add_sent(builder, layer + 1, tensors)
        writes = ("tensors",) if self.recompute else ("tensors", "sent")
        return NativeStage(
            name="embedding" if first else f"layer {layer}",
            before=() if first else (Halo("sent", (N_NUMBERS * self.network.units,)),),
            reads=() if first else ("tensors", "sent"),
            writes=() if last else writes,
            results=("energy",) if last else (),
            computes=("atoms", "edges"),
            is_cheap=self.recompute and first,
            compiled=builder.stage(),
        )

    def _read_out(self, builder: Builder, tensors: int, ones: int) -> None:
        network, readout = self.network, self.network.final_layer
        if type(readout) is not WeightedReadOut or type(readout.gated) is not GatedMLP:
            raise NotNativeError(f"final_layer is a {type_name(readout)}, which native stages do not know")
        norms = builder.of_tensors("norms", tensors, self.scalars * 3)
        if self.norm_of_identity != 3:
            factors = (self.norm_of_identity / 3, 1.0, 1.0)
            scaled = [core.Gated(k, k, -1, "none", factor) for k, factor in enumerate(factors)]
            norms = builder.gate(norms, self.scalars * 3, scaled)
        hidden = self._normed(builder, norms, network.out_norm)
        units = network.units
        weights = weights_of(network.linear)
        maps = [core.LinearMap(k, 0, [weights[k * units : (k + 1) * units]]) for k in DEGREES]
        features = builder.linear(hidden, [(0, network.linear.out_features)], maps)
        builder.add_linear(ones, features, [core.LinearMap(0, 0, [bias_of(network.linear)[None]])])
        product = builder.linear(ones, SCALAR * 2, [])
        for position, (modules, ends) in enumerate(
            ((readout.gated.layers, ()), (readout.gated.gates, (nn.Sigmoid,)))
        ):
            linears = linears_of(modules, *ends)
            rows = features
            for linear in linears[:-1]:
                rows = self._activated(builder, self._dense(builder, rows, linear, ones), linear.out_features)
            builder.add_linear(rows, product, [core.LinearMap(0, position, [weights_of(linears[-1])])])
            builder.add_linear(ones, product, [core.LinearMap(0, position, [bias_of(linears[-1])[None]])])
        energy = builder.gate(product, SCALAR, [core.Gated(0, 0, 1, "sigmoid", 1.0)])
        builder.output("energy", energy, in_float64=True, is_flat=True, factor=self.scale)

    # ---- parts of them

    def _ones(self, builder: Builder) -> int:
        """What biases are multiplied by."""
        return builder.constant(SCALAR, np.ones((self.maker.n_species, 1)))

    def _dense(self, builder: Builder, source: int, linear: nn.Linear, ones: int) -> int:
        target = builder.linear(
            source, [(0, linear.out_features)], [core.LinearMap(0, 0, [weights_of(linear)])]
        )
        builder.add_linear(ones, target, [core.LinearMap(0, 0, [bias_of(linear)[None]])])
        return target

    @staticmethod
    def _activated(builder: Builder, source: int, channels: int) -> int:
        return builder.gate(source, [(0, channels)], [core.Gated(0, 0, -1, "silu", 1.0)])

    @staticmethod
    def _normed(builder: Builder, source: int, norm: nn.LayerNorm) -> int:
        return builder.layer_norm(source, norm.weight.tolist(), norm.bias.tolist(), norm.eps)

    def _maps_of_edges(self, n_functions: int) -> list[core.LinearMap]:
        """From the sums to harmonics' rows, of each species of receivers."""
        part, n = self.network.tensor_embedding, self.maker.n_species
        n_bytes = len(DEGREES) * n * n * n_functions * padded(self.network.units) * self.itemsize
        require_small(f"embeddings of {n} elements", n_bytes)
        of_species = part.emb.weight[self.elements]
        ends = torch.cat([of_species.repeat_interleave(n, dim=0), of_species.repeat(n, 1)], dim=1)
        of_pairs = part.emb2(ends).view(n, n, 1, -1)
        maps = []
        from_basis = self.radial.from_basis
        for degree, (weight, bias) in enumerate(projections_of(part)):
            # The functions, then the cutoff itself, which is what the bias is multiplied by.
            of_functions = torch.cat([from_basis @ weight.T, bias[None]])
            matrices = np.zeros((n, n, n_functions, self.network.units))
            matrices[:, :, : len(of_functions)] = (of_pairs * of_functions).numpy()
            maps.append(core.LinearMap(degree, degree, list(matrices.reshape(n, n * n_functions, -1))))
        return maps


def _mixed(linears: Iterable[Any]) -> list[core.LinearMap]:
    """Of the three parts of tensors."""
    return [core.LinearMap(degree, degree, [weights_of(linear)]) for degree, linear in enumerate(linears)]
