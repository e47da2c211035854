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
import torch
from ase import Atoms
from ase.io.trajectory import Trajectory
from ase.optimize.optimize import BaseDynamics

from distmlip.calculator import DistCalculator
from distmlip.errors import InvalidInputError, NonFiniteResultError
from distmlip.inputs import checked_count
from distmlip.machine.memory import used_bytes
from distmlip.md.checkpoints import Checkpoint, has_checkpoints, newest_checkpoint, write_checkpoint
from distmlip.md.folder import TRAJECTORY, RunFolder
from distmlip.md.history import History
from distmlip.md.observing import LOG_HEADER, Observed, observed
from distmlip.md.progress import progress_bar
from distmlip.md.state import captured, require_same_atoms, restore_atoms, restore_driver
from distmlip.md.stopping import Ending, Stopping
from distmlip.md.trajectory import Contents, TrajectoryWriter
from distmlip.md.watching import Watch

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
            checked_count(name, getattr(self, name), least=1)
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
        watch: Watch,
        random: np.random.Generator | None = None,
        timestep: float | None = None,
    ) -> None:
        steps = checked_count("steps", steps, least=0)
        if len(atoms) == 0:
            raise InvalidInputError("there are no atoms; give a structure that has some")
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
        self._watch, self._random, self._timestep = watch, random, timestep
        self._conserved_at_first: float | None = None
        self._history = History()
        self._folder: RunFolder | None = None
        self._writer: TrajectoryWriter | None = None
        self._last_frame = self._last_checkpoint = self._last_row = -1
        self._saved_at = -math.inf
        self._begun = time.monotonic()

    def done(
        self,
        make: Callable[[bool], BaseDynamics],
        steps_of: Callable[[BaseDynamics, int], Iterator[bool]],
        describe: Callable[[BaseDynamics, Observed], str],
    ) -> History:
        """Make the driver (told whether the run is new), let it take its steps, and see to the rest.

        ``describe``: what is to be seen beside the progress.
        """
        with ExitStack() as stack:
            begun = self._open(stack)
            if begun is not None and (differs := restore_atoms(self._atoms, self._random, begun)):
                self._say(f"# {differs}")
            driver = stack.enter_context(make(begun is None))
            if begun is not None:
                restore_driver(driver, begun)
                watched = begun.content["watched"]
                self._conserved_at_first, self._watch.edges = watched["conserved"], watched["edges"]
            if self._output.trajectory is not None:
                file = Trajectory(self._output.trajectory, mode="a", atoms=self._atoms)
                driver.attach(stack.enter_context(file).write)
            stopping = Stopping(self._output.folder, self._output.max_time)
            stack.enter_context(stopping.listening())
            show = stack.enter_context(progress_bar(self._steps, self._label, driver.nsteps, self._timestep))
            try:
                ending = self._take(
                    driver,
                    steps_of,
                    begun,
                    stopping,
                    lambda seen: show(driver.nsteps, f"{describe(driver, seen)}, {self._memory()}"),
                )
            except NonFiniteResultError as error:
                ending = self._lost(driver.nsteps, str(error))
            except (Exception, KeyboardInterrupt) as error:
                if self._folder is not None:
                    error.add_note(f"after step {driver.nsteps}; {self._last_good()}")
                self._say(f"# after step {driver.nsteps}: {str(error) or 'interrupted at once'}")
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
        show: Callable[[Observed], None],
    ) -> Ending:
        """All steps that are left."""
        first, is_done = driver.nsteps, False
        ending: Ending | None = None
        seen: Observed | None = None
        for is_last in steps_of(driver, max(0, self._steps - first)):
            is_done = is_last
            seen = self._observed(driver)
            if begun is not None and driver.nsteps == first:
                self._history.record(seen)
                continue  # this step is in the checkpoint
            ending = self._after_step(driver, seen, stopping)
            show(seen)
            if ending is not None:
                break
        if ending is Ending.LOST:
            return ending
        self._finish(driver, seen)
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
            self._last_row = found.step
            self._saved_at = time.monotonic()
            self._say(f"# resumed after step {found.step}")
        else:
            path.unlink(missing_ok=True)  # of a run that was killed before its first checkpoint
            has_times = self._timestep is not None
            self._writer = TrajectoryWriter.new(path, self._atoms, output.contents, has_times)
            self._say(LOG_HEADER)
        stack.enter_context(self._writer)
        return found

    def _observed(self, driver: BaseDynamics) -> Observed:
        seen = observed(self._atoms, driver, self._timestep, self._conserved_at_first)
        if self._conserved_at_first is None:
            self._conserved_at_first = seen.conserved_energy
        return seen

    def _after_step(self, driver: BaseDynamics, seen: Observed, stopping: Stopping) -> Ending | None:
        step, output = driver.nsteps, self._output
        self._history.record(seen)
        wrong = self._watch.trouble(self._atoms, seen)
        if wrong is not None:
            self._log(seen)
            if wrong.is_sound:
                self._finish(driver, seen)
            return self._lost(step, wrong.what)
        if self._folder is not None:
            if step % output.frames_every == 0:
                self._write_frame(seen)
            if step % max(1, output.frames_every // 10) == 0:
                self._log(seen)
            waited = time.monotonic() - self._saved_at
            is_due = step - self._last_checkpoint >= output.checkpoint_every and waited >= LEAST_TIME
            if step == 1 or (step > 1 and is_due):
                self._save(driver)
        if output.on_step is not None:
            output.on_step(step, self._atoms)
        return stopping.reason()

    def _lost(self, step: int, why: str) -> Ending:
        self._history.trouble = f"stopped at step {step}: {why}; {self._last_good()}"
        self._say(f"# {self._history.trouble}")
        return Ending.LOST

    def _last_good(self) -> str:
        if self._last_checkpoint < 0:
            return "no checkpoint was written"
        assert self._folder is not None
        path = self._folder.path
        return (
            f"the last good state is that of step {self._last_checkpoint} in {path} (distmlip convert {path} "
            "state.extxyz --frames checkpoint)"
        )

    def _finish(self, driver: BaseDynamics, seen: Observed | None) -> None:
        """The last frame, and a checkpoint to go on from. ``seen``: None if no step was taken."""
        if self._folder is None or seen is None:
            return
        self._log(seen)
        if seen.step > self._last_frame:
            self._write_frame(seen)
        if seen.step > self._last_checkpoint:
            self._save(driver)

    def _write_frame(self, seen: Observed) -> None:
        assert self._writer is not None
        self._writer.append(seen.step, seen.time, self._atoms, seen.recorded)
        self._last_frame = seen.step

    def _save(self, driver: BaseDynamics) -> None:
        """When all frames up to now are in the trajectory, which a resume counts on."""
        assert self._writer is not None
        assert self._folder is not None
        self._writer.flush()
        watched = {"conserved": self._conserved_at_first, "edges": self._watch.edges}
        write_checkpoint(self._folder.path, captured(self._atoms, driver, self._random, watched))
        self._last_checkpoint, self._saved_at = driver.nsteps, time.monotonic()

    def _log(self, seen: Observed) -> None:
        """A row, if there is none yet of this step."""
        if seen.step > self._last_row:
            self._say(seen.row(time.monotonic() - self._begun))
            self._last_row = seen.step

    def _say(self, line: str) -> None:
        if self._folder is not None:
            self._folder.say(line)

    def _memory(self) -> str:
        """What this process has of that of its devices."""
        calculator = self._atoms.calc
        is_ours = isinstance(calculator, DistCalculator)
        devices = dict.fromkeys(calculator.parameters["devices"] if is_ours else ["cpu"])
        return f"{sum(used_bytes(torch.device(name)) for name in devices) / 1e9:.1f} GB"
