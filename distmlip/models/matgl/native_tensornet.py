"""TensorNet's stages as native stages: the embedding, then one per interaction layer.

A row of tensors has their nine numbers (``Algebra.flat``) of all channels. What an edge gives the embedding
depends on the species at its ends and is linear in some functions of its length; so sums over the edges from
each species are all that the embedding has to know of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matgl.layers._basis import SphericalBesselFunction
from matgl.layers._core import GatedMLP
from matgl.layers._readout_torch import WeightedReadOut
from matgl.utils.cutoff import cosine_cutoff
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.matgl.tensors import N_NUMBERS, Algebra
from distmlip.models.native import (
    MOST_TABLE_BYTES,
    Builder,
    Irreps,
    Matrix,
    NativeChoice,
    NativeStage,
    StageMaker,
    padded,
)
from distmlip.models.stages import Halo, Stage

if TYPE_CHECKING:
    from matgl.layers import TensorNetInteraction
    from matgl.models import TensorNet

DEGREES = range(3)
SCALAR: Irreps = [(0, 1)]


def native_stages(
    network: TensorNet,
    algebra: Algebra,
    scale: float,
    elements: Tensor,
    dtype: torch.dtype,
    choice: NativeChoice,
) -> list[Stage]:
    """The stages of a network that is in float64, in this dtype.

    ``algebra``: the network's; ``scale``: eV, of its energies; ``elements``: its index of each species.

    Raises:
        NotNativeError: a part of the model is of a kind that native stages do not know.
    """
    stages = _Stages(network, algebra, scale, elements, dtype, choice)
    with torch.no_grad():
        return [stages.embedding(), *(stages.layer(k) for k in range(len(network.layers)))]


class _Stages:
    def __init__(
        self,
        network: TensorNet,
        algebra: Algebra,
        scale: float,
        elements: Tensor,
        dtype: torch.dtype,
        choice: NativeChoice,
    ) -> None:
        if type(network.activation) is not nn.SiLU:
            raise NotNativeError(f"activation is a {type_name(network.activation)}; native stages know SiLU")
        self.network = network
        self.scale = scale
        self.elements = elements
        self.itemsize = dtype.itemsize
        self.cutoff = float(network.cutoff)
        # What vectors give the skew-symmetric part has the other sign in warp's kernels.
        self.maker = StageMaker(choice, dtype, self.cutoff, sign=-1 if network._use_warp else 1)
        # In warp's kernels a third has single precision there, whatever the dtype.
        identity = algebra.from_flat(torch.eye(1, N_NUMBERS, dtype=torch.float64))
        self.norm_of_identity = float(algebra.invariants(identity)[0, 0])
        self.tensors: Irreps = [(degree, network.units) for degree in DEGREES]
        self.scalars: Irreps = [(0, network.units)]
        self.n_layers = len(network.layers)
        if choice.table is not None:
            self.maker.fit(self._all_functions, by_species=False)

    # ---- stages

    def embedding(self) -> Stage:
        """Of what only depends on species and lengths."""
        builder, part = self.maker.builder(), self.network.tensor_embedding
        ones = self._ones(builder)
        n_functions = padded(self._n_embedding_functions)
        width = self.maker.n_species * n_functions
        sums = builder.expansion(
            self._radial_of_embedding(builder), [(degree, width) for degree in DEGREES], [0] * len(DEGREES)
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
            builder.add_linear(hidden, gated, [core.LinearMap(0, 3 + k, [_weights(second)[:, k::3].copy()])])
            builder.add_linear(ones, gated, [core.LinearMap(0, 3 + k, [_bias(second)[:, k::3].copy()])])
        gates = [core.Gated(k, k, 3 + k, "silu", 1.0) for k in DEGREES]
        return self._stage(builder, -1, builder.gate(gated, self.tensors, gates), ones)

    def layer(self, k: int) -> Stage:
        """An interaction."""
        builder, part = self.maker.builder(), self.network.layers[k]
        before = builder.input("tensors", self.tensors, of_senders=False, by_component=True)
        sent = builder.input("sent", self.tensors, of_senders=True, by_component=True)
        messages = builder.scaling(sent, self._radial_of_layer(builder, k), list(DEGREES))
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
            following = self.network.layers[layer + 1].linears_tensor[:3]
            sent = builder.linear(tensors, self.tensors, _mixed(following))
            builder.output("tensors", tensors, by_component=True)
            builder.output("sent", sent, by_component=True)
        return NativeStage(
            name="embedding" if first else f"layer {layer}",
            before=() if first else (Halo("sent", (N_NUMBERS * self.network.units,)),),
            reads=() if first else ("tensors", "sent"),
            writes=() if last else ("tensors", "sent"),
            results=("energy",) if last else (),
            computes=("atoms", "edges"),
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
        weights = _weights(network.linear)
        maps = [core.LinearMap(k, 0, [weights[k * units : (k + 1) * units]]) for k in DEGREES]
        features = builder.linear(hidden, [(0, network.linear.out_features)], maps)
        builder.add_linear(ones, features, [core.LinearMap(0, 0, [_bias(network.linear)])])
        product = builder.linear(ones, SCALAR * 2, [])
        for position, (modules, end) in enumerate(
            ((readout.gated.layers, nn.Linear), (readout.gated.gates, nn.Sigmoid))
        ):
            linears = _linears_of(modules, end)
            rows = features
            for linear in linears[:-1]:
                rows = self._activated(builder, self._dense(builder, rows, linear, ones), linear.out_features)
            builder.add_linear(rows, product, [core.LinearMap(0, position, [_weights(linears[-1])])])
            builder.add_linear(ones, product, [core.LinearMap(0, position, [_bias(linears[-1])])])
        energy = builder.gate(product, SCALAR, [core.Gated(0, 0, 1, "sigmoid", 1.0)])
        builder.output("energy", energy, in_float64=True, is_flat=True, factor=self.scale)

    # ---- parts of them

    def _ones(self, builder: Builder) -> int:
        """What biases are multiplied by."""
        return builder.constant(SCALAR, np.ones((self.maker.n_species, 1)))

    def _dense(self, builder: Builder, source: int, linear: nn.Linear, ones: int) -> int:
        target = builder.linear(
            source, [(0, linear.out_features)], [core.LinearMap(0, 0, [_weights(linear)])]
        )
        builder.add_linear(ones, target, [core.LinearMap(0, 0, [_bias(linear)])])
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
        if n_bytes > MOST_TABLE_BYTES:
            raise NotNativeError(
                f"embeddings of {n} elements would take {n_bytes / 1e6:.0f} MB; at most "
                f"{MOST_TABLE_BYTES / 1e6:.0f} MB are made"
            )
        of_species = part.emb.weight[self.elements]
        ends = torch.cat([of_species.repeat_interleave(n, dim=0), of_species.repeat(n, 1)], dim=1)
        of_pairs = part.emb2(ends).view(n, n, 1, -1)
        maps = []
        for degree, (weight, bias) in enumerate(_projections(part)):
            # The functions, then the cutoff itself, which is what the bias is multiplied by.
            of_functions = torch.cat([self._from_basis @ weight.T, bias[None]])
            matrices = np.zeros((n, n, n_functions, self.network.units))
            matrices[:, :, : len(of_functions)] = (of_pairs * of_functions).numpy()
            maps.append(core.LinearMap(degree, degree, list(matrices.reshape(n, n * n_functions, -1))))
        return maps

    # ---- functions of the length

    @property
    def _from_basis(self) -> Tensor:
        """(functions, basis): what the functions of the embedding are made to by its projections; exact ones
        are sines."""
        if self.maker.choice.table is None:
            return torch.as_tensor(self._sines())
        return torch.eye(_projections(self.network.tensor_embedding)[0][0].shape[1], dtype=torch.float64)

    @property
    def _n_embedding_functions(self) -> int:
        """With the cutoff."""
        return len(self._from_basis) + 1

    def _embedding_functions(self, lengths: Tensor) -> Tensor:
        """What the embedding is linear in: the basis under the cutoff, and the cutoff."""
        damping = cosine_cutoff(lengths, self.cutoff)[:, None]
        return torch.cat([self.network.bond_expansion(lengths) * damping, damping], dim=1)

    def _layer_functions(self, layer: TensorNetInteraction, lengths: Tensor) -> Tensor:
        """What a layer's three parts are multiplied by, part by part."""
        values = self.network.bond_expansion(lengths)
        for linear in layer.linears_scalar:
            values = layer.act(linear(values))
        values = values * cosine_cutoff(lengths, layer.cutoff)[:, None]
        return torch.cat([values[:, k::3] for k in DEGREES], dim=1)

    def _all_functions(self, lengths: Tensor, receiver: int, sender: int) -> Tensor:  # noqa: ARG002  the same
        layers = [self._layer_functions(layer, lengths) for layer in self.network.layers]
        return torch.cat([self._embedding_functions(lengths), *layers], dim=1)

    def _radial_of_embedding(self, builder: Builder) -> int:
        if self.maker.choice.table is not None:
            return self.maker.tables(
                builder,
                lambda lengths, *_: self._embedding_functions(lengths),
                [self._n_embedding_functions],
                by_species=False,
            )
        return builder.hidden(self._basis("cosine", with_envelope=True), [], 1.0)

    def _radial_of_layer(self, builder: Builder, k: int) -> int:
        part, units = self.network.layers[k], self.network.units
        if self.maker.choice.table is not None:
            return self.maker.tables(
                builder,
                lambda lengths, *_: self._layer_functions(part, lengths),
                [units] * 3,
                by_species=False,
            )
        layers = [np.vstack([_weights(linear), _bias(linear)]) for linear in part.linears_scalar]
        layers[0] = np.vstack([self._sines() @ layers[0][:-1], layers[0][-1:]])
        last = np.zeros((len(layers[-1]), 3, padded(units)))
        last[:, :, :units] = layers[-1].reshape(-1, units, 3).swapaxes(1, 2)
        layers[-1] = last.reshape(len(last), -1)
        return builder.hidden(self._basis("none"), layers, 1.0, [padded(units)] * 3, self.cutoff)

    def _sines(self) -> Matrix:
        """(n + 1, n): of which the smooth Bessel functions are made.

        Raises:
            NotNativeError: the basis is another one.
        """
        rbf: Any = self.network.bond_expansion.rbf
        if type(rbf) is not SphericalBesselFunction or not rbf.smooth:
            raise NotNativeError(
                f"bond_expansion is a {type_name(rbf)}; exact radial functions of native stages know smooth "
                "Bessel functions"
            )
        n = rbf.max_n
        lengths = torch.linspace(0.1, 1.0, 4 * (n + 1), dtype=torch.float64) * self.cutoff
        frequencies = torch.arange(1, n + 2, dtype=torch.float64) * math.pi / self.cutoff
        sines = torch.sin(lengths[:, None] * frequencies) / lengths[:, None]
        found = torch.linalg.lstsq(sines, rbf(lengths))
        difference = float((sines @ found.solution - rbf(lengths)).abs().max())
        if difference > 1e-12:
            raise NotNativeError(
                f"bond_expansion is {difference:.2g} off the sines that it should be made of"
            )
        matrix: Matrix = found.solution.numpy()
        return matrix

    def _basis(self, envelope: str, with_envelope: bool = False) -> core.RadialBasis:
        n = self.network.bond_expansion.rbf.max_n
        frequencies = [k * math.pi / self.cutoff for k in range(1, n + 2)]
        return core.RadialBasis(frequencies, 1.0, self.cutoff, envelope=envelope, with_envelope=with_envelope)


