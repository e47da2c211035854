"""Ours beside the undivided original."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import ArrayLike, NDArray


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

    def __str__(self) -> str:
        units = {"energy_per_atom": "eV/atom", "forces": "eV/Ang", "stress": "eV/Ang^3", "magmoms": "mu_B"}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        shown = {
            name: "-" if value is None else f"{value:.1e} {units[name]}" for name, value in values.items()
        }
        return "differences to the original: " + ", ".join(f"{name} {text}" for name, text in shown.items())


def compare(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Verification:
    """Of ASE results; the original's stress may be 3 x 3."""
    stress = theirs.get("stress")
    return Verification(
        energy_per_atom=abs(ours["energy"] - float(theirs["energy"])) / len(ours["forces"]),
        forces=_difference(ours["forces"], theirs["forces"]),
        stress=None
        if stress is None or "stress" not in ours
        else _difference(ours["stress"], _voigt(stress)),
        magmoms=_difference(ours["magmoms"], theirs["magmoms"]) if "magmoms" in ours else None,
    )


def _voigt(stress: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(stress, dtype=np.float64)
    return full_3x3_to_voigt_6_stress(array) if array.shape == (3, 3) else array


def _difference(ours: ArrayLike, theirs: ArrayLike) -> float:
    return float(np.max(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))))
