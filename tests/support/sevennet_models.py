"""SevenNet models: those whose weights are in the package, and narrow ones of every kind at random."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from sevenn._const import DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG
from sevenn.model_build import build_E3_equivariant_model
from sevenn.nn.sequential import AtomGraphSequential
from sevenn.util import chemical_species_preprocess, load_checkpoint
from support.structures import NUMBERS
from support.torch_globals import torch_globals

PLAIN = "plain"
SHIFTS = np.random.default_rng(0).normal(-4, 2, len(NUMBERS)).tolist()
"""eV; energies of isolated atoms."""

MODALITIES = {
    "use_modality": True,
    "_number_of_modalities": 3,
    "_modal_map": {"PBE": 0, "R2SCAN": 1, "b3lyp": 2},
    "use_modal_wise_shift": True,
    "use_modal_wise_scale": False,
    "shift": [SHIFTS, SHIFTS[::-1], [0.3] * len(NUMBERS)],
}

NARROW: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "like_sevennet_0": {
        "is_parity": False,
        "irreps_manual": ["16x0e", "16x0e+8x1e+4x2e", "12x0e+8x1e", "12x0e+4x1e", "20x0e"],
        "num_convolution_layer": 4,
        "self_connection_type": "linear",
        "cutoff_function": {"cutoff_function_name": "XPLOR", "cutoff_on": 3.5},
        "scale": 400.0,
    },
    "one_layer": {"num_convolution_layer": 1, "scale": 2000.0},
    "up_to_f": {"lmax": 3, "channel": 8, "num_convolution_layer": 2, "scale": 300.0},
    "mixed": {
        "num_convolution_layer": 3,
        "lmax": 1,
        "lmax_edge": 2,
        "self_connection_type": ["linear", "nequip", "linear"],
        "use_bias_in_linear": True,
        "conv_denominator": [10.0, 20.0, 30.0],
        "scale": 600.0,
    },
    "fixed_basis": {
        "num_convolution_layer": 3,
        "is_parity": False,
        "lmax": 1,
        "radial_basis": {"radial_basis_name": "bessel", "bessel_basis_num": 5, "trainable_coeff": False},
        "act_radial": "ssp",
        "scale": 1500.0,
    },
    "network_readout": {
        "num_convolution_layer": 3,
        "lmax": 1,
        "shift": 0.7,
        "scale": 1600.0,
        "readout_as_fcn": True,
        "readout_fcn_activation": "tanh",
        # Said here, because sevenn takes it out of its own defaults when it loads a checkpoint without it.
        "readout_fcn_hidden_neurons": [30, 30],
        "train_shift_scale": True,
        "train_denominator": True,
    },
    "multi_modal": {
        **MODALITIES,
        **{f"use_modal_{part}": True for part in ("self_inter_intro", "self_inter_outro", "wise_scale")},
        **{f"use_modal_{part}": True for part in ("node_embedding", "output_block")},
        "lmax": 1,
        "scale": [300.0, 400.0, 200.0],
    },
    "modal_shift": {**MODALITIES, "lmax": 1, "scale": 500.0},
}
"""What each kind of model changes of :func:`build_narrow`'s defaults."""

OPTIONS: dict[str, dict[str, Any]] = {"multi_modal": {"modal": "R2SCAN"}, "modal_shift": {"modal": "b3lyp"}}
"""Options that a calculator needs for a kind."""

PUBLISHED: dict[str, tuple[str, str | None]] = {
    "7net-0": ("7net-0", None),
    "7net-mf-0 R2SCAN": ("7net-mf-0", "R2SCAN"),
    "7net-mf-0 PBE": ("7net-mf-0", "PBE"),
    "7net-l3i5": ("7net-l3i5", None),
    "7net-0_22may2024": ("7net-0_22may2024", None),
}
"""Every model whose weights are in the package, and its modality."""


@functools.cache
def narrow(kind: str = PLAIN) -> AtomGraphSequential:
    """A model of a kind that tests do not change."""
    return build_narrow(kind)


def build_narrow(kind: str = PLAIN, **changes: Any) -> AtomGraphSequential:
    """A float64 model with 16 channels, steep enough for forces of the order of 1 eV/Å."""
    config = {
        **copy.deepcopy(DEFAULT_E3_EQUIVARIANT_MODEL_CONFIG),
        **chemical_species_preprocess([chemical_symbols[z] for z in NUMBERS]),
        "channel": 16,
        "lmax": 2,
        "num_convolution_layer": 2,
        "weight_nn_hidden_neurons": [16, 16],
        "conv_denominator": 20.0,
        "shift": SHIFTS,
        "scale": 1500.0,
        **NARROW[kind],
        **changes,
    }
    with torch_globals(0, torch.float64):  # the dtype of e3nn's constants
        return build_E3_equivariant_model(config).double()


@functools.cache
def published(name: str) -> AtomGraphSequential:
    """A model with the weights that its package ships."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_checkpoint(PUBLISHED[name][0]).build_model()
