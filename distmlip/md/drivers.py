"""Relaxation and constant-temperature dynamics: ASE's drivers, set up, recorded and shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.optimize import FIRE

from distmlip.md.history import History
from distmlip.md.progress import progress_bar


def relax(atoms: Atoms, steps: int, *, fmax: float = 0.05, trajectory: Path | None = None) -> History:
    """Relax the positions with FIRE to forces below ``fmax`` (eV/Å), at most ``steps`` steps.

    Every step is appended to ``trajectory`` (an ASE ``.traj`` file), if one is given.
    """
    history = History()
    with FIRE(atoms, logfile=None) as optimizer:
        optimizer.attach(lambda: history.record(atoms))
        _append_to(trajectory, atoms, optimizer)
        with progress_bar(optimizer, steps, "relax", lambda: f"{history.potential_energy[-1]:.4f} eV/atom"):
            optimizer.run(fmax=fmax, steps=steps)
    return history


def nvt(
    atoms: Atoms,
    steps: int,
    *,
    temperature: float,
    timestep: float = 2.0,
    friction: float = 0.02,
    seed: int = 0,
    trajectory: Path | None = None,
) -> History:
    """Run Langevin dynamics from velocities drawn at ``temperature`` (K).

    ``timestep`` is in fs and ``friction`` in 1/fs. The random numbers come from ``seed`` alone. Every step is
    appended to ``trajectory`` (an ASE ``.traj`` file), if one is given.
    """
    random = np.random.default_rng(seed)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=random)
    Stationary(atoms)
    history = History()
    with Langevin(
        atoms,
        timestep * units.fs,
        temperature_K=temperature,
        friction=friction / units.fs,
        rng=random,
        fixcm=False,  # ASE: True does not sample the right distribution
    ) as dynamics:
        dynamics.attach(lambda: history.record(atoms))
        _append_to(trajectory, atoms, dynamics)
        with progress_bar(dynamics, steps, "NVT", lambda: f"{history.temperature[-1]:.0f} K"):
            dynamics.run(steps)
    return history


def _append_to(path: Path | None, atoms: Atoms, dynamics: FIRE | Langevin) -> None:
    if path is not None:
        writer = dynamics.closelater(Trajectory(path, mode="a", atoms=atoms))
        dynamics.attach(writer.write)
