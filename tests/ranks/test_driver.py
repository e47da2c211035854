"""What rank 0 sends, and whose atoms count, with ranks that only write it down; processes: test_launch.py."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms
from support.toy import ToyAdapter, ToyModel

from distmlip.errors import InvalidInputError
from distmlip.ranks.agreement import Call
from distmlip.ranks.driver import Driver, Message, Sharing, Task, agreed_atoms, without_constraints


class Recorded:
    """Ranks that keep what this one broadcasts, and make of it with ``instead`` what rank 0 has sent."""

    size, is_this_process, abandoned = 2, True, False

    def __init__(self, rank: int = 0, instead: Callable[[Any], Any] = lambda mine: mine) -> None:
        self.rank = rank
        self.sent: list[Any] = []
        self.calls: list[str] = []
        self.work = nullcontext()
        self._instead = instead

    def turn(self) -> Any:
        return nullcontext()

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        self.calls.append(what)
        yield

    def broadcast(self, value: Any) -> Any:
        self.sent.append(value)
        return self._instead(value)

    def begin_call(self, what: str) -> None:
        self.calls.append(what)

    def agree(self, work: Callable[[], Any]) -> Any:
        return work()

    def next_number(self) -> int:
        return 5


class Thing:
    """A calculator, as far as a driver is concerned."""


def copper() -> Atoms:
    return bulk("Cu", cubic=True)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(Recorded())
    monkeypatch.setattr(Driver, "active", driver)
    return driver


def sharing(ranks: Recorded, calculator: object) -> Sharing:
    return Sharing(calculator, ranks, ToyAdapter([ToyModel()]), ("the model", {"partitions": 2}))


def test_calculators_are_numbered_and_the_next_message_says_which_are_gone(driver: Driver) -> None:
    first, second = Thing(), Thing()
    assert [driver.make(thing, ("arguments",)) for thing in (first, second)] == [0, 1]
    del first
    gc.collect()
    driver.send(Task.PLAN, 1, "content")
    driver.send(Task.PLAN, 1)
    assert driver.ranks.sent == [
        Message(Task.MAKE, 0, ("arguments",)),
        Message(Task.MAKE, 1, ("arguments",)),
        Message(Task.PLAN, 1, "content", dropped=(0,)),
        Message(Task.PLAN, 1),
    ]
    assert driver.ranks.calls[-1] == "a plan"


@pytest.mark.parametrize(
    ("abandoned", "is_this_process", "sent"),
    [(False, True, [Message(Task.END)]), (True, True, []), (False, False, [])],
)
def test_the_end_is_told_by_the_script_itself_to_ranks_that_listen(
    driver: Driver, abandoned: bool, is_this_process: bool, sent: list[Message]
) -> None:
    driver.ranks.abandoned, driver.ranks.is_this_process = abandoned, is_this_process
    driver._end()
    assert Driver.active is None
    assert driver.ranks.sent == sent


def test_a_driven_calculator_is_made_once_and_then_sends_its_atoms(driver: Driver) -> None:
    thing, atoms = Thing(), copper()
    atoms.set_constraint(FixAtoms([0]))
    shared = sharing(driver.ranks, thing)
    assert driver.ranks.sent == []
    assert shared.share(atoms, Task.EVALUATE, True) is atoms
    assert shared.share(atoms, Task.PROFILE, 3) is atoms
    made, evaluated, profiled = driver.ranks.sent
    assert made == Message(Task.MAKE, 0, ("the model", {"partitions": 2}))
    assert (evaluated.task, evaluated.calculator, evaluated.content[1:]) == (Task.EVALUATE, 0, (True,))
    assert (profiled.task, profiled.calculator, profiled.content[1:]) == (Task.PROFILE, 0, (3,))
    assert evaluated.content[0] == copper()
    assert not evaluated.content[0].constraints


def test_what_is_sent_is_a_copy() -> None:
    atoms = copper()
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["charge"] = 2
    copy = without_constraints(atoms)
    assert copy.info == {"charge": 2}
    copy.positions += 1
    assert len(atoms.constraints) == 1
    np.testing.assert_array_equal(atoms.positions, copper().positions)


def moved(distance: float) -> Callable[[Call], Call]:
    """Rank 0 has sent the same call, of atoms elsewhere."""

    def instead(mine: Call) -> Call:
        atoms = mine.atoms.copy()
        atoms.positions[0, 0] += distance
        return replace(mine, atoms=atoms)

    return instead


def test_where_every_rank_runs_the_script_rank_0s_atoms_count() -> None:
    ranks = Recorded(rank=1, instead=moved(1e-9))
    atoms, apart = agreed_atoms(ranks, ToyAdapter([ToyModel()]), copper(), (Task.PLAN, 0, (), "digest"))
    assert apart == pytest.approx(1e-9)
    assert atoms.positions[0, 0] == 1e-9
    assert ranks.calls == ["a plan"]
    with pytest.raises(InvalidInputError, match=r"differ by 0.01 Ang .* on rank 1 than on rank 0"):
        agreed_atoms(
            Recorded(1, moved(0.01)), ToyAdapter([ToyModel()]), copper(), (Task.PLAN, 0, (), "digest")
        )


def test_models_are_compared_once_and_then_drift_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    ranks, thing = Recorded(rank=1), Thing()
    shared = sharing(ranks, thing)
    shared.share(copper(), Task.EVALUATE, False)
    ranks._instead = moved(0.1)
    for _ in range(2):
        assert shared.share(copper(), Task.EVALUATE, False).positions[0, 0] == 0.1
    first, second, _ = ranks.sent
    assert (first.number, second.number) == (5, 5)
    assert first.model
    assert not second.model
    (warning,) = caplog.messages
    assert "have drifted 0.1 Ang apart" in warning
    ranks._instead = moved(0.3)
    with pytest.raises(InvalidInputError, match=r"differ by 0.3 Ang"):
        shared.share(copper(), Task.EVALUATE, False)
