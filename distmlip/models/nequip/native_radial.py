"""What NequIP's convolutions multiply by, for native stages."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from e3nn.o3 import spherical_harmonics
from nequip.data import AtomicDataDict
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models import e3nn_native as e3
from distmlip.models.kinds import kind_of
from distmlip.models.native import Builder, StageMaker
from distmlip.models.nequip.stages import Layers
from distmlip.models.nequip.support import BESSEL, FACTOR, HARMONICS, NORMALIZER

ENVELOPE = "nequip.nn.embedding.cutoffs.PolynomialCutoff"
LINEAR = "nequip.nn.mlp.ScalarLinearLayer"
DEEP_LINEAR = "nequip.nn.mlp.DeepLinearMLP"
EMBEDDING: str = AtomicDataDict.EDGE_EMBEDDING_KEY


class _Layer(nn.Module):
    """As e3nn's layers are, but with weights that are what they are."""

    h_in = var_in = var_out = 1.0

    def __init__(self, weight: Tensor, act: nn.Module | None) -> None:
        super().__init__()
        self.weight = weight
        self.act = act

    def forward(self, features: Tensor) -> Tensor:
        product = features @ self.weight
        found: Tensor = product if self.act is None else self.act(product)
        return found


def network_of(function: Any, part: str) -> nn.Sequential:
    """Layers of a ``ScalarMLPFunction`` without biases, as native stages read those of e3nn.

    Raises:
        NotNativeError: it has biases.
    """
    if kind_of(function.mlp) == DEEP_LINEAR:
        whole = torch.linalg.multi_dot(list(function.mlp.weights)) * function.mlp.alpha
        return nn.Sequential(_Layer(whole, None))
    layers: list[_Layer] = []
    for inner in function.mlp:
        if kind_of(inner) != LINEAR:
            layers[-1].act = inner
            continue
        if inner.bias is not None:
            raise NotNativeError(f"{part} has biases, which native stages do not know")
        layers.append(_Layer((inner.weight * inner.alpha).detach(), None))
    return nn.Sequential(*layers)


