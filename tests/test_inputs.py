"""Options, structures and results at the border: what passes, and what is said of what does not."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel

from distmlip.errors import InvalidInputError, NonFiniteResultError, UnsupportedElementError
from distmlip.inputs import (
    MOST_PARTITIONS,
    check_atoms,
    check_results,
    check_weights_fit,
    checked_atoms,
    checked_choice,
    checked_dtype,
    checked_length,
    checked_partitions,
    checked_steps,
    checked_weights,
    words_for_missing,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("auto", None), (1, 1), (MOST_PARTITIONS, MOST_PARTITIONS), (np.int32(7), 7), (np.uint8(7), 7)],
)
def test_partitions(given: Any, expected: int | None) -> None:
    found = checked_partitions(given)
    assert found == expected
    assert found is None or type(found) is int


@pytest.mark.parametrize("given", [0, -1, MOST_PARTITIONS + 1, True, 2.0, "4", None, np.array(3)])
def test_no_partitions(given: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^partitions=.* between 1 and 1000000, or 'auto'$"):
        checked_partitions(given)


def test_steps() -> None:
    assert type(checked_steps(np.int64(3))) is int
    for given in (0, True, 1.5, "3"):
        with pytest.raises(InvalidInputError, match=r"^steps="):
            checked_steps(given)


def test_a_choice_is_one_of_them_and_not_what_equals_it() -> None:
    for choice in (True, False, "host"):
        assert checked_choice("recompute", choice, (True, False, "host")) is choice
    for given in (1, 0, np.True_, "Host", None, [True]):
        with pytest.raises(InvalidInputError, match=r"recompute=.*; it must be one of True, False, 'host'"):
            checked_choice("recompute", given, (True, False, "host"))


@pytest.mark.parametrize("given", [0, 0.5, Fraction(1, 2), np.float32(0.5), np.array(0.5), 3])
def test_length(given: Any) -> None:
    found = checked_length("skin", given)
    assert type(found) is float
    assert found == given


@pytest.mark.parametrize("given", [-1e-9, float("inf"), float("nan"), "1", None, 1j, [1.0]])
def test_no_length(given: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^skin="):
        checked_length("skin", given)


def test_weights_are_a_copy_of_numbers() -> None:
    given = np.array([1, 0, 3])
    weights = checked_weights(given)
    assert weights is not None
    given[:] = -1
    assert weights.dtype == np.float64
    assert weights.tolist() == [1.0, 0.0, 3.0]
    check_weights_fit(weights, 3)
    check_weights_fit(None, 5)
    assert checked_weights(None) is None
    with pytest.raises(InvalidInputError, match="weights has 3 entries for 4 atoms"):
        check_weights_fit(weights, 4)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_the_first_bad_weight_is_named(bad: float) -> None:
    with pytest.raises(InvalidInputError, match=rf"weights\[2\]={bad}; "):
        checked_weights([1.0, 2.0, bad, bad])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("float32", torch.float32),
        ("float64", torch.float64),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_dtype(given: Any, expected: torch.dtype | None) -> None:
    assert checked_dtype(given) is expected


@pytest.mark.parametrize("given", [torch.float16, torch.int64, float, "double", 32])
def test_no_dtype(given: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"it must be torch.float32, torch.float64 or None"):
        checked_dtype(given)


def test_atoms_are_taken_as_they_are() -> None:
    atoms = type("Own", (Atoms,), {})("H")
    assert checked_atoms(atoms) is atoms


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
