"""TensorNet's functions of the length as radial functions of native stages."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matgl.layers._basis import SphericalBesselFunction
from matgl.utils.cutoff import cosine_cutoff
from torch import Tensor

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.linear_layers import bias_of, weights_of
from distmlip.models.native import Builder, Matrix, StageMaker, padded

if TYPE_CHECKING:
    from matgl.layers import TensorNetInteraction
    from matgl.models import TensorNet

DEGREES = range(3)
"""Of the parts of a tensor."""


class RadialFunctions:
    """Of a network in float64; by tables or exact, as was chosen.

    Methods raise ``NotNativeError`` for what native stages do not know.
    """

    def __init__(self, network: TensorNet, maker: StageMaker) -> None:
        self._network = network
        self._maker = maker
        self._cutoff = float(network.cutoff)
        if maker.choice.table is not None:
            maker.fit(self._all_functions, by_species=False)

    @property
    def from_basis(self) -> Tensor:
        """(functions, basis): what the functions of the embedding are made to by its projections; exact ones
        are sines."""
        if self._maker.choice.table is None:
            return torch.as_tensor(self._sines)
        return torch.eye(projections_of(self._network.tensor_embedding)[0][0].shape[1], dtype=torch.float64)

    @property
    def n_of_embedding(self) -> int:
        """With the cutoff."""
        return len(self.from_basis) + 1

    def _embedding_functions(self, lengths: Tensor) -> Tensor:
        """What the embedding is linear in: the basis under the cutoff, and the cutoff."""
        damping = cosine_cutoff(lengths, self._cutoff)[:, None]
        return torch.cat([self._network.bond_expansion(lengths) * damping, damping], dim=1)

    def _layer_functions(self, layer: TensorNetInteraction, lengths: Tensor) -> Tensor:
        """What a layer's three parts are multiplied by, part by part."""
        values = self._network.bond_expansion(lengths)
        for linear in layer.linears_scalar:
            values = layer.act(linear(values))
        values = values * cosine_cutoff(lengths, layer.cutoff)[:, None]
        return torch.cat([values[:, k::3] for k in DEGREES], dim=1)

    def _all_functions(self, lengths: Tensor, receiver: int, sender: int) -> Tensor:  # noqa: ARG002  the same
        layers = [self._layer_functions(layer, lengths) for layer in self._network.layers]
        return torch.cat([self._embedding_functions(lengths), *layers], dim=1)

    def of_embedding(self, builder: Builder) -> int:
        """In one group."""
        if self._maker.choice.table is not None:
            return self._maker.tables(
                builder,
                lambda lengths, *_: self._embedding_functions(lengths),
                [self.n_of_embedding],
                by_species=False,
            )
        return builder.hidden(self._basis("cosine", with_envelope=True), [], 1.0)

    def of_layer(self, builder: Builder, k: int) -> int:
        """Of a layer's three parts, a group each."""
        part, units = self._network.layers[k], self._network.units
        if self._maker.choice.table is not None:
            return self._maker.tables(
                builder,
                lambda lengths, *_: self._layer_functions(part, lengths),
                [units] * 3,
                by_species=False,
            )
        layers = [np.vstack([weights_of(linear), bias_of(linear)[None]]) for linear in part.linears_scalar]
        layers[0] = np.vstack([self._sines @ layers[0][:-1], layers[0][-1:]])
        last = np.zeros((len(layers[-1]), 3, padded(units)))
        last[:, :, :units] = layers[-1].reshape(-1, units, 3).swapaxes(1, 2)
        layers[-1] = last.reshape(len(last), -1)
        return builder.hidden(self._basis("none"), layers, 1.0, [padded(units)] * 3, self._cutoff)

    @cached_property
    def _sines(self) -> Matrix:
        """(n + 1, n): of which the smooth Bessel functions are made.

        Raises:
            NotNativeError: the basis is another one.
        """
        rbf: Any = self._network.bond_expansion.rbf
        if type(rbf) is not SphericalBesselFunction or not rbf.smooth:
            raise NotNativeError(
                f"bond_expansion is a {type_name(rbf)}; exact radial functions of native stages know smooth "
                "Bessel functions"
            )
        n = rbf.max_n
        lengths = torch.linspace(0.1, 1.0, 4 * (n + 1), dtype=torch.float64) * self._cutoff
        frequencies = torch.arange(1, n + 2, dtype=torch.float64) * math.pi / self._cutoff
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
        n = self._network.bond_expansion.rbf.max_n
        frequencies = [k * math.pi / self._cutoff for k in range(1, n + 2)]
        return core.RadialBasis(
            frequencies, 1.0, self._cutoff, envelope=envelope, with_envelope=with_envelope
        )


def projections_of(embedding: Any) -> list[tuple[Tensor, Tensor]]:
    """Weights (units, basis) and biases of what each part is multiplied by; for warp's kernels they are one
    map."""
    if hasattr(embedding, "distance_proj"):
        both = embedding.distance_proj
        return list(zip(both.weight.chunk(3), both.bias.chunk(3), strict=True))
    three = (embedding.distance_proj1, embedding.distance_proj2, embedding.distance_proj3)
    return [(projection.weight, projection.bias) for projection in three]
