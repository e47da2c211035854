"""What SevenNet's convolutions multiply by, for native stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from e3nn.nn import FullyConnectedNet
from e3nn.o3 import spherical_harmonics
from sevenn.nn.edge_embedding import BesselBasis, EdgeEmbedding, PolynomialCutoff, XPLORCutoff
from torch import Tensor

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models import e3nn_native as e3
from distmlip.models.native import Builder, StageMaker


def require_type(part: object, known: type, name: str) -> None:
    """
    Raises:
        NotNativeError: the part is of another type, if only of one derived from it.
    """
    if type(part) is not known:
        raise NotNativeError(f"{name} is a {type_name(part)}, which native stages do not know")


def has_solid_harmonics(embedding: EdgeEmbedding) -> bool:
    """Whether harmonics of degree l are multiplied by the length (Å) to the power l.

    Raises:
        NotNativeError: its harmonics are neither those nor harmonics of directions.
    """
    spherical = embedding.spherical
    vectors = torch.tensor([[0.3, -1.1, 0.7], [2.0, 0.4, -0.9]], dtype=torch.float64)
    found, degrees = spherical(vectors), list(range(spherical.irreps_out.lmax + 1))
    for normalize in (True, False):
        known = spherical_harmonics(degrees, vectors, normalize, normalization="component")
        if found.shape == known.shape and torch.allclose(found, known, rtol=0, atol=e3.TOLERANCE):
            return not normalize
    raise NotNativeError("edge_embedding.spherical gives harmonics that are not normalized by component")


def kink_of(embedding: EdgeEmbedding) -> float | None:
    """Å: where the second derivative of a cutoff jumps."""
    cutoff = embedding.cutoff_function
    return float(cutoff.r_on) if isinstance(cutoff, XPLORCutoff) else None


class RadialFunctions:
    """What a model's convolutions multiply by, by tables or exact, as was chosen.

    Methods raise ``NotNativeError`` for what native stages do not know.
    """

    def __init__(self, maker: StageMaker, embedding: EdgeEmbedding, nets: dict[str, Any]) -> None:
        """``nets``: of all convolutions, by their names."""
        self._maker = maker
        self._embedding = embedding
        self._nets = nets
        for name, net in nets.items():
            require_type(net, FullyConnectedNet, name)
        self._is_solid = has_solid_harmonics(embedding)
        if maker.choice.table is not None:
            maker.fit(self._roughest, by_species=False)
        elif self._is_solid:
            raise NotNativeError(
                "edge_embedding.spherical multiplies harmonics by powers of the length, which exact radial "
                "functions do not know"
            )

    def network(self, name: str) -> Any:
        """Of this name."""
        return self._nets[name]

    def of_convolution(self, builder: Builder, name: str, convolved: e3.Convolved) -> int:
        """Weights of a convolution's paths, of the network of this name."""
        net = self._nets[name]
        if self._maker.choice.table is None:
            layers, last, factor = e3.network(net, name)
            groups = [np.ascontiguousarray(last[:, of]) for of in convolved.weights]
            return builder.network(_basis(self._embedding), layers, factor, groups)
        return self._tables(builder, net, convolved.columns, convolved.degrees)

    def hidden(self, builder: Builder, name: str, n_degrees: int) -> tuple[int, list[int]]:
        """What the last layer of a network reads, and which group of it belongs to each degree."""
        net = self._nets[name]
        if self._maker.choice.table is None:
            layers, _, factor = e3.network(net, name)
            return builder.hidden(_basis(self._embedding), layers, factor), [0] * n_degrees
        degrees = list(range(n_degrees)) if self._is_solid else [0]
        radial = self._tables(builder, e3.hidden(net), [net.hs[-2]] * len(degrees), degrees)
        return radial, degrees if self._is_solid else [0] * n_degrees

    def _tables(self, builder: Builder, net: Any, columns: list[int], degrees: list[int]) -> int:
        """Of a network's columns, times the length to the power of each group's degree if harmonics are
        solid."""
        powers = torch.tensor([degree for degree, n in zip(degrees, columns, strict=True) for _ in range(n)])

        def functions(lengths: Tensor, receiver: int, sender: int) -> Tensor:  # noqa: ARG001  the same for all
            values = self._values(net, lengths)
            if not self._is_solid:
                return values
            return values.repeat(1, len(powers) // values.shape[1]) * lengths[:, None] ** powers

        return self._maker.tables(builder, functions, columns, by_species=False)

    def _values(self, net: Any, lengths: Tensor) -> Tensor:
        embedding = self._embedding
        basis = embedding.basis_function(lengths) * embedding.cutoff_function(lengths)[:, None]
        values: Tensor = net(basis)
        return values

    def _roughest(self, lengths: Tensor, receiver: int, sender: int) -> Tensor:  # noqa: ARG002  as above
        """What all networks have in their last but one layers."""
        return torch.cat([self._values(e3.hidden(net), lengths) for net in self._nets.values()], dim=1)


def _basis(embedding: EdgeEmbedding) -> core.RadialBasis:
    """
    Raises:
        NotNativeError: exact radial functions do not know it.
    """
    basis, cutoff = embedding.basis_function, embedding.cutoff_function
    require_type(basis, BesselBasis, "edge_embedding.basis_function")
    frequencies, factor = basis.coeffs.tolist(), float(basis.prefactor)
    if type(cutoff) is XPLORCutoff:
        return core.RadialBasis(
            frequencies, factor, float(cutoff.r_cut), switch_on=float(cutoff.r_on), envelope="xplor"
        )
    require_type(cutoff, PolynomialCutoff, "edge_embedding.cutoff_function")
    if cutoff.p != int(cutoff.p) or cutoff.p < 1:
        raise NotNativeError(f"edge_embedding.cutoff_function has the power {cutoff.p}, which is not natural")
    return core.RadialBasis(frequencies, factor, float(cutoff.cutoff_length), int(cutoff.p))
