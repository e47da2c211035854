"""What worker processes do; here, so that spawned ones can import it."""

from __future__ import annotations

import numpy as np
import torch
from support.chgnet_models import build_narrow
from support.structures import oxide_cell, rattled

from distmlip import DistCalculator


def energy_of(seed: int) -> float:
    """eV; of the oxide's cell, rattled with this seed, over 3 partitions."""
    torch.set_num_threads(1)
    atoms = rattled(oxide_cell(), 0.1, seed)
    atoms.calc = DistCalculator(build_narrow(), partitions=3, dtype="float64", devices="cpu")
    energy = atoms.get_potential_energy()
    assert np.isfinite(atoms.get_forces()).all()
    return energy
