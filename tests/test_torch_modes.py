"""Modes of torch that a caller has switched on: none of our entries depends on them, and all leave them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.torch_globals import MODES, modes
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator, neighbor_list, partition
from distmlip.torch_modes import usual_modes


@pytest.fixture
def atoms() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (3, 3, 4)
    atoms.rattle(0.05, seed=1)
    return atoms


@pytest.mark.parametrize("mode", MODES)
def test_measured_choices_and_profiles_do_not_depend_on_modes(
    mode: str, atoms: Atoms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTMLIP_CACHE", str(tmp_path))  # so that the model is measured in the mode
    model = ToyModel()
    expected = DistCalculator(ToyAdapter([model]), partitions=1).get_forces(atoms)
    with MODES[mode]():
        before = modes()
        calculator = DistCalculator(ToyAdapter([model]))
        plan, profile = calculator.plan(atoms), calculator.profile(atoms, steps=1)
        forces = calculator.get_forces(atoms)
        assert modes() == before
    assert plan.memory["cpu"].expected > 0
    assert profile.total > 0
    np.testing.assert_allclose(forces, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_graphs_do_not_depend_on_modes(mode: str, atoms: Atoms) -> None:
    pairs, owner = neighbor_list("ijS", atoms, 3.0), partition(atoms, 3.0, 3).owner
    with MODES[mode]():
        for ours, theirs in zip(neighbor_list("ijS", atoms, 3.0), pairs, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(partition(atoms, 3.0, 3).owner, owner)


@pytest.mark.parametrize("mode", MODES)
def test_modes_come_back_after_an_error(mode: str) -> None:
    usual = modes()
    with MODES[mode]():
        before = modes()
        assert before != usual
        with usual_modes():
            assert modes()[:3] == usual[:3]  # gradients, inference, autocast
            assert torch.zeros(1).device.type == "cpu"
        assert modes() == before
        with pytest.raises(ZeroDivisionError), usual_modes():
            raise ZeroDivisionError
        assert modes() == before
    assert modes() == usual
