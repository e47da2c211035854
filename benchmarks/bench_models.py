"""The models that benchmarks run, at their published sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase.calculators.calculator import Calculator


def chgnet() -> torch.nn.Module:
    """CHGNet 0.3.0 with the weights of its package."""
    from chgnet.model import CHGNet

    return CHGNet.load(model_name="0.3.0", use_device="cpu", verbose=False)


def mace_medium() -> torch.nn.Module:
    """MACE-MP-0 medium's size (4.7 million parameters) with random weights: no package ships its own."""
    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 loads its constants with pickle
    from e3nn import o3
    from mace.modules import ScaleShiftMACE, gate_dict, interaction_classes

    block = interaction_classes["RealAgnosticResidualInteractionBlock"]
    torch.manual_seed(0)
    return ScaleShiftMACE(
        r_max=6.0,
        num_bessel=10,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=block,
        interaction_cls_first=block,
        num_interactions=2,
        num_elements=89,
        hidden_irreps=o3.Irreps("128x0e+128x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(89),
        avg_num_neighbors=61.964672446250916,
        atomic_numbers=list(range(1, 90)),
        correlation=3,
        gate=gate_dict["silu"],
        radial_MLP=[64, 64, 64],
        radial_type="bessel",
        atomic_inter_scale=200.0,  # forces of order 1 eV/Å; 0.8 gives 0.004 with random weights
        atomic_inter_shift=0.16409696359187365,
    )


MODELS: dict[str, Callable[[], torch.nn.Module]] = {"chgnet": chgnet, "mace": mace_medium}


def original(model: torch.nn.Module) -> Calculator:
    """The package's own calculator of a model of :data:`MODELS`."""
    if type(model).__module__.startswith("chgnet"):
        from chgnet.model import CHGNetCalculator

        return CHGNetCalculator(model, use_device="cpu")
    from mace.calculators import MACECalculator

    return MACECalculator(models=[model], device="cpu", default_dtype="float32")
