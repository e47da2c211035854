"""Relaxation and dynamics: ASE's drivers, recorded, shown, stopped in time, and gone on with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize.optimize import BaseDynamics

from distmlip.cell import volume_of
from distmlip.errors import InvalidInputError
from distmlip.md.drivers import Ensemble, optimizer
from distmlip.md.history import History
from distmlip.md.observing import Observed
from distmlip.md.trajectory import Contents
from distmlip.md.watching import MOST_DRIFT, Watch
from distmlip.md.work import OnStep, Output, Work


def relax(
    atoms: Atoms,
    steps: int,
    *,
    fmax: float = 0.05,
    cell: bool = False,
    output: str | PathLike[str] | None = None,
    resume: bool = False,
    frames_every: int = 10,
    checkpoint_every: int = 10,
    max_time: float | None = None,
    trajectory: str | PathLike[str] | None = None,
    on_step: OnStep | None = None,
    about: Mapping[str, Any] | None = None,
) -> History:
    """Relax positions, and the cell if asked for, with FIRE to forces below ``fmax`` (eV/Å).

    ``steps`` is the most, with those before a resume. For all else see :func:`run`.
    """
    what = Output(
        folder=_path(output),
        resume=resume,
        frames_every=frames_every,
        checkpoint_every=checkpoint_every,
        max_time=max_time,
        trajectory=_path(trajectory),
        on_step=on_step,
        about=about,
    )
    if not 0 < fmax < math.inf:
        raise InvalidInputError(f"fmax={fmax}; it must be a positive number (eV/Ang)")
    if cell and not (atoms.pbc.any() and volume_of(atoms) > 0):
        raise InvalidInputError("cell=True with atoms that have no periodic cell; relax them without")
    options = {"command": "relax", "fmax": fmax, "cell": cell}
    work = Work(atoms, steps, what.checked(), options, label="relax", watch=Watch(timestep=None))
    return work.done(
        lambda _: optimizer(atoms, cell),
        lambda driver, n: driver.irun(fmax=fmax, steps=n),
        _relaxed_so_far,
    )


def _relaxed_so_far(driver: BaseDynamics, seen: Observed) -> str:
    force = float(np.linalg.norm(driver.atoms.get_forces(), axis=1).max(initial=0.0))
    return f"{seen.potential_energy / max(1, seen.n_atoms):.4f} eV/atom, {force:.3g} eV/Ang"


def run(
    atoms: Atoms,
    steps: int,
    *,
    output: str | PathLike[str] | None = None,
    resume: bool = False,
    frames_every: int = 100,
    velocities: bool = False,
    forces: bool = False,
    precision: str = "float32",
    compression: str | None = "lzf",
    checkpoint_every: int = 10,
    max_time: float | None = None,
    max_drift: float | None = MOST_DRIFT,
    trajectory: str | PathLike[str] | None = None,
    on_step: OnStep | None = None,
    about: Mapping[str, Any] | None = None,
    **ensemble: Any,
) -> History:
    """Run molecular dynamics under ``atoms.calc``, up to step ``steps``.

    Args:
        atoms: they move; with ``temperature`` their first velocities are drawn.
        steps: in all, those before a resume included.
        output: a new folder, which gets ``trajectory.h5`` (see :func:`distmlip.md.read`), checkpoints, a log
            and ``config.toml``. A file ``STOP`` in it ends the run after its step, as Ctrl-C and SIGTERM do.
        resume: go on from the newest checkpoint in ``output``, with the same atoms and options: to the last
            bit as if the run had not been interrupted, in the same environment on one device.
        frames_every: steps between frames of the trajectory; the last step is always one.
        velocities, forces: written with the positions.
        precision: of what is written, ``"float32"`` or ``"float64"``.
        compression: ``"lzf"``, None, or ``"gzip"``, slower and known to other programs than h5py.
        checkpoint_every: steps between checkpoints, and a minute at least; the first one is after step 1.
        max_time: s, after which it ends as with a signal.
        max_drift: eV per atom, of the conserved energy: the total one, and what thermostats hold. None: any.
        trajectory: an ASE ``.traj`` file that every step is appended to; large for many atoms.
        on_step: called with the step and the atoms after every step.
        about: more options to be kept in ``config.toml``; a resume must be given the same.
        **ensemble: ``ensemble="nvt"``, ``temperature=300`` and all else that :class:`Ensemble` has.

    What is watched (docs/runs.md) may stop it: ``Ending.LOST``, with the reason in ``History.trouble``.

    Raises:
        InvalidInputError: options are out of their range or fit neither each other nor the folder.
        RunFolderError: the folder or a file in it cannot be used.
    """
    try:
        sampled = Ensemble(**ensemble).checked()
    except TypeError as error:
        raise InvalidInputError(f"{error}; md.Ensemble says what there is") from None
    contents = Contents(
        velocities=velocities, forces=forces, precision=precision, compression=compression
    ).checked()
    what = Output(
        folder=_path(output),
        resume=resume,
        frames_every=frames_every,
        contents=contents,
        checkpoint_every=checkpoint_every,
        max_time=max_time,
        trajectory=_path(trajectory),
        on_step=on_step,
        about=about,
    )
    random = np.random.default_rng(sampled.seed)
    if max_drift is not None and not max_drift > 0:
        raise InvalidInputError(
            f"max_drift={max_drift}; it must be a positive number of eV per atom, or None"
        )
    watch = Watch(sampled.timestep, sampled.temperature, max_drift)
    options = {"command": "md", **asdict(sampled), **asdict(contents), "max_drift": max_drift or 0.0}
    label = sampled.ensemble.upper()
    work = Work(atoms, steps, what.checked(), options, label, watch, random, sampled.timestep)

    def driver(is_new: bool) -> BaseDynamics:
        if is_new:
            sampled.velocities(atoms, random)
        return sampled.driver(atoms, random)

    return work.done(driver, lambda driver, n: driver.irun(n), lambda _, seen: seen.in_words)


def _path(path: str | PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path)
