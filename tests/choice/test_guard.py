"""When a difference to the original is more than noise."""

from __future__ import annotations

import numpy as np
import torch
from ase.build import molecule

from distmlip.choice.guard import FORCES, Expected, Values

NOISE = 1e-5
"""eV/Å, of the model's own modules."""
WITHIN, BEYOND = (factor * FORCES[torch.float32].noise * NOISE for factor in (0.9, 1.5))


def off_by(difference: float) -> Values:
    forces = np.zeros((3, 3))
    forces[1, 2] = difference
    return Values(0.0, forces, np.zeros((3, 3)))


def complaint(*differences: float) -> str:
    nothing = off_by(0.0)
    expected = Expected(
        molecule("H2O"), nothing, nothing, torch.float32, energy_noise=0.0, forces_noise=NOISE
    )
    return expected.complaint(*map(off_by, differences))


def test_one_difference_is_looked_at_as_it_is() -> None:
    assert complaint(WITHIN) == ""
    assert complaint(BEYOND) == "forces by 3e-05 eV/Ang (at most 2e-05 may be)"


def test_of_several_differences_the_median_counts() -> None:
    assert complaint(BEYOND, WITHIN, WITHIN) == ""
    assert complaint(BEYOND, BEYOND, WITHIN) == "forces by 3e-05 eV/Ang (at most 2e-05 may be)"


def test_what_is_no_number_is_never_right() -> None:
    assert complaint(WITHIN, WITHIN, np.nan) == "forces by nan eV/Ang (at most 2e-05 may be)"
