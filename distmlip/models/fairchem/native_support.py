"""Which eSEN and UMA models have convolutions that native stages know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from fairchem.core.models.uma.nn.activation import GateActivation
from fairchem.core.models.uma.nn.mole import MOLE
from fairchem.core.models.uma.nn.radial import GaussianSmearing, PolynomialEnvelope, RadialMLP
from fairchem.core.models.uma.nn.so2_layers import SO2_Convolution, SO2_m_Conv
from torch import Tensor, nn

from distmlip.errors import NotNativeError, type_name
from distmlip.models.directed_layers import require_padded

if TYPE_CHECKING:
    from fairchem.core.models.uma.escn_md import eSCNMDBackbone

LARGEST_DEGREE = 4
"""Of rotations in the core."""


def require_known(backbone: eSCNMDBackbone, dtype: torch.dtype) -> None:
    """
    Raises:
        NotNativeError: convolutions have a part that native stages of this dtype do not know; it is named.
    """
    if not 1 <= backbone.mmax <= backbone.lmax <= LARGEST_DEGREE:
        raise NotNativeError(
            f"lmax is {backbone.lmax} and mmax {backbone.mmax}; native stages are for degrees up to "
            f"{LARGEST_DEGREE} and orders from 1"
        )
    if dtype == torch.float64 and _has_rounded_rotations(backbone):
        raise NotNativeError(
            "constants of the model's rotations are rounded to float32; those of native stages are exact"
        )
    require_padded(spheres=backbone.sphere_channels, hidden_layers=backbone.hidden_channels)
    _require_type(backbone.distance_expansion, GaussianSmearing, "distances are expanded")
    _require_type(backbone.envelope, PolynomialEnvelope, "messages go to zero")
    _require_radial(backbone.edge_degree_embedding.rad_func)
    for block in backbone.blocks:
        edge_wise = block.edge_wise
        _require_type(edge_wise.act, GateActivation, "messages are activated")
        _require_type(edge_wise.act.scalar_act, nn.SiLU, "scalars are activated")
        _require_type(edge_wise.act.gate_act, nn.Sigmoid, "gates are activated")
        for convolution in (edge_wise.so2_conv_1, edge_wise.so2_conv_2):
            _require_type(convolution, SO2_Convolution, "messages are made")
            for of_order in convolution.so2_m_conv:
                _require_type(of_order, SO2_m_Conv, "messages are made")
        _require_radial(edge_wise.so2_conv_1.rad_func)


def _has_rounded_rotations(backbone: eSCNMDBackbone) -> bool:
    """Whether the model has been in float32: from degree 2 on there are roots among its constants."""
    if backbone.lmax < 2:
        return False
    if backbone.use_quaternion_wigner:
        constants: Tensor = backbone.wigner_data.custom_kernels.C_l2
    else:
        constants = backbone.Jd_2
    return torch.equal(constants, constants.float().to(constants.dtype))


def _require_type(part: nn.Module, known: type[nn.Module], what: str) -> None:
    if type(part) is not known:
        raise NotNativeError(f"{what} by a {type_name(part)}; native stages know {known.__name__}")


def _require_radial(network: nn.Module) -> None:
    _require_type(network, RadialMLP, "weights are functions of the distance")
    if any(isinstance(part, MOLE) for part in network.modules()):
        raise NotNativeError("radial functions are mixtures of experts")
