"""What ranks that run a script each for itself are compared by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.toy import ToyModel

from distmlip.ranks.agreement import DRIFT, SAME, Call, complaint, digest_of, distance


def call(atoms: Atoms) -> Call:
    return Call("an evaluation", 0, (True,), "digest", atoms, {"charge": torch.zeros(1)})


def copper() -> Atoms:
    return bulk("Cu", cubic=True)


def changed(change: Callable[[Atoms], object]) -> Atoms:
    atoms = copper()
    change(atoms)
    return atoms


def test_the_same_is_no_complaint() -> None:
    assert complaint(1, call(copper()), call(copper()), SAME) is None
    almost = changed(lambda atoms: atoms.positions.__iadd__(0.9 * SAME))
    assert complaint(1, call(almost), call(copper()), SAME) is None


@pytest.mark.parametrize("tolerance", [SAME, DRIFT])
@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (copper() * (2, 1, 1), "number of atoms, 8 instead of 4, on rank 1 than on rank 0"),
        (
            changed(lambda atoms: atoms.set_atomic_numbers([29, 29, 13, 29])),
            "type of atom 2, 13 instead of 29",
        ),
        (changed(lambda atoms: atoms.set_pbc([True, True, False])), "periodic directions"),
        (changed(lambda atoms: atoms.positions.__iadd__(0.3)), "differ by 0.3 Ang"),
        (changed(lambda atoms: atoms.set_cell([3.61, 3.61, 4.0])), "cell that differ by 0.39 Ang"),
        (changed(lambda atoms: atoms.positions.fill(np.nan)), "differ by inf Ang"),
    ],
)
def test_other_atoms_are_named_with_the_remedy(atoms: Atoms, message: str, tolerance: float) -> None:
    found = complaint(1, call(atoms), call(copper()), tolerance)
    assert found is not None
    assert message in found
    assert "ranks=False" in found


def test_drift_is_for_later_calls() -> None:
    drifted = call(changed(lambda atoms: atoms.positions.__iadd__(0.1)))
    assert complaint(2, drifted, call(copper()), DRIFT) is None
    assert "differ by 0.1 Ang" in str(complaint(2, drifted, call(copper()), SAME))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"what": "a plan"}, "another call, a plan instead of an evaluation"),
        ({"number": 3}, "another calculator, number 3"),
        ({"content": (False,)}, "other arguments"),
        ({"model": "another"}, "another model"),
        ({"system": {"charge": torch.ones(1)}}, "charge"),
        ({"system": {}}, "charge"),
    ],
)
def test_another_call_is_a_complaint(other: dict[str, object], message: str) -> None:
    found = complaint(1, replace(call(copper()), **other), call(copper()), DRIFT)
    assert found is not None
    assert message in found


def test_distance_of_what_is_not_finite() -> None:
    broken = changed(lambda atoms: atoms.positions[1].fill(np.inf))
    assert distance(broken, copper()) == np.inf
    assert distance(broken, broken) == 0.0
    assert distance(changed(lambda atoms: atoms.positions.__isub__(0.25)), copper()) == pytest.approx(0.25)


def test_digests_tell_models_and_options_apart() -> None:
    options = {"partitions": 2, "skin": 0.5, "dtype": torch.float64, "weights": np.arange(3.0), "head": None}
    first = digest_of([ToyModel(seed=0)], options)
    assert digest_of([ToyModel(seed=0)], {**options, "weights": np.arange(3.0)}) == first
    assert digest_of([ToyModel(seed=1)], options) != first
    assert digest_of([ToyModel(seed=1)], options, with_values=False) == digest_of(
        [ToyModel(seed=0)], options, with_values=False
    )
    for name, value in {"partitions": 3, "dtype": None, "weights": np.ones(3), "head": "second"}.items():
        assert digest_of([ToyModel(seed=0)], {**options, name: value}) != first
    assert digest_of([], {"option": object()}) == digest_of([], {"option": object()})
