"""MACE models of every kind with random weights: narrow ones for the full matrix, and a published size."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

# e3nn 0.4.4 loads its constants with torch.load, which has to be told about slices since torch 2.6.
torch.serialization.add_safe_globals([slice])

from e3nn import o3  # noqa: E402
from mace.modules import NonLinearBiasReadoutBlock, interaction_classes  # noqa: E402
from mace.modules.models import MACE, ScaleShiftMACE  # noqa: E402
from support.structures import NUMBERS  # noqa: E402
from support.torch_globals import torch_globals  # noqa: E402

RESIDUAL = "RealAgnosticResidualInteractionBlock"
NON_LINEAR = "RealAgnosticResidualNonLinearInteractionBlock"
DENSITY, DENSITY_RESIDUAL = (f"RealAgnosticDensity{kind}InteractionBlock" for kind in ("", "Residual"))

NUMBERS_MP0 = [z for z in range(1, 95) if z not in (84, 85, 86, 87, 88)]
PARAMETERS_MP0_MEDIUM = 4_688_656

CHARGE_AND_SPIN = {
    "total_charge": {"type": "continuous", "per": "graph", "in_dim": 1, "emb_dim": 8},
    "total_spin": {"type": "categorical", "per": "graph", "num_classes": 5, "emb_dim": 8},
}

NARROW: dict[str, dict[str, Any]] = {
    **{name: {"interaction_cls": name} for name in interaction_classes},
    "zbl_and_agnesi": {
        "interaction_cls_first": DENSITY,
        "interaction_cls": DENSITY_RESIDUAL,
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
        "atomic_inter_scale": 20.0,
    },
    "soft_gaussian": {"distance_transform": "Soft", "radial_type": "gaussian"},
    "three_layers": {
        "num_interactions": 3,
        "hidden_irreps": "16x0e+16x1o+16x2e",
        "correlation": 2,
        "atomic_inter_scale": 1000.0,
        "radial_type": "chebyshev",
        "distance_transform": "Agnesi",
    },
    "one_layer": {"num_interactions": 1},
    "two_heads": {
        "interaction_cls": NON_LINEAR,
        "apply_cutoff": False,
        "heads": ["first", "second"],
        "atomic_inter_scale": [300.0, 250.0],
        "atomic_inter_shift": [0.1, -0.2],
    },
    "without_scale": {"atomic_inter_scale": None},
    "last_readout_only": {
        "use_last_readout_only": True,
        "keep_last_layer_irreps": True,
        "use_agnostic_product": True,
    },
    "narrow_edges": {"edge_irreps": o3.Irreps("8x0e+8x1o"), "use_edge_irreps_first": True},
    "rotations_only": {"use_so3": True},
    "charge_and_spin": {"embedding_specs": CHARGE_AND_SPIN, "use_embedding_readout": True},
    "biased_readout": {"readout_cls": NonLinearBiasReadoutBlock},
}
"""What each kind of model changes of :func:`build_narrow`'s defaults."""

OPTIONS: dict[str, dict[str, Any]] = {"two_heads": {"head": "second"}}
"""Options that a calculator needs for a kind."""


@functools.cache
def narrow(kind: str = RESIDUAL, seed: int = 0) -> MACE:
    """A model of a kind that tests do not change."""
    return build_narrow(kind, seed)


def build_narrow(kind: str = RESIDUAL, seed: int = 0, **changes: Any) -> MACE:
    """A float64 model with 16 channels, steep enough for forces of the order of 1 eV/Å."""
    arguments = {
        "r_max": 4.5,
        "num_bessel": 6,
        "atomic_numbers": NUMBERS,
        "hidden_irreps": "16x0e+16x1o",
        "avg_num_neighbors": 20.0,
        "atomic_inter_scale": 300.0,
        "atomic_inter_shift": 0.1,
        **NARROW[kind],
        **changes,
    }
    if arguments["atomic_inter_scale"] is not None:
        return build(ScaleShiftMACE, seed, torch.float64, arguments)
    del arguments["atomic_inter_scale"], arguments["atomic_inter_shift"]
    model = build(MACE, seed, torch.float64, arguments)
    with torch.no_grad():
        for parameter in model.readouts.parameters():
            parameter.mul_(50)
    return model


@functools.cache
def mp0_medium() -> ScaleShiftMACE:
    """MACE-MP-0 medium at its published size, float32, steeper than published for its random weights."""
    arguments = {
        "r_max": 6.0,
        "num_bessel": 10,
        "atomic_numbers": NUMBERS_MP0,
        "hidden_irreps": "128x0e+128x1o",
        "avg_num_neighbors": 61.964672446250916,
        "atomic_inter_scale": 804.1538754478097,
        "atomic_inter_shift": 0.16409696359187365,
    }
    model = build(ScaleShiftMACE, 0, torch.float32, arguments)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == PARAMETERS_MP0_MEDIUM, n_parameters
    return model


def build(kind: type[MACE], seed: int, dtype: torch.dtype, changes: dict[str, Any]) -> Any:
    """A model with random weights, the same for every call. Energies of isolated atoms are near -4 eV."""
    numbers, heads = changes["atomic_numbers"], changes.get("heads", ["Default"])
    energies = np.random.default_rng(0).normal(-4, 2, (len(heads), len(numbers)))
    arguments = {
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "interaction_cls": RESIDUAL,
        "num_interactions": 2,
        "num_elements": len(numbers),
        "MLP_irreps": o3.Irreps("16x0e"),
        "atomic_energies": energies if len(heads) > 1 else energies[0],
        "correlation": 3,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [64, 64, 64],
        "radial_type": "bessel",
        # Otherwise the number of weights depends on whether cuequivariance is installed.
        "use_reduced_cg": False,
        **changes,
    }
    arguments.setdefault("interaction_cls_first", arguments["interaction_cls"])
    for name in ("interaction_cls", "interaction_cls_first"):
        arguments[name] = interaction_classes[arguments[name]]
    arguments["hidden_irreps"] = o3.Irreps(arguments["hidden_irreps"])
    with torch_globals(seed, dtype):
        return kind(**arguments).to(dtype)
