"""Options in their final form; how a calculator refuses them: test_calculator.py, test_misuse.py."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from distmlip.errors import InvalidInputError
from distmlip.options import (
    MOST_PARTITIONS,
    check_weights_fit,
    checked_atoms,
    checked_choice,
    checked_dtype,
    checked_length,
    checked_partitions,
    checked_steps,
    checked_weights,
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
