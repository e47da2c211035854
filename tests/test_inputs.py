"""What is refused before a calculation and after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel

from distmlip.errors import InvalidInputError, NonFiniteResultError, UnsupportedElementError
from distmlip.inputs import check_atoms, check_results, words_for_missing


class NeedsCharge(ToyAdapter):
    supported_numbers = frozenset({29, 79})

    def system(self, atoms: Atoms) -> dict[str, torch.Tensor]:
        if "charge" not in atoms.info:
            raise InvalidInputError("atoms.info has no charge")
        return {"charge": torch.tensor([atoms.info["charge"]])}


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.info["charge"] = 1.0
    return atoms


def check(atoms: Atoms, weights: Any = None) -> None:
    check_atoms(atoms, NeedsCharge([ToyModel()]), weights)


def test_what_can_be_calculated_passes_unchanged() -> None:
    atoms = copper()
    check(atoms, np.ones(4))
    assert atoms == copper()


def test_how_many_positions_are_broken_is_said() -> None:
    atoms = copper()
    atoms.positions[1, 2], atoms.positions[3] = np.nan, np.inf
    with pytest.raises(InvalidInputError, match=r"^atom 1 is at \[.*nan\] and 2 atoms in all"):
        check(atoms)


def test_an_unknown_element_is_named_beside_those_that_are_known() -> None:
    atoms = copper()
    atoms.numbers[2] = 47
    with pytest.raises(UnsupportedElementError, match=r"does not know Ag \(47\); it knows Cu Au$"):
        check(atoms)


def test_weights_are_those_of_these_atoms() -> None:
    with pytest.raises(InvalidInputError, match="weights has 3 entries for 4 atoms"):
        check(copper(), np.ones(3))


def test_what_the_model_reads_besides_has_to_be_there() -> None:
    atoms = copper()
    del atoms.info["charge"]
    with pytest.raises(InvalidInputError, match="no charge"):
        check(atoms)


def test_the_first_result_that_is_no_number_is_named() -> None:
    results = {"energies": np.zeros(5), "forces": np.zeros((5, 3))}
    check_results(results)
    results["energies"][4], results["forces"][2, 1] = np.inf, np.nan
    with pytest.raises(
        NonFiniteResultError,
        match=r"energy 0.0 eV and force \[0.0, nan, 0.0\] eV/Ang for atom 2, and 2 atoms",
    ):
        check_results(results)


@pytest.mark.parametrize("name", ["eval", "parameters", "predict_structure"])
def test_who_asks_for_what_models_have_is_told_that_it_is_none(name: str) -> None:
    assert "not a model" in words_for_missing(name)


@pytest.mark.parametrize("name", ["partitoins", "_modules", "__array__"])
def test_what_no_model_has_is_plainly_missing(name: str) -> None:
    assert words_for_missing(name) == f"'DistCalculator' object has no attribute {name!r}"
