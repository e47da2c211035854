"""What surrounds the steps of a driver: the folder, progress, checkpoints, and an end in good order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.io.trajectory import Trajectory
from ase.optimize.optimize import BaseDynamics

from distmlip.cell import volume_of
from distmlip.errors import InvalidInputError
from distmlip.md.checkpoints import Checkpoint, has_checkpoints, newest_checkpoint, write_checkpoint
from distmlip.md.folder import TRAJECTORY, RunFolder
from distmlip.md.history import History
from distmlip.md.progress import progress_bar
from distmlip.md.state import captured, require_same_atoms, restore_atoms, restore_driver
from distmlip.md.stopping import Ending, Stopping, trouble
from distmlip.md.trajectory import Contents, TrajectoryWriter

LEAST_TIME = 60.0  # s between checkpoints, but for the first one
OnStep = Callable[[int, Atoms], None]
POSITIONS_ALONE = Contents()


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a run leaves, besides the atoms."""

    folder: Path | None = None
    resume: bool = False
    frames_every: int = 100
    """Steps; of the log it is a tenth."""
    contents: Contents = POSITIONS_ALONE
    checkpoint_every: int = 10
    """Steps, but no sooner than after a minute."""
    max_time: float | None = None
    """s"""
    trajectory: Path | None = None
    """ASE's own, a file ``.traj`` that every step is appended to."""
    on_step: OnStep | None = None
    about: Mapping[str, Any] | None = None
    """More options to be kept, and compared when the run is gone on with."""

    def checked(self) -> Output:
        """
        Raises:
            InvalidInputError: values are out of their range, or fit no run without a folder.
        """
        for name in ("frames_every", "checkpoint_every"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise InvalidInputError(f"{name}={getattr(self, name)!r}; it must be a whole number from 1")
        if self.max_time is not None and not self.max_time > 0:
            raise InvalidInputError(f"max_time={self.max_time}; it must be a positive number of seconds")
        if self.resume and self.folder is None:
            raise InvalidInputError("resume=True without output; give the folder of the run to go on with")
        return self


class Work:
    """One run, from its first step or a checkpoint to its end."""

    def __init__(
        self,
        atoms: Atoms,
        steps: int,
        output: Output,
        options: Mapping[str, Any],
        label: str,
        random: np.random.Generator | None = None,
        timestep: float = 1.0,
        temperature: float | None = None,
    ) -> None:
        if not isinstance(steps, int) or steps < 0:
            raise InvalidInputError(f"steps={steps!r}; it must be a whole number from 0")
        if atoms.calc is None:
            raise InvalidInputError("the atoms have no calculator; set atoms.calc first")
        self._atoms, self._steps, self._output, self._label = atoms, steps, output, label
        self._options = {
            **(output.about or {}),
            **options,
            "steps": steps,
            "frames_every": output.frames_every,
            "checkpoint_every": output.checkpoint_every,
            "max_time": output.max_time,
        }
        self._random, self._timestep, self._temperature = random, timestep, temperature
        self._history = History()
        self._folder: RunFolder | None = None
        self._writer: TrajectoryWriter | None = None
        self._last_frame = self._last_checkpoint = -1
        self._saved_at = -math.inf
        self._begun = time.monotonic()

    def done(
        self,
        make: Callable[[bool], BaseDynamics],
        steps_of: Callable[[BaseDynamics, int], Iterator[bool]],
        describe: Callable[[History], str],
    ) -> History:
        """Make the driver (told whether the run is new), let it take its steps, and see to the rest."""
        with ExitStack() as stack:
            begun = self._open(stack)
            if begun is not None and (differs := restore_atoms(self._atoms, self._random, begun)):
                self._say(f"# {differs}")
            driver = stack.enter_context(make(begun is None))
            if begun is not None:
                restore_driver(driver, begun)
            if self._output.trajectory is not None:
                file = Trajectory(self._output.trajectory, mode="a", atoms=self._atoms)
                driver.attach(stack.enter_context(file).write)
            stopping = Stopping(self._output.folder, self._output.max_time)
            stack.enter_context(stopping.listening())
            show = stack.enter_context(progress_bar(self._steps, self._label))
            try:
                ending = self._take(
                    driver, steps_of, begun, stopping, lambda: show(driver.nsteps, describe(self._history))
                )
            except Exception as error:
                if self._folder is not None:
                    error.add_note(f"after step {driver.nsteps}; {self._last_good()}")
                self._say(f"# after step {driver.nsteps}: {error}")
                raise
            self._history.ending = ending
            self._say(f"# step {driver.nsteps}: {ending.in_words}")
        return self._history

    def _take(
        self,
        driver: BaseDynamics,
        steps_of: Callable[[BaseDynamics, int], Iterator[bool]],
        begun: Checkpoint | None,
        stopping: Stopping,
        show: Callable[[], None],
    ) -> Ending:
        """All steps that are left."""
        first, is_done = driver.nsteps, False
        ending: Ending | None = None
        for is_last in steps_of(driver, max(0, self._steps - first)):
            is_done = is_last
            if begun is not None and driver.nsteps == first:
                continue  # this step is in the checkpoint
            ending = self._after_step(driver, stopping)
            show()
            if ending is Ending.LOST:
                return ending
            if ending is not None:
                break
        self._finish(driver)
        if ending is None or is_done:
            ending = Ending.DONE if is_done else Ending.NOT_CONVERGED
        return ending

    def _open(self, stack: ExitStack) -> Checkpoint | None:
        """The folder, and the checkpoint to begin with."""
        output, found = self._output, None
        if output.folder is None:
            return None
        self._folder = stack.enter_context(closing(RunFolder(output.folder, self._options, output.resume)))
        path = output.folder / TRAJECTORY
        if output.resume and has_checkpoints(output.folder):
            found, damages = newest_checkpoint(output.folder)
            for damage in damages:
                self._say(f"# {damage}; going on from the one before it")
            require_same_atoms(self._atoms, found)
            self._writer = TrajectoryWriter.continued(path, output.contents, found.step)
            self._last_frame, self._last_checkpoint = self._writer.last_step, found.step
            self._saved_at = time.monotonic()
            self._say(f"# resumed after step {found.step}")
        else:
            path.unlink(missing_ok=True)  # of a run that was killed before its first checkpoint
            self._writer = TrajectoryWriter.new(path, self._atoms, output.contents)
            self._say("#     step    time/fs  E_pot/eV/atom  E_kin/eV/atom        T/K      P/GPa s")
        stack.enter_context(self._writer)
        return found

    def _after_step(self, driver: BaseDynamics, stopping: Stopping) -> Ending | None:
        step, output = driver.nsteps, self._output
        observables = _observables(self._atoms)
        self._history.record(self._atoms)
        wrong = trouble(observables, self._temperature)
        if wrong is not None:
            self._history.trouble = f"stopped at step {step}: {wrong}; {self._last_good()}"
            self._say(f"# {self._history.trouble}")
            return Ending.LOST
        if self._folder is not None:
            if step % output.frames_every == 0:
                self._write_frame(step, observables)
            if step % max(1, output.frames_every // 10) == 0:
                self._say(self._row(step, observables))
            waited = time.monotonic() - self._saved_at
            is_due = step - self._last_checkpoint >= output.checkpoint_every and waited >= LEAST_TIME
            if step == 1 or (step > 1 and is_due):
                self._save(driver)
        if output.on_step is not None:
            output.on_step(step, self._atoms)
        return stopping.reason()

    def _last_good(self) -> str:
        if self._last_checkpoint < 0:
            return "no checkpoint was written"
        assert self._folder is not None
        return f"the last good state is that of step {self._last_checkpoint} in {self._folder.path}"

    def _finish(self, driver: BaseDynamics) -> None:
        """The last frame, and a checkpoint to go on from."""
        step = driver.nsteps
        if self._folder is None:
            return
        if step > self._last_frame:
            self._write_frame(step, _observables(self._atoms))
        if step > self._last_checkpoint:
            self._save(driver)

    def _write_frame(self, step: int, observables: Mapping[str, float]) -> None:
        assert self._writer is not None
        self._writer.append(step, step * self._timestep, self._atoms, observables)
        self._last_frame = step

    def _save(self, driver: BaseDynamics) -> None:
        """When all frames up to now are in the trajectory, which a resume counts on."""
        assert self._writer is not None
        assert self._folder is not None
        self._writer.flush()
        write_checkpoint(self._folder.path, captured(self._atoms, driver, self._random))
        self._last_checkpoint, self._saved_at = driver.nsteps, time.monotonic()

    def _say(self, line: str) -> None:
        if self._folder is not None:
            self._folder.say(line)

    def _row(self, step: int, observables: Mapping[str, float]) -> str:
        n = max(1, len(self._atoms))
        return (
            f"{step:10d} {step * self._timestep:10.1f} {observables['potential_energy'] / n:14.6f} "
            f"{observables['kinetic_energy'] / n:14.6f} {observables['temperature']:10.1f} "
            f"{observables['pressure']:10.4f} {time.monotonic() - self._begun:.0f}"
        )


def _observables(atoms: Atoms) -> dict[str, float]:
    """Of atoms whose calculator has their results."""
    properties = getattr(atoms.calc, "implemented_properties", ())
    has_stress = "stress" in properties and volume_of(atoms) > 0 and atoms.pbc.all()
    stress = atoms.get_stress(include_ideal_gas=True) if has_stress else np.full(6, np.nan)
    return {
        "potential_energy": float(atoms.get_potential_energy()),
        "kinetic_energy": float(atoms.get_kinetic_energy()),
        "temperature": float(atoms.get_temperature()) if len(atoms) else 0.0,
        "pressure": float(-stress[:3].mean() / units.GPa),
    }
