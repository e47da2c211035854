"""Driver mode, rank 0's side: the user's script runs here, and says what the other ranks have to do.

Every message is a broadcast: a task, the number of the calculator that it is for, and what it needs. The
other side is in :mod:`distmlip.launch`.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from distmlip.options import checked_atoms
from distmlip.ranks import Ranks, without_constraints

if TYPE_CHECKING:
    from ase import Atoms


class Task(Enum):
    """What ranks do together."""

    MAKE = "make a calculator"
    EVALUATE = "an evaluation"
    PLAN = "a plan"
    PROFILE = "a profile"
    END = "the end of the script"


@dataclass(frozen=True)
class Message:
    """From rank 0 to the others."""

    task: Task
    calculator: int = -1
    content: Any = None
    dropped: tuple[int, ...] = ()
    """Calculators that the script no longer has."""


class Driver:
    """Sends messages. While one is active, the calculators of this process belong to it."""

    active: Driver | None = None

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._n_made = 0
        self._dropped: list[int] = []

    def __enter__(self) -> Driver:
        Driver.active = self
        return self

    def __exit__(self, *_: object) -> None:
        Driver.active = None
        if not self.ranks.abandoned:
            self.send(Task.END)

    def make(self, calculator: object, arguments: tuple[Any, ...]) -> int:
        """Have all ranks make this calculator; returns its number. The model travels as a pickle."""
        number = self._n_made
        self._n_made += 1
        self.send(Task.MAKE, number, arguments)
        # Objects die at any time, also in the middle of a message: this goes with the next one.
        weakref.finalize(calculator, self._dropped.append, number).atexit = False
        return number

    def send(self, task: Task, calculator: int = -1, content: Any = None) -> None:
        """Every rank receives this; then they do it together."""
        dropped, self._dropped[:] = tuple(self._dropped), []
        with self.ranks.together(task.value):
            self.ranks.broadcast(Message(task, calculator, content, dropped))


class Sharing:
    """How the atoms of one calculator reach the other ranks: as messages of the driver; or, where every rank
    runs the script, from rank 0 whenever all of them calculate."""

    def __init__(self, calculator: object, ranks: Ranks | None, arguments: tuple[Any, ...]) -> None:
        """``arguments``: that the calculator was made from."""
        self._ranks = ranks
        self._driver = Driver.active if ranks is not None else None
        self._number = self._driver.make(calculator, arguments) if self._driver else -1

    def atoms(self, atoms: Atoms, task: Task, *content: Any) -> Atoms:
        """What all ranks do this task with: rank 0's atoms.

        Raises:
            InvalidInputError: it is something else than an ``ase.Atoms``.
        """
        atoms = checked_atoms(atoms)
        if self._driver is not None:
            self._driver.send(task, self._number, (without_constraints(atoms), *content))
            return atoms
        if self._ranks is None:
            return atoms
        with self._ranks.together("sharing the atoms"):
            return self._ranks.atoms_of_first(atoms)
