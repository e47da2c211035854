"""NequIP and Allegro models at random: narrow ones of every kind."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import torch
from allegro.model import AllegroModel
from ase.data import chemical_symbols
from nequip.model import FullNequIPGNNModel, NequIPGNNModel
from nequip.nn.graph_model import GraphModel
from nequip.utils.dtype import torch_default_dtype
from nequip.utils.global_state import set_global_state
from support.structures import NUMBERS

from distmlip.models.nequip.support import usual_e3nn

SYMBOLS = [chemical_symbols[z] for z in NUMBERS]
SHIFTS = dict(zip(SYMBOLS, np.random.default_rng(0).normal(-4, 2, len(SYMBOLS)).tolist(), strict=True))
"""eV"""
SCALES = dict(zip(SYMBOLS, np.random.default_rng(1).uniform(150, 250, len(SYMBOLS)).tolist(), strict=True))
NEIGHBORS = dict(zip(SYMBOLS, np.random.default_rng(2).uniform(15, 25, len(SYMBOLS)).tolist(), strict=True))
ZBL = {"_target_": "nequip.nn.pair_potential.ZBL", "units": "metal", "chemical_species": SYMBOLS}
BESSEL = {"_target_": "allegro.nn.TwoBodyBesselScalarEmbed", "num_bessels": 6}
SPLINE = {"_target_": "allegro.nn.TwoBodySplineScalarEmbed", "num_splines": 8, "spline_span": 6}

PLAIN, ALLEGRO = "plain", "allegro"
COMMON: dict[str, Any] = {
    "seed": 0,
    "model_dtype": "float64",
    "r_max": 4.5,
    "type_names": SYMBOLS,
    "avg_num_neighbors": 20.0,
    "per_type_energy_scales": SCALES,
    "per_type_energy_shifts": SHIFTS,
}
NARROW: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "like_the_preset_m": {
        "parity": False,
        "num_layers": 4,
        "num_features": [16, 8, 4],
        "type_embed_num_features": 8,
        "pair_potential": ZBL,
    },
    "one_layer": {"num_layers": 1},
    "up_to_f": {"l_max": 3, "num_features": 4, "num_layers": 2},
    "by_types": {
        "avg_num_neighbors": NEIGHBORS,
        "per_edge_type_cutoff": {SYMBOLS[0]: 3.0, SYMBOLS[1]: {SYMBOLS[0]: 3.5, SYMBOLS[2]: 4.0}},
        "per_type_energy_scales": 200.0,
        "per_type_energy_shifts": None,
        "pair_potential": ZBL,
    },
    "deep_readout": {
        "readout_mlp_hidden_layers_depth": 2,
        "radial_mlp_depth": 2,
        "l_max": 1,
        "bessel_trainable": True,
        "per_type_energy_shifts_trainable": True,
    },
    "residual": {},
}
NARROW_ALLEGRO: dict[str, dict[str, Any]] = {
    ALLEGRO: {},
    "allegro without parity": {"parity": False, "l_max": 1, "num_layers": 1, "pair_potential": ZBL},
    "allegro of splines": {
        "radial_chemical_embed": SPLINE,
        "avg_num_neighbors": NEIGHBORS,
        "per_edge_type_cutoff": {SYMBOLS[0]: 3.0},
    },
}


@functools.cache
def narrow(kind: str = PLAIN) -> GraphModel:
    """A model of a kind that tests do not change."""
    return build_narrow(kind)


def build_narrow(kind: str = PLAIN, **changes: Any) -> GraphModel:
    """A float64 model with few features, steep enough for forces of the order of 1 eV/Å."""
    with warnings.catch_warnings(), torch_default_dtype(torch.get_default_dtype()), usual_e3nn():
        warnings.simplefilter("ignore")
        set_global_state()  # without which its builders refuse to work, and which leaves another default
        return _built(kind, changes).eval()


def _built(kind: str, changes: dict[str, Any]) -> GraphModel:
    if kind in NARROW_ALLEGRO:
        sizes = {"l_max": 2, "num_layers": 2, "num_scalar_features": 16, "num_tensor_features": 8}
        embedding = {"radial_chemical_embed": BESSEL}
        return AllegroModel(**{**COMMON, **sizes, **embedding, **NARROW_ALLEGRO[kind], **changes})
    if kind == "residual":  # of nequip's options that are not for everyone
        irreps = ["8x0e+8x0o+4x1e+4x1o"] * 2 + ["8x0e"]
        layers = {"radial_mlp_depth": [1] * 3, "radial_mlp_width": [16] * 3, "feature_irreps_hidden": irreps}
        options = {"convnet_resnet": True, "learnable_shift": True, "irreps_edge_sh": "0e+1o"}
        embedding = {"type_embed_num_features": 8}
        return FullNequIPGNNModel(**{**COMMON, **layers, **options, **embedding, **changes})
    sizes = {"l_max": 2, "num_layers": 3, "num_features": 8, "radial_mlp_width": 16}
    return NequIPGNNModel(**{**COMMON, **sizes, **NARROW[kind], **changes})