class RadialFunctions:
    """Of a model in float64, for the species of its stages; by tables or exact, as was chosen.

    Methods raise ``NotNativeError`` for what native stages do not know.
    """

    def __init__(self, maker: StageMaker, layers: Layers, types: Tensor) -> None:
        """``types``: (n_species,) int64, the model's type of each species."""
        self._maker = maker
        self._layers = layers
        self._types = types
        self._parts = {kind_of(part): part for part in layers.of_edges}
        self._nets = [
            network_of(layer.conv.edge_mlp, self._name_of(k)) for k, layer in enumerate(layers.layers)
        ]
        self._require_harmonics()
        self._reach = self._reach_of_pairs()
        self._by_species = len(set(self._reach)) > 1
        if maker.choice.table is not None:
            maker.fit(self._roughest, self._by_species)

    def network(self, k: int) -> nn.Sequential:
        """Of a layer's convolution."""
        return self._nets[k]

    def of_convolution(self, builder: Builder, k: int, convolved: e3.Convolved) -> int:
        """Weights of the paths of a layer's convolution."""
        if self._maker.choice.table is None:
            hidden, last, factor = e3.network(self._nets[k], self._name_of(k))
            groups = [np.ascontiguousarray(last[:, of]) for of in convolved.weights]
            return builder.network(self._basis(), hidden, factor, groups)
        return self._tables(builder, self._nets[k], convolved.columns)

    def hidden(self, builder: Builder, k: int, n_degrees: int) -> tuple[int, list[int]]:
        """What the last layer of a convolution's network reads: one group, for all degrees."""
        if self._maker.choice.table is None:
            hidden, _, factor = e3.network(self._nets[k], self._name_of(k))
            return builder.hidden(self._basis(), hidden, factor), [0] * n_degrees
        last = e3.last_layer(self._nets[k])
        assert last is not None
        return self._tables(builder, e3.hidden(self._nets[k]), [len(last)]), [0] * n_degrees

    @property
    def reach(self) -> list[float]:
        """Å: the cutoff of each species pair."""
        return self._reach

    def _name_of(self, k: int) -> str:
        return f"layer{k}_convnet.conv.edge_mlp"

    def _tables(self, builder: Builder, net: nn.Module, columns: list[int]) -> int:
        def functions(lengths: Tensor, receiver: int, sender: int) -> Tensor:
            values: Tensor = net(self._of_edges(lengths, receiver, sender)[EMBEDDING])
            return values

        return self._maker.tables(builder, functions, columns, self._by_species)

    def _roughest(self, lengths: Tensor, receiver: int, sender: int) -> Tensor:
        """What all networks have in their last but one layers."""
        embedding = self._of_edges(lengths, receiver, sender)[EMBEDDING]
        return torch.cat([e3.hidden(net)(embedding) for net in self._nets], dim=1)

    def _of_edges(self, lengths: Tensor, receiver: int, sender: int) -> dict[str, Tensor]:
        vectors = torch.zeros(len(lengths), 3, dtype=torch.float64)
        vectors[:, 0] = lengths
        data = {
            AtomicDataDict.ATOM_TYPE_KEY: self._types[[receiver, sender]],
            AtomicDataDict.EDGE_INDEX_KEY: torch.tensor([[0], [1]]).repeat(1, len(lengths)),
            AtomicDataDict.EDGE_VECTORS_KEY: vectors,
        }
        for part in self._layers.of_edges:
            data = part(data)
        return data

    def _require_harmonics(self) -> None:
        harmonics: Any = self._parts[HARMONICS]
        vectors = torch.tensor([[0.3, -1.1, 0.7], [2.0, 0.4, -0.9]], dtype=torch.float64)
        found = harmonics({AtomicDataDict.EDGE_VECTORS_KEY: vectors})[AtomicDataDict.EDGE_ATTRS_KEY]
        degrees = [irrep.l for _, irrep in harmonics.irreps_edge_sh]
        known = spherical_harmonics(degrees, vectors, normalize=True, normalization="component")
        if found.shape != known.shape or not torch.allclose(found, known, rtol=0, atol=e3.TOLERANCE):
            raise NotNativeError("spharm gives harmonics that are not normalized by component")

    def _reach_of_pairs(self) -> list[float]:
        """
        Raises:
            NotNativeError: a pair has two, by which of its atoms is the receiver.
        """
        recip = self._parts[NORMALIZER]._rmax_recip
        n = len(self._types)
        if recip.numel() == 1:
            return [1.0 / float(recip)] * n**2
        n_types = math.isqrt(recip.numel())
        of_pairs = recip.view(n_types, n_types)[self._types][:, self._types]
        if not torch.equal(of_pairs, of_pairs.T):
            raise NotNativeError(
                "edge_norm has cutoffs that depend on which atom of a pair receives, which native stages do "
                "not know"
            )
        reach: list[float] = (1.0 / of_pairs).flatten().tolist()
        return reach

    def _basis(self) -> core.RadialBasis:
        if self._by_species:
            raise NotNativeError("edge_norm has cutoffs by types, which exact radial functions do not know")
        bessel: Any = self._parts[BESSEL]
        reach = self._reach[0]
        factor = math.prod(
            float(part.factor)
            for part in self._layers.of_edges
            if kind_of(part) == FACTOR and part.in_field == part.out_field == EMBEDDING
        )
        return core.RadialBasis(
            (bessel.bessel_weights.flatten() * (math.pi / reach)).tolist(),
            factor * reach / math.pi,
            reach,
            envelope_power(bessel.cutoff, "bessel_encode.cutoff"),
        )


def envelope_power(cutoff: Any, part: str) -> int:
    """
    Raises:
        NotNativeError: it is no polynomial cutoff with a natural power.
    """
    if kind_of(cutoff) != ENVELOPE or cutoff.p != int(cutoff.p):
        raise NotNativeError(f"{part} is a {kind_of(cutoff)}, and no polynomial with a natural power")
    return int(cutoff.p)
