"""How the atoms of a calculator reach the other ranks.

In driver mode rank 0 runs the user's script and says what the other ranks have to do. Every message is a
broadcast: a task, the number of the calculator that it is for, and what it needs. The other side is in
:mod:`distmlip.commands.launch`. Where every rank runs the script, rank 0's atoms count and those of the
others are compared with them.
"""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from distmlip.errors import InvalidInputError
from distmlip.inputs import checked_atoms
from distmlip.ranks.agreement import DRIFT, SAME, Call, Content, complaint, digest_of, distance
from distmlip.ranks.group import OneAtATime, Ranks

if TYPE_CHECKING:
    from ase import Atoms

    from distmlip.models.interface import Adapter

log = logging.getLogger(__name__)


class Task(Enum):
    """What ranks do together."""

    MAKE = "making a calculator"
    EVALUATE = "an evaluation"
    PLAN = "a plan"
    PROFILE = "a profile"
    PREDICT = "a prediction"
    END = "the end of the script"


@dataclass(frozen=True)
class Message:
    """From rank 0 to the others."""

    task: Task
    calculator: int = -1
    content: Content = ()
    dropped: tuple[int, ...] = ()
    """Calculators that the script no longer has."""


class Driver:
    """Sends messages. While one is active, the calculators of this process belong to it."""

    active: Driver | None = None

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._n_made = 0
        self._dropped: list[int] = []

    def begin(self) -> None:
        """From now on; until the script's threads and what it registered with atexit have ended."""
        Driver.active = self
        atexit.register(self._end)

    def _end(self) -> None:
        Driver.active = None
        # A forked child of the script that ends here is not the script.
        if self.ranks.is_this_process and not self.ranks.abandoned:
            self.send(Task.END)

    def make(self, calculator: object, arguments: Content) -> int:
        """Have all ranks make this calculator; returns its number. The model travels as a pickle."""
        with self.ranks.turn():
            number = self._n_made
            self._n_made += 1
            self.send(Task.MAKE, number, arguments)
        # Objects die at any time, also in the middle of a message: this goes with the next one.
        weakref.finalize(calculator, self._dropped.append, number).atexit = False
        return number

    def send(self, task: Task, calculator: int = -1, content: Content = ()) -> None:
        """Every rank receives this; then they do it together."""
        with self.ranks.together(task.value):
            dropped, self._dropped[:] = tuple(self._dropped), []
            self.ranks.broadcast(Message(task, calculator, content, dropped))


def _forked() -> None:
    Driver.active = None  # the script's; a child of it calculates by itself


os.register_at_fork(after_in_child=_forked)


class Sharing:
    """How the atoms of one calculator reach the other ranks: as messages of the driver; or, where every rank
    runs the script, from rank 0 whenever all of them calculate. Nothing is sent before that."""

    def __init__(self, calculator: object, ranks: Ranks | None, adapter: Adapter, arguments: Content) -> None:
        """``arguments``: that the calculator was made from."""
        self._calculator = weakref.ref(calculator)
        self._ranks = ranks
        self._adapter = adapter
        self._arguments = arguments
        self._driver = Driver.active if ranks is not None else None
        self._number = -1
        self._has_shared = self._has_warned = False
        self.work = OneAtATime() if ranks is None else ranks.work

    def turn(self) -> AbstractContextManager[object]:
        """Held while all ranks do one thing together: threads of this process take turns."""
        return nullcontext() if self._ranks is None else self._ranks.turn()

    def share(self, atoms: Atoms, task: Task, *content: Any) -> Atoms:
        """What all ranks do this task with: rank 0's atoms. Its :meth:`turn` must be held until it is done.

        Raises:
            InvalidInputError: these are no atoms; or ranks that each run the script have different ones.
        """
        atoms = checked_atoms(atoms)
        if self._ranks is None:
            return atoms
        if self._driver is not None:
            if self._number < 0:
                self._number = self._driver.make(self._calculator(), self._arguments)
            self._driver.send(task, self._number, (without_constraints(atoms), *content))
            return atoms
        with self._ranks.together("sharing the atoms"):
            shared = self._agreed(self._ranks, atoms, task, content)
        self._has_shared = True
        return shared

    def _agreed(self, ranks: Ranks, atoms: Atoms, task: Task, content: Content) -> Atoms:
        if self._number < 0:
            self._number = ranks.next_number()
        model = "" if self._has_shared else digest_of(self._adapter.models, self._arguments[1])
        tolerance = DRIFT if self._has_shared else SAME
        what = task, self._number, content, model
        shared, apart = agreed_atoms(ranks, self._adapter, atoms, what, tolerance)
        if apart > SAME and not self._has_warned:
            self._has_warned = True
            log.warning(
                "positions or cell of rank %d and rank 0 have drifted %.2g Ang apart, those of rank 0 count; "
                "if it comes from random numbers, give them the same seed on all ranks, or use distmlip run: "
                "more than %g Ang are an error",
                ranks.rank,
                apart,
                DRIFT,
            )
        return shared


def agreed_atoms(
    ranks: Ranks,
    adapter: Adapter,
    atoms: Atoms,
    what: tuple[Task, int, Content, str],
    tolerance: float = SAME,
) -> tuple[Atoms, float]:
    """Rank 0's atoms, where every rank has come with atoms of its own, and how far apart these are (Å).

    ``what``: the task, the number of the calculator, further arguments, and the digest of the model, which
    have to be the same everywhere; as have the atoms, but for ``tolerance`` (Å) in positions and cell.

    Raises:
        InvalidInputError: on all ranks, if something differs on one of them.
    """
    task, number, content, model = what
    ranks.begin_call(task.value)
    problem, system = None, {}
    try:
        system = adapter.system(atoms)
    except InvalidInputError as error:
        problem = str(error)
    mine = Call(task.value, number, content, model, without_constraints(atoms), system)
    first: Call = ranks.broadcast(mine)

    def compare() -> None:
        found = problem or complaint(ranks.rank, mine, first, tolerance)
        if found is not None:
            raise InvalidInputError(found)

    ranks.agree(compare)
    return first.atoms, distance(mine.atoms, first.atoms)


def without_constraints(atoms: Atoms) -> Atoms:
    """A copy of what a calculator needs of atoms."""
    copy = atoms.copy()
    copy.set_constraint()
    return copy
