"""What stops a run, and what it is compared with: the energy that each ensemble conserves."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from support.chgnet_models import build_narrow
from support.structures import oxide_cell

from distmlip import DistCalculator
from distmlip.choice import chooser
from distmlip.errors import InvalidInputError, NonFiniteResultError
from distmlip.md import Ending, History, read, run
from distmlip.md.checkpoints import newest_checkpoint
from distmlip.md.observing import Observed
from distmlip.md.watching import Watch

HOT = {"temperature": 300.0, "timestep": 2.0}
NPT = {"ensemble": "npt", "pressure": 3.0, "pressure_time_constant": 200.0}
CONSERVED: dict[str, dict[str, Any]] = {
    "nve": {},
    "bussi": {"ensemble": "nvt", "thermostat": "bussi"},
    "nose-hoover": {"ensemble": "nvt", "thermostat": "nose-hoover"},
    "npt": NPT,
    "npt, any shape": {**NPT, "shape": True},
}


def copper(n: int = 3) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    return atoms


def seen(**changes: float) -> Observed:
    usual = Observed(
        step=3,
        time=6.0,
        n_atoms=108,
        potential_energy=1.0,
        kinetic_energy=1.0,
        conserved_energy=2.0,
        temperature=300.0,
        pressure=0.0,
        drift=0.0,
    )
    return replace(usual, **changes)


@pytest.mark.parametrize("options", CONSERVED.values(), ids=CONSERVED)
def test_what_an_ensemble_conserves_hardly_drifts(options: dict[str, Any], tmp_path: Path) -> None:
    """Twice as long steps, four times the drift: that of the integrator's order, and of nothing else."""

    def drift(timestep: float) -> float:
        folder = tmp_path / f"{timestep}"
        how = {**HOT, "timestep": timestep, "time_constant": 50.0, "frames_every": 1}
        atoms = copper()
        run(atoms, int(80 / timestep), output=folder, **(how | options))
        with read(folder / "trajectory.h5") as frames:
            found = frames.observables
        conserved = found["conserved_energy"] / len(atoms)
        total = (found["potential_energy"] + found["kinetic_energy"]) / len(atoms)
        moved = np.ptp(total)
        assert options == {} or moved > 2e-3
        return float(np.ptp(conserved))

    coarse = drift(4.0)
    assert coarse < 1e-3
    assert drift(2.0) < 0.5 * coarse


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_langevin_conserves_nothing(ensemble: str) -> None:
    pressure = 1.0 if ensemble == "npt" else None
    history = run(copper(2), 5, ensemble=ensemble, thermostat="langevin", pressure=pressure, **HOT)
    assert history.ending is Ending.DONE


@pytest.mark.parametrize("thermostat", ["nose-hoover", "langevin"])
@pytest.mark.parametrize("shape", [False, True], ids=["volume", "shape"])
def test_a_pressure_makes_it_smaller(thermostat: str, shape: bool) -> None:
    """By about the pressure over the bulk modulus, and the shape changes only if it may."""
    atoms = copper()
    before = atoms.cell.copy()
    run(
        atoms,
        200,
        ensemble="npt",
        thermostat=thermostat,
        pressure=40.0,
        shape=shape,
        pressure_time_constant=200.0,
        **HOT,
    )
    strain = np.linalg.solve(before.array, atoms.cell.array)
    assert np.linalg.det(strain) < 0.95
    is_alike = np.allclose(strain, strain[0, 0] * np.eye(3), atol=1e-9)
    assert is_alike is not shape


def test_npt_needs_what_its_barostats_know() -> None:
    atoms = copper(2)
    atoms.pbc = [True, True, False]
    with pytest.raises(InvalidInputError, match=r"pbc=\[True, True, False\] with ensemble='npt'"):
        run(atoms, 1, ensemble="npt", pressure=1.0, **HOT)
    atoms = copper(2)
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(InvalidInputError, match="constraints with ensemble='npt'"):
        run(atoms, 1, ensemble="npt", pressure=1.0, **HOT)


