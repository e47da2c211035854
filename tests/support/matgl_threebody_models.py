"""matgl's M3GNet and CHGNet: narrow potentials of every kind with random weights, and a published size."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from ase import Atoms
from matgl.apps.pes import Potential
from matgl.models import CHGNet, M3GNet
from support.matgl_models import potential

from distmlip import DistCalculator

M3GNETS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with_phi": {"use_phi": True, "max_n": 2, "steepness": 15.0},
    "smooth": {"use_smooth": True, "max_n": 2, "max_l": 2, "activation_type": "softexp", "dropout": 0.1},
    "one_block": {"nblocks": 1},
    "four_blocks": {"nblocks": 4, "max_n": 2, "max_l": 4, "steepness": 50.0},
    "wide_three_body_cutoff": {"threebody_cutoff": 6.0, "cutoff": 3.6},
}
"""What each kind of M3GNet changes of :func:`build_m3gnet`'s defaults."""

CHGNETS: dict[str, dict[str, Any]] = {
    "plain": {"bond_update_hidden_dims": (16,)},
    "without_edge_update": {},
    "layer_norm": {
        "bond_update_hidden_dims": (16, 8),
        "normalization": "layer",
        "normalize_hidden": True,
    },
    "layer_norm_without_edge_update": {"normalization": "layer"},
    "without_angle_update": {"angle_update_hidden_dims": None, "bond_update_hidden_dims": ()},
    "without_line_graph": {"threebody_cutoff": 0.0},
    "weights_of_atom_graph": {"shared_bond_weights": "bond", "bond_update_hidden_dims": (16,), "gain": 1.8},
    "weights_of_line_graph": {
        "shared_bond_weights": "three_body_bond",
        "bond_update_hidden_dims": (16,),
        "gain": 1.0,
        "steepness": 300.0,
    },
    "weights_of_layers": {
        "shared_bond_weights": None,
        "layer_bond_weights": "three_body_bond",
        "gain": 1.0,
        "steepness": 300.0,
    },
    "one_block": {"num_blocks": 1, "bond_update_hidden_dims": (16,), "steepness": 15.0},
    "two_blocks": {"num_blocks": 2, "bond_update_hidden_dims": (16,)},
    "five_blocks_without_edge_update": {"num_blocks": 5},
    "energies_of_edges": {
        "readout_field": "bond_feat",
        "bond_update_hidden_dims": (16,),
        "steepness": 8.0,
    },
    "other_functions": {
        "final_mlp_type": "gated",
        "non_linear_bond_embedding": True,
        "non_linear_angle_embedding": True,
        "learn_basis": False,
        "activation_type": "tanh",
        "cutoff_exponent": 6,
        "conv_dropout": 0.2,
        "final_dropout": 0.1,
    },
    "wide_three_body_cutoff": {"threebody_cutoff": 6.0, "cutoff": 3.6},
    "three_site_targets": {"num_site_targets": 3},
    "without_site_targets": {"num_site_targets": 0, "calc_magmom": False, "steepness": 8.0},
}
"""What each kind of CHGNet changes of :func:`build_chgnet`'s defaults."""

ANGLE_READOUTS: dict[str, dict[str, Any]] = {
    "plain": {"bond_update_hidden_dims": (16,)},
    "without_edge_update": {},
    "without_angle_update": {"angle_update_hidden_dims": None},
    "one_block": {"num_blocks": 1},
}
"""Kinds of CHGNet whose energy is a sum over angles: without any they have none."""

PUBLISHED_CHGNET = {
    "dim_atom_embedding": 128,
    "dim_bond_embedding": 128,
    "dim_angle_embedding": 128,
    "max_n": 63,
    "max_f": 32,
    "learn_basis": False,
    "num_blocks": 5,
    "atom_conv_hidden_dims": (128,),
    "bond_update_hidden_dims": (128,),
    "bond_conv_hidden_dims": (128,),
    "angle_update_hidden_dims": (),
    "final_hidden_dims": (128, 128),
    "normalization": "layer",
    "cutoff": 6.0,
    "threebody_cutoff": 3.0,
}
"""CHGNet-MatPES-PBE-2025.2.10-2.7M-PES."""


@functools.cache
def m3gnet(kind: str) -> Potential:
    """A potential of a kind that tests do not change."""
    return build_m3gnet(**M3GNETS[kind])


def build_m3gnet(**changes: Any) -> Potential:
    """An M3GNet with 12 to 16 features, float64, in which angles matter."""
    arguments = {
        "dim_node_embedding": 16,
        "dim_edge_embedding": 12,
        "units": 14,
        "cutoff": 4.5,
        "threebody_cutoff": 3.2,
        "is_intensive": False,
        "gain": 2.0,
        "steepness": 30.0,
        **changes,
    }
    made = _steep(M3GNet, arguments)
    with torch.no_grad():
        for interaction in made.model.three_body_interactions:
            for parameter in interaction.update_network_bond.parameters():
                parameter.mul_(4.0)
    return made


