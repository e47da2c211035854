"""Orb models at random: narrow ones of every kind."""

from __future__ import annotations

import functools
import warnings
from functools import partial
from typing import Any

import torch
from orb_models.forcefield.angular import SphericalHarmonics
from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.conservative_regressor import ConservativeForcefieldRegressor
from orb_models.forcefield.direct_regressor import DirectForcefieldRegressor
from orb_models.forcefield.featurization_utilities import gaussian_basis_function
from orb_models.forcefield.forcefield_heads import (
    ConfidenceHead,
    EnergyHead,
    ForceHead,
    GraphHead,
    StressHead,
)
from orb_models.forcefield.gns import MoleculeGNS
from orb_models.forcefield.nn_util import ChargeSpinConditioner
from orb_models.forcefield.rbf import BesselBasis
from support.torch_globals import torch_globals

PLAIN, DIRECT, NEAREST = "conservative", "direct", "conservative of the nearest"
EVERY, FEW = SystemConfig(6.0, 200), SystemConfig(6.0, 20)
WIDTH = 12
HEAD: dict[str, Any] = {"latent_dim": WIDTH, "num_mlp_layers": 1, "mlp_hidden_dim": 16, "activation": "silu"}
KINDS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    NEAREST: {"system_config": FEW},
    DIRECT: {"conservative": False},
    "direct of the nearest": {"conservative": False, "system_config": FEW},
    "with charge and spin": {"charge": True},
    "both forces": {"both": True, "repels": False},
    "version 2": {"conservative": False, "version": 2, "repels": False},
    "sum over atoms": {"mean": False, "repels": False},
}


@functools.cache
def narrow(kind: str = PLAIN) -> Any:
    """A model of a kind that tests do not change."""
    return build_narrow(kind)


def build_narrow(kind: str = PLAIN, **changes: Any) -> Any:
    """A float64 model with few features, steep enough for forces of the order of 1 eV/Å."""
    with warnings.catch_warnings(), torch_globals(0, torch.float64):
        warnings.simplefilter("ignore")
        return _built(**{**KINDS[kind], **changes}).eval()


def _built(
    *,
    conservative: bool = True,
    version: int = 3,
    system_config: SystemConfig | None = EVERY,
    charge: bool = False,
    both: bool = False,
    repels: bool = True,
    mean: bool = True,
    **of_network: Any,
) -> Any:
    network = _network(
        version, ChargeSpinConditioner(WIDTH, emits_edge_embs=True) if charge else None, of_network
    )
    heads: dict[str, Any] = {"energy": EnergyHead(**HEAD, predict_atom_avg=mean)}
    if not conservative or both:
        heads["forces"] = ForceHead(**HEAD)
        heads["stress"] = StressHead(**HEAD) if version == 3 else GraphHead(**HEAD, target="stress")
    if version == 3:
        heads["confidence"] = ConfidenceHead(**HEAD, num_bins=7)
    for name, head in heads.items():
        with torch.no_grad():
            head.mlp[-2].weight *= {"energy": 300.0, "forces": 100.0}.get(name, 5.0)
    options = {"heads": heads, "model": network, "pair_repulsion": repels, "system_config": system_config}
    if conservative:
        return ConservativeForcefieldRegressor(**options, ensure_grad_loss_weights=False)
    return DirectForcefieldRegressor(**options)


def _network(version: int, conditioner: Any, changes: dict[str, Any]) -> MoleculeGNS:
    of_version: dict[str, Any] = {
        3: {
            "rbf_transform": BesselBasis(r_max=6.0, num_bases=8),
            "angular_transform": SphericalHarmonics(3, normalize=True, normalization="component"),
            "outer_product_with_cutoff": True,
            "activation": "silu",
            "mlp_norm": "rms_norm",
        },
        2: {"rbf_transform": partial(gaussian_basis_function, num_bases=20, radius=10.0)},
    }[version]
    common: dict[str, Any] = {
        "latent_dim": WIDTH,
        "num_message_passing_steps": 3,
        "num_mlp_layers": 2,
        "mlp_hidden_dim": 20,
        "use_embedding": True,
        "interaction_params": {"distance_cutoff": True, "attention_gate": "sigmoid"},
        "node_feature_names": ["feat"],
        "edge_feature_names": ["feat"],
        "conditioner": conditioner,
    }
    return MoleculeGNS(**{**common, **of_version, **changes})