WRONG = {
    "energy": ({"potential_energy": math.nan}, "the potential energy is nan"),
    "kinetic energy": ({"kinetic_energy": math.inf}, "the kinetic energy is inf"),
    "temperature": ({"temperature": 5001.0}, r"5e\+03 K, above 5e\+03 K: atoms fly apart"),
    "drift": ({"drift": -0.2}, r"drifted by -0\.2 eV/atom, more than max_drift=0\.1"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_states_that_are_wrong(changes: dict[str, float], message: str) -> None:
    watch = Watch(2.0, 300.0, 0.1)
    assert watch.trouble(copper(), seen()) is None
    trouble = watch.trouble(copper(), seen(**changes))
    assert trouble is not None
    assert not trouble.is_sound
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(trouble.what)


def test_hot_runs_may_be_hot() -> None:
    assert Watch(2.0, 8000.0, 0.1).trouble(copper(), seen(temperature=20000.0)) is None
    assert Watch(2.0, None, None).trouble(copper(), seen(drift=1e9)) is None
    assert Watch(2.0, None, 0.1).trouble(copper(), seen(drift=math.nan)) is None


def lost(tmp_path: Path, spoil: Any, steps: int = 10, **options: Any) -> History:
    history = run(copper(), steps, output=tmp_path / "run", on_step=spoil, **{**HOT, **options})
    assert history.ending is Ending.LOST
    assert not history.ending.goes_on
    assert history.trouble is not None
    assert f"# {history.trouble}" in (tmp_path / "run" / "log.txt").read_text()
    return history


def test_what_is_seen_after_the_last_step_counts(tmp_path: Path) -> None:
    def spoil(step: int, atoms: Atoms) -> None:
        if step == 3:
            atoms.set_momenta(1e4 * atoms.get_momenta())

    assert "stopped at step 4" in str(lost(tmp_path, spoil, steps=4).trouble)


def test_one_atom_that_flies_off_is_named(tmp_path: Path) -> None:
    """Where the whole system is no hotter than others are."""

    def spoil(step: int, atoms: Atoms) -> None:
        if step == 1:
            atoms.numbers[17] = 1
            atoms.set_masses()
        if step == 3:
            momenta = atoms.get_momenta()
            momenta[17] = atoms.get_masses()[17] * np.array([0.7, 0.0, 0.0]) / units.fs
            atoms.set_momenta(momenta)

    history = lost(tmp_path, spoil, max_drift=None)
    assert max(history.temperature) < 4000
    assert "stopped at step 4: atom 17 (H) goes 1." in str(history.trouble)
    assert "in a step of 2 fs" in str(history.trouble)
    assert newest_checkpoint(tmp_path / "run")[0].step == 1


def test_a_drift_is_seen_again_unless_it_is_allowed(tmp_path: Path) -> None:
    def spoil(step: int, atoms: Atoms) -> None:
        if step == 3:
            atoms.set_momenta(2.2 * atoms.get_momenta())

    history = lost(tmp_path, spoil)
    assert "stopped at step 4: the conserved energy has drifted by 0.1" in str(history.trouble)
    assert "the last good state is that of step 1" in str(history.trouble)
    for max_drift, ending in ((0.1, Ending.LOST), (1.0, Ending.DONE)):
        how = {"output": tmp_path / "run", "on_step": spoil, "max_drift": max_drift}
        assert run(copper(), 10, resume=True, **how, **HOT).ending is ending


def test_a_drift_is_that_since_the_first_step_of_all(tmp_path: Path) -> None:
    """And not since a resume."""

    def spoil(step: int, atoms: Atoms) -> None:
        if step in (3, 13):
            atoms.set_momenta(1.6 * atoms.get_momenta())

    how = {"output": tmp_path / "run", "on_step": spoil, **HOT}
    assert run(copper(), 10, **how).ending is Ending.DONE
    assert run(copper(), 20, resume=True, **how).ending is Ending.LOST


def test_a_calculator_that_finds_no_number_stops_the_run(tmp_path: Path) -> None:
    class Failing(EMT):
        def calculate(self, *arguments: Any, **options: Any) -> None:
            super().calculate(*arguments, **options)
            if np.abs(self.atoms.positions).max() > 100:
                raise NonFiniteResultError("the energy is nan")

    def spoil(step: int, atoms: Atoms) -> None:
        atoms.calc = Failing()
        if step == 3:
            atoms.positions += 100.0

    history = lost(tmp_path, spoil)
    assert "stopped at step 3: the energy is nan; the last good state is that of step 1" in str(
        history.trouble
    )


def test_neighbours_that_become_too_many_for_the_memory_stop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Denser, there are more of them; it matters only where the memory is short."""
    atoms = oxide_cell() * (2, 2, 1)
    atoms.calc = DistCalculator(build_narrow(), partitions=2)
    watch = Watch(2.0)

    def look(scale: float) -> Any:
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        atoms.get_potential_energy()
        return watch.trouble(atoms, seen())

    assert look(1.0) is None
    assert look(0.97) is None
    assert look(0.85) is None, "there is enough"
    before = watch.edges
    monkeypatch.setattr(chooser, "available_bytes", lambda *_: 1000)
    assert look(0.99) is None, "not many more than when it was last looked at"
    assert watch.edges == before
    trouble = look(0.85)
    assert trouble is not None
    assert trouble.is_sound
    assert "neighbours within the cutoff of an atom" in trouble.what
    assert "cpu may not have the memory" in trouble.what
    assert look(1.0) is None, "it is said once"
