"""Programs that compete from environments of their own, each a process that steps in its turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
from harness import Facts, quartiles_of

SERVER = Path(__file__).parent / "native_server.py"
PREPARATION_LIMIT = 900.0  # s
WARM_UP_TURNS = 2
"""The first ones, of which TorchScript compiles anew in both."""


@dataclass(frozen=True)
class Program:
    """What is timed, by the name that it has in tables."""

    name: str
    kind: str
    """A name of ``native_server.CALCULATORS``."""
    options: Mapping[str, Any]
    threads: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of its environment."""
    python: str = sys.executable
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What its result says of it."""


def compete(
    programs: Sequence[Program],
    crystal: str,
    cells: tuple[int, int, int],
    rounds: int,
    limit: float,
    budget: float,
) -> tuple[dict[str, Facts], dict[str, np.ndarray]]:
    """Times of all programs in turns, and the forces, (n_atoms, 3) in eV/Å, of those that have made a step.

    The structure has so many cells of one of ``structures.CRYSTALS`` along each axis.
    The first turn gives ``peak_mb``, the growth of the peak RSS above the loaded model, and ``first_cpu_s``
    and ``first_wall_s``. After it come turns for warming up, then ``rounds`` measured ones, fewer once they
    add up to more than ``budget`` seconds, but three at least (none: only the first turn is made). ``cpu_s``
    and ``wall_s`` are their minimum, quartiles and maximum. Who fails or takes longer than ``limit`` seconds
    for one turn has a ``status`` that says so.
    """
    running = [Running(program, crystal, cells, limit) for program in programs]
    for turn in range(1 + (WARM_UP_TURNS + rounds if rounds else 0)):
        for program in running:
            if turn <= WARM_UP_TURNS + 3 or program.spent < budget:
                program.take_turn(turn)
    results = {of.program.name: of.finish() for of in running}
    return results, {of.program.name: of.forces for of in running if of.forces is not None}


class Running:
    """The parent's side of a program's process."""

    def __init__(self, program: Program, crystal: str, cells: tuple[int, int, int], limit: float) -> None:
        self.program, self.limit, self.spent = program, limit, 0.0
        self.result: Facts = {"threads": program.threads, **program.settings}
        self.forces: np.ndarray | None = None
        self.turns: list[tuple[float, float]] = []
        self.pipe, theirs = Pipe()
        with on_cores(program.threads):
            self.process = subprocess.Popen(
                [program.python, str(SERVER), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=environment(program),
                stdout=subprocess.DEVNULL,
            )
        theirs.close()
        what = {"kind": program.kind, "options": dict(program.options), "crystal": crystal, "cells": cells}
        self._ask(what, PREPARATION_LIMIT)

    def take_turn(self, turn: int) -> None:
        """Nothing, where an earlier one has failed."""
        if "status" in self.result:
            return
        answer = self._ask(turn == 0, self.limit)
        if answer is None:
            return
        seconds = answer.pop("cpu_s"), answer.pop("wall_s")
        if turn == 0:
            self.forces = np.array(answer.pop("forces"))
            self.result.update(answer, first_cpu_s=seconds[0], first_wall_s=seconds[1])
        elif turn > WARM_UP_TURNS:
            self.turns.append(seconds)
            self.spent += seconds[1]

    def finish(self) -> Facts:
        """The result; ends the process."""
        if self.turns:
            self.result.update(quartiles_of(self.turns))
        self._stop()
        return self.result

    def _ask(self, question: object, limit: float) -> Facts | None:
        """The answer; None if it is a status, which the result then has."""
        answer: Facts = {"status": f"over {limit:.0f} s"}
        try:
            self.pipe.send(question)
            if self.pipe.poll(limit):
                answer = self.pipe.recv()
        except (EOFError, OSError):
            answer = {"status": f"ended by itself with exit code {self.process.wait()}"}
        if "status" not in answer:
            return answer
        self.result.update(answer)
        self.turns.clear()
        self._stop()
        return None

    def _stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def cores(threads: int) -> list[int]:
    """Those that a program with so many threads may use."""
    return sorted(os.sched_getaffinity(0))[:threads]


@contextmanager
def on_cores(threads: int) -> Iterator[None]:
    """A process that is started in the block has these cores only, its libraries from their first look on."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores(threads))
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def environment(program: Program) -> dict[str, str]:
    """The variables of its process."""
    variables = {**os.environ, "OMP_NUM_THREADS": str(program.threads), "CUDA_VISIBLE_DEVICES": ""}
    variables.pop("PYTHONSAFEPATH", None)  # the server imports what stands beside it
    return variables | program.variables
