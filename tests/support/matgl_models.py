"""matgl potentials: narrow ones of every kind with random weights, and the pretrained ones."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import matgl
import numpy as np
import torch
from ase.data import chemical_symbols
from matgl.apps.pes import Potential
from matgl.models import QET, TensorNet
from support.structures import NUMBERS
from support.torch_globals import torch_globals

DATA = Path(__file__).parent.parent / "data"
ELEMENTS = tuple(chemical_symbols[number] for number in reversed(NUMBERS))
"""Not in the order of the atomic numbers, and not at their positions."""

PRETRAINED = ("TensorNet-MatPES-PBE-v2025.1-PES", "M3GNet-MatPES-PBE-v2025.1-PES")


@functools.cache
def pretrained(name: str) -> Potential:
    """A potential with the weights in tests/data, float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an older number of version of the network
        return matgl.load_model(DATA / name)


@functools.cache
def pretrained_tensornet_without_warp() -> Potential:
    """The pretrained TensorNet in plain torch."""
    original = pretrained(PRETRAINED[0])
    network = TensorNet(**{**original.model._init_args, "use_warp": False})
    model = Potential(network, element_refs=original.element_refs.property_offset)
    weights = torch.load(DATA / PRETRAINED[0] / "state.pt", map_location="cpu", weights_only=True)
    result = model.load_state_dict(weights, strict=False)
    assert not result.missing_keys, result.missing_keys
    return model


TENSORNET: dict[str, dict[str, Any]] = {
    "warp": {},
    "torch": {"use_warp": False},
    "so3": {"equivariance_invariance_group": "SO(3)"},
    "so3_torch": {"equivariance_invariance_group": "SO(3)", "use_warp": False},
    "one_layer": {"nblocks": 1, "rbf_type": "SphericalBessel", "steepness": 800.0},
    "one_layer_torch": {"nblocks": 1, "use_warp": False, "rbf_type": "SphericalBessel", "use_smooth": True}
    | {"steepness": 2000.0},
    "three_layers": {"nblocks": 3, "activation_type": "tanh", "rbf_type": "ExpNorm", "steepness": 10.0},
    "no_layers": {"nblocks": 0, "activation_type": "softplus2", "steepness": 1000.0},
    "no_layers_torch": {"nblocks": 0, "use_warp": False, "steepness": 1000.0},
    "with_state": {"include_state": True, "dim_state_feats": 2, "activation_type": "softexp", "width": 0.8}
    | {"steepness": 20.0},
}
"""What each kind of TensorNet changes of :func:`build_tensornet`'s defaults."""


@functools.cache
def tensornet(kind: str) -> Potential:
    """A potential of a kind that tests do not change."""
    return build_tensornet(**TENSORNET[kind])


def build_tensornet(**changes: Any) -> Potential:
    """A TensorNet with 12 units, float64."""
    return _of_tensors(TensorNet, {"is_intensive": False, **changes})


QETS: dict[str, dict[str, Any]] = {
    "warp": {},
    "torch": {"use_warp": False, "nblocks": 1},
    "hardness_of_environments": {"is_hardness_envs": True, "is_sigma_train": True, "use_warp": False},
    "without_charges": {"calc_charge": False},
    "with_magmoms": {"include_magmom": True, "equivariance_invariance_group": "SO(3)", "steepness": 100.0},
}
"""What each kind of QET changes of :func:`build_qet`'s defaults."""


@functools.cache
def qet(kind: str) -> Potential:
    """A potential of a kind that tests do not change."""
    return build_qet(**QETS[kind])


def build_qet(*, calc_charge: bool = True, **changes: Any) -> Potential:
    """A QET with 12 units, float64."""
    return _of_tensors(QET, changes, calc_charge=calc_charge)


def _of_tensors(network: type[TensorNet], changes: dict[str, Any], **flags: Any) -> Potential:
    arguments = {"units": 12, "num_rbf": 8, "cutoff": 4.5, **changes}
    flags = {"data_std": arguments.pop("steepness", 300.0), **flags}
    made = potential(network, arguments, **flags)
    with torch.no_grad():  # else the layers change next to nothing
        for name, parameter in made.model.named_parameters():
            if "linears_tensor" in name:
                parameter.mul_(6.0)
    return made


def potential(network: type[torch.nn.Module], arguments: dict[str, Any], **flags: Any) -> Potential:
    """A float64 potential with random weights, the same for every call, with a mean and element references.

    Choose ``data_std`` for forces of the order of 1 eV/Å.
    """
    with torch_globals(0, torch.float64):
        module = network(element_types=ELEMENTS, **arguments).double()
    references = torch.tensor(np.random.default_rng(0).normal(-4, 2, len(ELEMENTS)))
    flags = {"data_mean": -7.25, "element_refs": references, **flags}
    return Potential(module, **flags).double()
