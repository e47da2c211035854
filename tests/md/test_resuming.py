"""A run that was cut off and gone on with equals the one that was not, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from chgnet.model import CHGNet
from support.chgnet_models import build_narrow
from support.structures import oxide_cell

from distmlip import DistCalculator
from distmlip.md import History, read, relax, run, work

STEPS, CUT_AT = 12, 8
NAME = "trajectory.h5"
HOT = {"temperature": 2500.0, "timestep": 2.0, "seed": 3}
"""So that the graph is built anew several times."""
SQUEEZED = {"ensemble": "npt", "pressure": 5.0, "pressure_time_constant": 500.0}
RUNS: dict[str, Callable[..., History]] = {
    "nve": lambda atoms, **how: run(atoms, STEPS, **HOT, **how),
    "langevin": lambda atoms, **how: run(atoms, STEPS, ensemble="nvt", **HOT, **how),
    "bussi": lambda atoms, **how: run(atoms, STEPS, ensemble="nvt", thermostat="bussi", **HOT, **how),
    "nose-hoover": lambda atoms, **how: run(
        atoms, STEPS, ensemble="nvt", thermostat="nose-hoover", **HOT, **how
    ),
    "npt": lambda atoms, **how: run(atoms, STEPS, **SQUEEZED, **HOT, **how),
    "npt, any shape": lambda atoms, **how: run(atoms, STEPS, shape=True, **SQUEEZED, **HOT, **how),
    "npt, langevin": lambda atoms, **how: run(atoms, STEPS, thermostat="langevin", **SQUEEZED, **HOT, **how),
    "npt, langevin, any shape": lambda atoms, **how: run(
        atoms, STEPS, thermostat="langevin", shape=True, **SQUEEZED, **HOT, **how
    ),
    "fire": lambda atoms, **how: relax(atoms, STEPS, fmax=1e-6, **how),
    "fire with the cell": lambda atoms, **how: relax(atoms, STEPS, fmax=1e-6, cell=True, **how),
}


class Cut(Exception):  # noqa: N818  no error
    """Stands for whatever ends a process."""


@lru_cache
def model() -> CHGNet:
    return build_narrow()


def structure(**options: Any) -> Atoms:
    atoms = oxide_cell() * (2, 2, 1)
    atoms.rattle(0.05, seed=1)
    atoms.calc = DistCalculator(model(), dtype="float64", skin=0.5, **options)
    return atoms


def cut_off(step: int, _: Atoms) -> None:
    if step == CUT_AT:
        raise Cut


@pytest.fixture
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints without a minute between them."""
    monkeypatch.setattr(work, "LEAST_TIME", 0.0)


@pytest.mark.usefixtures("frequent")
@pytest.mark.parametrize("name", RUNS)
def test_nothing_shows_that_it_was_cut_off(name: str, tmp_path: Path) -> None:
    frames = {"frames_every": 3, "checkpoint_every": 4}
    whole = structure(partitions=3)
    before = RUNS[name](whole, output=tmp_path / "whole", **frames)
    first = structure(partitions=3)
    with pytest.raises(Cut):
        RUNS[name](first, output=tmp_path / "cut", on_step=cut_off, **frames)
    with np.load(tmp_path / "cut" / "checkpoint-000000000005.npz") as checkpoint:
        has_moved = not np.array_equal(checkpoint["origin"], checkpoint["positions"])
    assert has_moved, "the checkpoint is of the step that the graph was built at, which shows little"
    second = structure(partitions=3)
    after = RUNS[name](second, output=tmp_path / "cut", resume=True, **frames)
    for values in ("positions", "cell"):
        np.testing.assert_array_equal(getattr(second, values), getattr(whole, values))
    np.testing.assert_array_equal(second.get_momenta(), whole.get_momenta())
    np.testing.assert_array_equal(second.get_forces(), whole.get_forces())
    assert after.potential_energy == before.potential_energy[5:]
    assert after.ending is before.ending
    with (
        read(tmp_path / "whole" / "trajectory.h5") as ours,
        read(tmp_path / "cut" / "trajectory.h5") as theirs,
    ):
        np.testing.assert_array_equal(ours.steps, [0, 3, 6, 9, 12])
        np.testing.assert_array_equal(ours.steps, theirs.steps)
        for name_of, values in ours.observables.items():
            np.testing.assert_array_equal(values, theirs.observables[name_of])
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine.positions, other.positions)


@pytest.mark.usefixtures("frequent")
def test_what_was_chosen_stays(tmp_path: Path) -> None:
    """Whatever a calculator that chooses by itself would choose the next time."""
    atoms = structure(partitions=2, recompute=True)
    with pytest.raises(Cut):
        run(atoms, STEPS, output=tmp_path / "run", on_step=cut_off, **HOT)
    resumed = structure()
    run(resumed, STEPS, output=tmp_path / "run", resume=True, **HOT)
    distribution = {"partitions": 2, "method": "slab", "recompute": True}
    assert resumed.calc.chosen == atoms.calc.chosen == {**distribution, "kernels": "original"}


@pytest.mark.usefixtures("frequent")
def test_more_steps_than_before_are_as_if_they_had_been_asked_for_at_once(tmp_path: Path) -> None:
    whole, parts = structure(), structure()
    run(whole, 9, **HOT)
    run(parts, 4, output=tmp_path / "run", **HOT)
    again = structure()
    run(again, 9, output=tmp_path / "run", resume=True, **HOT)
    np.testing.assert_array_equal(again.positions, whole.positions)
    with read(tmp_path / "run" / "trajectory.h5") as frames:
        np.testing.assert_array_equal(frames.steps, [0, 4, 9])


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    atoms = structure()
    run(atoms, 3, output=tmp_path / "run", **HOT)
    again = structure()
    history = run(again, 3, output=tmp_path / "run", resume=True, **HOT)
    assert history.n_steps == 0
    assert history.potential_energy == [pytest.approx(again.get_potential_energy() / len(again))]
    np.testing.assert_array_equal(again.positions, atoms.positions)
    with read(tmp_path / "run" / "trajectory.h5") as frames:
        np.testing.assert_array_equal(frames.steps, [0, 3])


def test_a_run_that_was_cut_off_before_its_first_checkpoint_begins_anew(tmp_path: Path) -> None:
    def at_once(_: int, __: Atoms) -> None:
        raise Cut

    with pytest.raises(Cut):
        run(structure(), 3, output=tmp_path / "run", on_step=at_once, **HOT)
    whole, again = structure(), structure()
    run(whole, 3, **HOT)
    run(again, 3, output=tmp_path / "run", resume=True, **HOT)
    np.testing.assert_array_equal(again.positions, whole.positions)
