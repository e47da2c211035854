"""CHGNet models: the published weights, and narrow ones with random weights for the full matrix."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from chgnet.model import CHGNet

STEEPNESS = 300.0

PUBLISHED = ("0.3.0", "0.2.0", "r2scan")


@cache
def published(name: str) -> CHGNet:
    return CHGNet.load(model_name=name, use_device="cpu", verbose=False)


def build_narrow(steepness: float = STEEPNESS, **changes: Any) -> CHGNet:
    """A CHGNet with 16 to 24 features, its readout so steep that forces are of the order of 1 to 10 eV/Å.

    Atoms, bonds and angles have different widths, so that no two can be mistaken for each other.
    """
    arguments = {
        "atom_fea_dim": 16,
        "bond_fea_dim": 24,
        "angle_fea_dim": 20,
        "atom_conv_hidden_dim": 16,
        "bond_conv_hidden_dim": 16,
        "mlp_hidden_dims": (16, 16),
        "num_radial": 9,
        "num_angular": 9,
        **changes,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CHGNet(**arguments)
    with torch.no_grad():
        last_linear = list(model.mlp.modules())[-1]
        last_linear.weight.mul_(steepness)
    return model


NARROW: dict[str, dict[str, Any]] = {
    "plain": {},
    "biased_and_normed": {"mlp_out_bias": True, "conv_norm": "layer", "n_conv": 3},
    "without_bond_update": {"update_bond": False},
    "without_angle_update": {"update_angle": False},
    "without_gate_norm": {"gMLP_norm": None, "readout_norm": None, "non_linearity": "tanh"},
    "one_block": {"n_conv": 1},
    "two_blocks": {"n_conv": 2},
    "short_cutoffs": {"atom_graph_cutoff": 4.5, "bond_graph_cutoff": 2.6},
    "extensive": {"is_intensive": False, "composition_model": "MPF"},
    "gated_readout": {"final_mlp": "gated", "composition_model": None},
}


@cache
def narrow(name: str) -> CHGNet:
    return build_narrow(**NARROW[name])


NATIVE: dict[str, dict[str, Any]] = {
    "plain": {},
    "biased": {
        "mlp_out_bias": True,
        "gMLP_norm": None,
        "readout_norm": None,
        "n_conv": 3,
        "steepness": 3e3,
    },
    "without_angle_update": {"update_angle": False, "mlp_out_bias": True},
    "two_blocks": {"n_conv": 2},
    "five_blocks": {"n_conv": 5},
    "wide_layers": {"atom_conv_hidden_dim": 32, "bond_conv_hidden_dim": 48, "angle_layer_hidden_dim": 16},
    "short_cutoffs": {"atom_graph_cutoff": 4.5, "bond_graph_cutoff": 2.6, "cutoff_coeff": 5},
    "without_envelope": {"cutoff_coeff": 0, "learnable_rbf": False},
    "extensive": {"is_intensive": False, "composition_model": "MPF"},
    "gated_readout": {"final_mlp": "gated", "composition_model": None},
}
"""That native stages know: features of equal width."""


@cache
def narrow_native(name: str) -> CHGNet:
    return build_narrow(bond_fea_dim=16, angle_fea_dim=16, **NATIVE[name])