def _projections(embedding: Any) -> list[tuple[Tensor, Tensor]]:
    """Weights (units, basis) and biases of what each part is multiplied by; for warp's kernels they are one
    map."""
    if hasattr(embedding, "distance_proj"):
        both = embedding.distance_proj
        return list(zip(both.weight.chunk(3), both.bias.chunk(3), strict=True))
    three = (embedding.distance_proj1, embedding.distance_proj2, embedding.distance_proj3)
    return [(projection.weight, projection.bias) for projection in three]


def _weights(linear: nn.Linear) -> Matrix:
    """(in, out)."""
    weights: Matrix = np.ascontiguousarray(linear.weight.detach().numpy().T)
    return weights


def _bias(linear: nn.Linear) -> Matrix:
    """(1, out)."""
    bias = np.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().numpy()
    return bias[None]


def _mixed(linears: Iterable[Any]) -> list[core.LinearMap]:
    """Of the three parts of tensors."""
    return [core.LinearMap(degree, degree, [_weights(linear)]) for degree, linear in enumerate(linears)]


def _linears_of(modules: nn.Sequential, end: type[nn.Module]) -> list[nn.Linear]:
    """Of layers with SiLU between, and this behind the last one.

    Raises:
        NotNativeError: there are others.
    """
    kinds = [type(module) for module in modules]
    linears = [module for module in modules if isinstance(module, nn.Linear)]
    expected = [kind for _ in linears for kind in (nn.Linear, nn.SiLU)][:-1]
    if kinds != (expected if end is nn.Linear else [*expected, end]):
        raise NotNativeError("final_layer.gated has layers or activations that native stages do not know")
    return linears
