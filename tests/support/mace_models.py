"""MACE models of every kind with random weights: narrow ones for the full matrix, and a published size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

# e3nn 0.4.4 loads its constants with torch.load, which has to be told about slices since torch 2.6.
torch.serialization.add_safe_globals([slice])

from e3nn import o3  # noqa: E402
from mace.modules import interaction_classes  # noqa: E402
from mace.modules.models import MACE, ScaleShiftMACE  # noqa: E402

ELEMENTS = [1, 3, 8, 25, 29]
"""Of the narrow models."""
ELEMENTS_MP0 = [z for z in range(1, 95) if z not in (84, 85, 86, 87, 88)]
PARAMETERS_MP0_MEDIUM = 4_688_656


def narrow(
    interaction: str = "RealAgnosticResidualInteractionBlock",
    first: str | None = None,
    *,
    scale: float | list[float] = 300.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    **changes: Any,
) -> ScaleShiftMACE:
    """A ScaleShiftMACE with 16 channels; ``scale`` makes its forces of the order of 1 eV/Å."""
    arguments = {
        "r_max": 4.5,
        "num_bessel": 6,
        "atomic_numbers": ELEMENTS,
        "hidden_irreps": "16x0e+16x1o",
        "avg_num_neighbors": 20.0,
        "atomic_inter_scale": scale,
        "atomic_inter_shift": [0.1] * len(scale) if isinstance(scale, list) else 0.1,
        **changes,
    }
    return build(ScaleShiftMACE, interaction, first or interaction, seed=seed, dtype=dtype, **arguments)


def narrow_without_scale(seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> MACE:
    """A plain MACE; its readouts are made steep instead."""
    kind = "RealAgnosticResidualInteractionBlock"
    arguments = {
        "r_max": 4.5,
        "num_bessel": 6,
        "atomic_numbers": ELEMENTS,
        "hidden_irreps": "16x0e+16x1o",
        "avg_num_neighbors": 20.0,
        **changes,
    }
    model = build(MACE, kind, kind, seed=seed, dtype=dtype, **arguments)
    with torch.no_grad():
        for parameter in model.readouts.parameters():
            parameter.mul_(50)
    return model


def mp0_medium(dtype: torch.dtype, scale: float = 0.8041538754478097) -> ScaleShiftMACE:
    """MACE-MP-0 medium at its published size; its own energy scale, unless tests need steeper forces."""
    model = build(
        ScaleShiftMACE,
        "RealAgnosticResidualInteractionBlock",
        "RealAgnosticResidualInteractionBlock",
        seed=0,
        dtype=dtype,
        r_max=6.0,
        num_bessel=10,
        atomic_numbers=ELEMENTS_MP0,
        hidden_irreps="128x0e+128x1o",
        avg_num_neighbors=61.964672446250916,
        atomic_inter_scale=scale,
        atomic_inter_shift=0.16409696359187365,
    )
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == PARAMETERS_MP0_MEDIUM, n_parameters
    return model


def build(
    kind: type[MACE], interaction: str, first: str, *, seed: int, dtype: torch.dtype, **changes: Any
) -> Any:
    """A model with random weights, the same for every call. Energies of isolated atoms are near -4 eV."""
    numbers = changes["atomic_numbers"]
    heads = changes.get("heads", ["Default"])
    energies = np.random.default_rng(0).normal(-4, 2, (len(heads), len(numbers)))
    arguments = {
        "num_polynomial_cutoff": 5,
        "max_ell": 3,
        "interaction_cls": interaction_classes[interaction],
        "interaction_cls_first": interaction_classes[first],
        "num_interactions": 2,
        "num_elements": len(numbers),
        "MLP_irreps": o3.Irreps("16x0e"),
        "atomic_energies": energies if len(heads) > 1 else energies[0],
        "correlation": 3,
        "gate": torch.nn.functional.silu,
        "radial_MLP": [64, 64, 64],
        "radial_type": "bessel",
        **changes,
    }
    arguments["hidden_irreps"] = o3.Irreps(arguments["hidden_irreps"])
    with _constructing(seed, dtype):
        return kind(**arguments).to(dtype)


@contextmanager
def _constructing(seed: int, dtype: torch.dtype) -> Iterator[None]:
    """MACE takes dtype and random numbers from torch's global state while a model is made."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
