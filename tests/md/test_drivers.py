from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from distmlip.md import relax, run


def rattled_copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=0)
    atoms.calc = EMT()
    return atoms


def test_relax_lowers_the_energy_and_records_every_step(tmp_path: Path) -> None:
    atoms, trajectory = rattled_copper(), tmp_path / "steps.traj"
    history = relax(atoms, 4, trajectory=trajectory)
    assert history.n_steps == 4
    assert history.potential_energy[-1] < history.potential_energy[0]
    assert history.potential_energy[-1] == pytest.approx(atoms.get_potential_energy() / len(atoms), abs=1e-12)
    assert len(read(trajectory, ":")) == 5


def test_dynamics_goes_on_in_the_same_trajectory(tmp_path: Path) -> None:
    atoms, trajectory = rattled_copper(), tmp_path / "steps.traj"
    relax(atoms, 2, trajectory=trajectory)
    history = run(atoms, 3, ensemble="nvt", temperature=300.0, trajectory=trajectory)
    frames = read(trajectory, ":")
    assert len(frames) == 3 + 4
    assert frames[-1].get_potential_energy() / len(atoms) == pytest.approx(history.potential_energy[-1])
    kinetic = np.array(history.total_energy) - history.potential_energy
    assert kinetic[-1] == pytest.approx(atoms.get_kinetic_energy() / len(atoms))
    assert history.temperature[-1] == pytest.approx(atoms.get_temperature())


def test_dynamics_depends_on_its_seed_alone() -> None:
    def final(seed: int) -> np.ndarray:
        atoms = rattled_copper()
        run(atoms, 3, ensemble="nvt", temperature=300.0, seed=seed)
        return atoms.positions

    np.testing.assert_array_equal(final(1), final(1))
    assert np.abs(final(1) - final(2)).max() > 1e-4
