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


def radial_functions(
    maker: StageMaker,
    builder: Builder,
    embedding: EdgeEmbedding,
    net: Any,
    name: str,
    convolved: e3.Convolved,
) -> int:
    """Weights of a convolution's paths, from tables or exactly; the builder's number of them.

    Raises:
        NotNativeError: exact radial functions do not know the basis, the cutoff or the network (``name``).
    """
    require_type(net, FullyConnectedNet, name)
    is_solid = has_solid_harmonics(embedding)
    if maker.choice.table is None:
        if is_solid:
            raise NotNativeError(
                "edge_embedding.spherical multiplies harmonics by powers of the length, which exact radial "
                "functions do not know"
            )
        layers, last, factor = e3.network(net, name)
        groups = [np.ascontiguousarray(last[:, of]) for of in convolved.weights]
        return builder.network(_basis(embedding), layers, factor, groups)

    def functions(lengths: Tensor, receiver: int, sender: int) -> Tensor:  # noqa: ARG001  the same for all
        basis = embedding.basis_function(lengths) * embedding.cutoff_function(lengths)[:, None]
        weights: Tensor = net(basis)
        return weights * powers_of(lengths) if is_solid else weights

    def powers_of(lengths: Tensor) -> Tensor:
        pairs = zip(convolved.degrees, convolved.columns, strict=True)
        powers = torch.tensor([degree for degree, n in pairs for _ in range(n)], dtype=lengths.dtype)
        return lengths[:, None] ** powers

    return maker.tables(builder, functions, convolved.columns, by_species=False)


def _basis(embedding: EdgeEmbedding) -> core.RadialBasis:
    """
    Raises:
        NotNativeError: exact radial functions do not know it.
    """
    basis, cutoff = embedding.basis_function, embedding.cutoff_function
    require_type(basis, BesselBasis, "edge_embedding.basis_function")
    frequencies, factor = basis.coeffs.tolist(), float(basis.prefactor)
    if type(cutoff) is XPLORCutoff:
        return core.RadialBasis(frequencies, factor, float(cutoff.r_cut), 0, switch_on=float(cutoff.r_on))
    require_type(cutoff, PolynomialCutoff, "edge_embedding.cutoff_function")
    if cutoff.p != int(cutoff.p) or cutoff.p < 1:
        raise NotNativeError(f"edge_embedding.cutoff_function has the power {cutoff.p}, which is not natural")
    return core.RadialBasis(frequencies, factor, float(cutoff.cutoff_length), int(cutoff.p))
