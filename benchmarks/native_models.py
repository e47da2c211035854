"""The models that bench_native.py runs, by the names that its tables give them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from models import (
    chgnet,
    chgnet_matgl,
    esen,
    m3gnet,
    mace,
    mattersim,
    nequip,
    sevennet,
    tensornet,
    tensornet_torch,
    uma,
)

STEEP = {1.0: 2725.0, 1.5: 538.0, 2.0: 155.0}
"""By factors on radial weights: the scales with which forces in 288 atoms of LiMnO2 reach 10 eV/Å."""
DENSITY = "RealAgnosticDensity{}InteractionBlock"


def in_float64(changes: dict[str, object], radial_factor: float = 1.0) -> torch.nn.Module:
    """MACE whose constants are exact in float64, which is what errors are measured to.

    ``radial_factor``: on the hidden weights of the radial functions, which are the rougher for it.
    """
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = mace(**changes)
    finally:
        torch.set_default_dtype(usual)
    with torch.no_grad():
        for interaction in model.interactions:
            for layer in list(interaction.conv_tp_weights)[:-1]:
                layer.weight.mul_(radial_factor)
    return model


NATIVE_MODELS: dict[str, Callable[[], torch.nn.Module]] = {
    "MACE medium": partial(in_float64, {}),
    "MACE small": partial(in_float64, {"hidden_irreps": "128x0e"}),
    "MACE large": partial(in_float64, {"hidden_irreps": "128x0e+128x1o+128x2e"}),
    "MACE, 3 layers": partial(in_float64, {"num_interactions": 3}),
    "MACE, density, Agnesi, ZBL": partial(
        in_float64,
        {
            "interaction_cls": DENSITY.format("Residual"),
            "interaction_cls_first": DENSITY.format(""),
            "distance_transform": "Agnesi",
            "pair_repulsion": True,
        },
    ),
    "MACE medium, steep": partial(in_float64, {"atomic_inter_scale": STEEP[1.0]}),
    "MACE medium, steep, radial weights × 1.5": partial(in_float64, {"atomic_inter_scale": STEEP[1.5]}, 1.5),
    "MACE medium, steep, radial weights × 2": partial(in_float64, {"atomic_inter_scale": STEEP[2.0]}, 2.0),
    "SevenNet-0": sevennet,
    "NequIP, preset M": nequip,
    "TensorNet, warp": tensornet,
    "TensorNet, torch": tensornet_torch,
    "CHGNet 0.3.0": chgnet,
    "M3GNet": m3gnet,
    "CHGNet of matgl": chgnet_matgl,
    "MatterSim, size 1M": mattersim,
    "eSEN sm": esen,
    "UMA, published size": uma,
    "UMA, 64 channels": partial(uma, 64, 8),
    "TensorNet, torch, urea": tensornet_torch,
    "CHGNet 0.3.0, urea": chgnet,
}
IN_UREA = [name for name in NATIVE_MODELS if name.endswith("urea")]
"""That run on this molecular crystal; the others on LiMnO2."""
