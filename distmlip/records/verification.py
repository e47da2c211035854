"""Ours beside the undivided original."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray


@dataclass(frozen=True)
class Verification:
    """Largest absolute differences to the undivided original; None where one of them has no such result."""

    energy_per_atom: float
    """eV/atom."""
    forces: float
    """eV/Å."""
    stress: float | None
    """eV/Å^3; None with MACE unless the cell is fully periodic: else it divides by a volume of its own."""
    magmoms: float | None
    """μB."""
    others: Mapping[str, float]
    """Of all else that both have as numbers, such as ``energies`` and ``charges``, in its own unit."""

    def __str__(self) -> str:
        values = {
            "energy_per_atom": (self.energy_per_atom, " eV/atom"),
            "forces": (self.forces, " eV/Ang"),
            "stress": (self.stress, " eV/Ang^3"),
            "magmoms": (self.magmoms, " mu_B"),
            **{name: (value, "") for name, value in self.others.items()},
        }
        shown = (
            f"{name} -" if value is None else f"{name} {value:.1e}{unit}"
            for name, (value, unit) in values.items()
        )
        return "differences to the original: " + ", ".join(shown)


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Verification:
    """Of ASE results; the original's stress may be 3 x 3."""
    both = {name: _difference(ours[name], theirs[name]) for name in ours if name in theirs}
    found = {name: difference for name, difference in both.items() if difference is not None}
    return Verification(
        energy_per_atom=found.pop("energy") / len(ours["forces"]),
        forces=found.pop("forces"),
        stress=found.pop("stress", None),
        magmoms=found.pop("magmoms", None),
        others=found,
    )


def _difference(ours: Any, theirs: Any) -> float | None:
    """Infinite for another shape, NaN if a number is none; None for what is not made of numbers."""
    a, b = _numbers(ours), _numbers(theirs)
    if a is None or b is None:
        return None
    if a.shape == (6,) and b.shape == (3, 3):
        b = full_3x3_to_voigt_6_stress(b)
    return float(np.max(np.abs(a - b), initial=0.0)) if a.shape == b.shape else math.inf


def _numbers(value: Any) -> NDArray[np.float64] | None:
    array = np.squeeze(np.asarray(value))  # some originals have (n_atoms, 1) where ASE has (n_atoms,)
    return array.astype(np.float64) if array.dtype.kind in "biuf" else None