@functools.cache
def chgnet(kind: str) -> Potential:
    """A potential of a kind that tests do not change."""
    return build_chgnet(**CHGNETS[kind])


@functools.cache
def chgnet_of_angles(kind: str) -> Potential:
    """A potential of one of :data:`ANGLE_READOUTS`, which tests do not change."""
    return build_chgnet(
        readout_field="angle_feat", dim_bond_embedding=20, steepness=0.1, **ANGLE_READOUTS[kind]
    )


def build_chgnet(*, calc_magmom: bool = True, **changes: Any) -> Potential:
    """A CHGNet with 12 to 20 features, float64. Atoms, bonds and angles have different widths."""
    arguments = {
        "dim_atom_embedding": 16,
        "dim_bond_embedding": 12,
        "dim_angle_embedding": 20,
        "atom_conv_hidden_dims": (16,),
        "bond_conv_hidden_dims": (14,),
        "final_hidden_dims": (16,),
        "max_n": 5,
        "max_f": 5,
        "cutoff": 4.5,
        "threebody_cutoff": 3.0,
        "gain": 2.0,
        "steepness": 4.0,
        **changes,
    }
    return _steep(CHGNet, arguments, calc_magmom=calc_magmom)


@functools.cache
def published_chgnet() -> Potential:
    """A CHGNet of a published size with random weights, steeper than published, float32."""
    return build_chgnet(**PUBLISHED_CHGNET, gain=1.0, steepness=3.0).float()


def _steep(network: type[torch.nn.Module], arguments: dict[str, Any], **flags: Any) -> Potential:
    """With ``gain`` times larger weights, else layers change next to nothing."""
    gain, steepness = arguments.pop("gain"), arguments.pop("steepness")
    made = potential(network, arguments, data_std=steepness, **flags)
    with torch.no_grad():
        for name, parameter in made.model.named_parameters():
            if parameter.ndim == 2 and "embedding" not in name:
                parameter.mul_(gain)
    return made


def forces_of(model: Potential, atoms: Atoms) -> np.ndarray:
    """Over two partitions, eV/Å."""
    calculator = DistCalculator(model, partitions=2)
    calculator.calculate(atoms)
    return calculator.results["forces"]


WIDE = {"dim_node_embedding": 16, "dim_edge_embedding": 32, "units": 16}
NATIVE_M3GNETS: dict[str, dict[str, Any]] = {
    "plain": {"steepness": 60.0},
    "with_phi": {"use_phi": True, "max_n": 2, "steepness": 120.0},
    "smooth": {**M3GNETS["smooth"], "steepness": 120.0},
    "one_block": {"nblocks": 1, "steepness": 150.0},
    "four_blocks": {"nblocks": 4, "max_n": 2, "max_l": 4},
    # Spherical Bessel functions of this degree are not exact in float64 as matgl has them.
    "degree_four": {"max_l": 5, "max_n": 2, "nblocks": 2, "use_smooth": True, "steepness": 400.0},
    "wide_three_body_cutoff": {"threebody_cutoff": 6.0, "cutoff": 3.6, "steepness": 120.0},
}
"""Kinds of M3GNet that native stages know, with features in multiples of 16."""

WIDE_CHGNET = {
    "dim_atom_embedding": 16,
    "dim_bond_embedding": 32,
    "dim_angle_embedding": 48,
    "bond_conv_hidden_dims": (16,),
}
NATIVE_CHGNETS: dict[str, dict[str, Any]] = {
    "plain": CHGNETS["plain"],
    "without_edge_update": {},
    "layer_norm": {"bond_update_hidden_dims": (16, 32), "normalization": "layer", "steepness": 8.0},
    "without_angle_update": {"angle_update_hidden_dims": None, "bond_update_hidden_dims": ()},
    **{
        name: CHGNETS[name]
        for name in (
            "without_line_graph",
            "weights_of_line_graph",
            "one_block",
            "five_blocks_without_edge_update",
            "wide_three_body_cutoff",
            "without_site_targets",
        )
    },
}
"""Kinds of CHGNet that native stages know."""


@functools.cache
def native_m3gnet(kind: str) -> Potential:
    """A potential of a kind that tests do not change."""
    return build_m3gnet(**WIDE, **NATIVE_M3GNETS[kind])


@functools.cache
def native_chgnet(kind: str) -> Potential:
    """A potential of a kind that tests do not change."""
    return build_chgnet(**WIDE_CHGNET, **NATIVE_CHGNETS[kind])
