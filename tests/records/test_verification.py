"""What `verify` finds where ours and the original differ."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from support.toy import ToyAdapter, ToyModel, undivided

from distmlip import DistCalculator
from distmlip.records.verification import compare

VOIGT = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
MATRIX = [[1.0, 6.0, 5.0], [6.0, 2.0, 4.0], [5.0, 4.0, 3.0]]


def results(**changes: Any) -> dict[str, Any]:
    same = {
        "energy": -8.0,
        "forces": np.arange(12.0).reshape(4, 3),
        "stress": np.array(VOIGT),
        "magmoms": np.full(4, 0.5),
        "charges": np.full(4, 0.25),
    }
    return {**same, **changes}


def differences(**changes: Any) -> dict[str, float | None]:
    found = compare(results(), results(**changes))
    named = {name: getattr(found, name) for name in ("energy_per_atom", "forces", "stress", "magmoms")}
    return {**named, **found.others}


def test_equal_results_do_not_differ() -> None:
    assert set(differences(stress=MATRIX, magmoms=np.full((4, 1), 0.5)).values()) == {0.0}


@pytest.mark.parametrize(
    ("name", "theirs", "difference"),
    [
        ("energy_per_atom", dict(energy=-10.0), 0.5),
        (
            "forces",
            dict(forces=np.arange(12.0).reshape(4, 3) - [[0, 0, 0], [0, 3, 0], [1, 0, 0], [0, 0, 0]]),
            3,
        ),
        ("stress", dict(stress=np.array(MATRIX) + np.diag([0, 0, 2])), 2),
        ("magmoms", dict(magmoms=[0.5, 0.5, 0.5, -0.5]), 1),
        ("charges", dict(charges=[0.25, 0.25, 0.5, 0.25]), 0.25),
        ("charges", dict(charges=[0.25, 0.25]), math.inf),
        ("charges", dict(charges=[0.25, 0.25, 0.25, math.nan]), math.nan),
    ],
)
def test_a_wrong_result_is_seen_and_no_other(name: str, theirs: dict[str, Any], difference: float) -> None:
    found = differences(**theirs)
    assert found.pop(name) == pytest.approx(difference, nan_ok=True)
    assert set(found.values()) == {0.0}


def test_what_one_of_them_has_not_is_not_compared() -> None:
    theirs = results(stress=None, charges="unknown", dipole=np.ones(3))
    del theirs["magmoms"]
    found = compare(results(), theirs)
    assert (found.stress, found.magmoms, found.others) == (None, None, {})


class Original(Calculator):
    implemented_properties = ("energy", "forces", "energies")

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        found = undivided(ToyModel(), self.atoms)
        energies = found["energy"] / len(self.atoms) + np.array([0, 0.5, -0.5, 0])
        self.results = {"energy": found["energy"], "forces": found["forces"], "energies": energies}


class WithOriginal(ToyAdapter):
    def original(self, dtype: Any = None) -> Original:
        return Original()


def test_verify_sees_energies_of_atoms_that_are_only_right_in_sum() -> None:
    copper: Atoms = bulk("Cu", cubic=True)
    found = DistCalculator(WithOriginal([ToyModel()]), partitions=2, devices="cpu").verify(copper)
    assert max(found.energy_per_atom, found.forces) < 1e-10
    assert found.others == {"energies": pytest.approx(0.5)}
    assert str(found).endswith("stress -, magmoms -, energies 5.0e-01")
