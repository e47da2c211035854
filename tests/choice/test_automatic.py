"""What is chosen where the user leaves it open, and what happens when memory runs out."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.choice import automatic, chooser
from distmlip.choice.chooser import Chooser
from distmlip.choice.costs import CostModel, PerKind, StageCost, rows_of
from distmlip.errors import DeviceError, OutOfMemoryError
from distmlip.evaluation.settings import Settings
from distmlip.machine import memory
from distmlip.machine.devices import Devices
from distmlip.models.interface import EagerStage, Stage


class Hungry(ToyAdapter):
    """Memory runs out on partitions with more atoms than ``most``, and wherever the inside is kept."""

    def __init__(self, error: Callable[[], Exception], most: int, where: str = "forward") -> None:
        super().__init__([ToyModel()])
        self.error = error
        self.most = most
        self.where = where
        self.attempts = 0

    def stages(self, module, recompute: bool) -> list[Stage]:
        adapter = self

        class Eating(EagerStage):
            def run(self, graph, inputs, keep):
                too_much = keep or graph.n_owned > adapter.most
                if too_much and adapter.where == "forward":
                    adapter.fail()
                outputs, pullback = super().run(graph, inputs, keep)

                def eating(gradients):
                    if too_much and adapter.where == "backward":
                        adapter.fail()
                    return pullback(gradients)

                return outputs, eating

        first, *others = super().stages(module, recompute)
        return [Eating(**vars(first)), *others]

    def fail(self) -> None:
        self.attempts += 1
        raise self.error()


def allocator_fails() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**56, dtype=torch.uint8)
    return caught.value


def copper(*repeats: int) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (repeats or (3, 2, 2))
    atoms.rattle(0.1, seed=2)
    return atoms


def calculator(adapter: ToyAdapter | None = None, **options) -> DistCalculator:
    return DistCalculator(adapter or ToyAdapter([ToyModel()]), devices="cpu", **options)


def forces(atoms: Atoms, **options) -> np.ndarray:
    return calculator(**options).get_forces(atoms)


ERRORS = {
    "gpu": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": allocator_fails,
    "python": MemoryError,
}


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_what_does_not_fit_is_split_until_it_does(
    error: Callable[[], Exception], where: str, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = copper()
    hungry = calculator(Hungry(error, most=14, where=where))
    with caplog.at_level(logging.WARNING, logger="distmlip"):
        found = hungry.get_forces(atoms)
    np.testing.assert_allclose(found, forces(atoms, partitions=4, recompute=True), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found, forces(atoms, partitions=1), rtol=0, atol=1e-10)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert "with 1 partition, recompute off" in messages[0]
    assert "trying again with 1 partition, recompute on" in messages[0]
    assert "trying again with 2 partitions, recompute on" in messages[1]
    assert "trying again with 4 partitions, recompute on" in messages[2]


def test_what_was_found_to_fit_is_kept() -> None:
    atoms, adapter = copper(), Hungry(MemoryError, most=14)
    hungry = calculator(adapter)
    hungry.get_forces(atoms)
    attempts = adapter.attempts
    atoms.rattle(0.05, seed=7)
    hungry.get_forces(atoms)
    assert adapter.attempts == attempts
    plan = hungry.plan(atoms)
    assert (plan.n_partitions, plan.recompute) == (4, True)
    assert "memory ran out with 2 partitions" in str(plan)


def test_numbers_that_were_given_are_never_changed() -> None:
    adapter = Hungry(MemoryError, most=14)
    fixed = calculator(adapter, partitions=2, recompute=False)
    with pytest.raises(
        OutOfMemoryError, match=r"48 atoms .* 2 partitions, recompute off; use more"
    ) as caught:
        fixed.get_forces(copper())
    assert "recompute=True" in str(caught.value)
    assert adapter.attempts == 1
    with pytest.raises(OutOfMemoryError, match="2 partitions, recompute on") as caught:
        calculator(adapter, partitions=2).get_forces(copper())
    assert "recompute=True" not in str(caught.value)
    with pytest.raises(MemoryError):
        calculator(adapter, partitions=2, recompute=True).get_forces(copper())


def test_it_gives_up_in_the_end_and_can_be_used_again() -> None:
    atoms, adapter = copper(), Hungry(MemoryError, most=-1)
    hungry = calculator(adapter)
    with pytest.raises(OutOfMemoryError, match="use more devices"):
        hungry.get_forces(atoms)
    assert adapter.attempts == automatic.MOST_ATTEMPTS
    adapter.most = 48
    np.testing.assert_allclose(hungry.get_forces(atoms), forces(atoms), rtol=0, atol=1e-10)


def test_a_system_of_one_atom_is_not_split() -> None:
    adapter = Hungry(MemoryError, most=-1)
    with pytest.raises(OutOfMemoryError):
        calculator(adapter).get_forces(bulk("Cu"))
    assert adapter.attempts == 2


def test_other_errors_are_raised_at_once() -> None:
    adapter = Hungry(ZeroDivisionError, most=14)
    with pytest.raises(ZeroDivisionError):
        calculator(adapter).get_forces(copper())
    assert adapter.attempts == 1


def test_a_plan_says_what_was_chosen_and_why() -> None:
    atoms = copper(4, 4, 4)
    plan = calculator().plan(atoms)
    assert plan.n_partitions == 2
    assert "atoms per partition, for the caches" in plan.why
    assert "recompute" in plan.why
    memory = plan.memory["cpu"]
    assert 0 < memory.expected < memory.usable
    assert memory.most_atoms > 10_000
    assert plan.seconds is not None
    assert min(plan.seconds) > 0
    for part in (plan.why, "such atoms would fit", "expected to take"):
        assert part in str(plan)


def test_a_plan_of_given_numbers_says_so() -> None:
    plan = calculator(partitions=3, recompute=True).plan(copper())
    assert (plan.n_partitions, plan.recompute) == (3, True)
    assert "as many partitions as were asked for" in plan.why


def give_memory(monkeypatch: pytest.MonkeyPatch, n_bytes: float, host: float | None = None) -> None:
    """``host``: the memory of the CPU beside a GPU."""
    free = {"cuda": n_bytes, "cpu": n_bytes if host is None else host}
    monkeypatch.setattr(chooser, "available_bytes", lambda device, *_: free[device.type] / memory.USABLE)


def test_recompute_and_more_partitions_are_chosen_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    atoms = copper(4, 4, 4)
    monkeypatch.setattr(chooser, "CHEAP_RECOMPUTE", -1.0)
    much = calculator().plan(atoms)
    assert not much.recompute
    kept, again = (much.memory["cpu"].expected, calculator(recompute=True).plan(atoms).memory["cpu"].expected)
    assert again < 0.9 * kept
    give_memory(monkeypatch, (kept + again) / 2)
    some = calculator().plan(atoms)
    assert (some.n_partitions, some.recompute) == (much.n_partitions, True)
    assert "does not fit" in some.why
    give_memory(monkeypatch, 0.8 * again)
    little = calculator().plan(atoms)
    assert little.n_partitions > some.n_partitions
    assert little.memory["cpu"].expected <= little.memory["cpu"].usable
    assert "fewer do not fit" in little.why
    np.testing.assert_allclose(
        calculator().get_forces(atoms), forces(atoms, partitions=1), rtol=0, atol=1e-10
    )


def test_what_stages_are_given_waits_in_host_memory_where_a_gpu_is_too_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Recompute = core.Recompute
    settings = Settings(Devices((torch.device("cuda:0"),), (0,)), None, "auto", None, Recompute.never, 0.5)
    chooser = Chooser(settings, recompute_is_open=True, conservative=True)
    per_atom = PerKind(owned=1e3)
    stage = StageCost(
        "layer", per_atom, per_atom, PerKind(), per_atom, per_atom, per_atom, per_atom, PerKind()
    )
    costs = CostModel((replace(stage, held=PerKind(owned=1e5)), stage), (stage,) * 6)
    rows = rows_of([10_000], [0], [0], [0])
    choices = {}
    for megabytes in (2000, 100, 30):
        give_memory(monkeypatch, 1e6 * megabytes, host=1e9)
        choices[megabytes] = chooser.better(chooser.first(10_000), costs, rows)
    assert choices[2000].how == (1, Recompute.never)
    assert choices[100].how == (1, Recompute.stages)
    assert choices[30].recompute == Recompute.host
    assert "waits in host memory" in choices[30].why
    give_memory(monkeypatch, 3e7, host=1e8)  # which 6 stages of 10 MB need more of, as torch rounds up
    assert chooser.better(chooser.first(10_000), costs, rows).recompute == Recompute.stages
    assert "recompute from host memory" in str(choices[30])
    after = chooser.after_shortage(choices[100], 10_000)
    assert after is not None
    assert after.how == (1, Recompute.host)
    after = chooser.after_shortage(after, 10_000)
    assert after is not None
    assert after.how == (2, Recompute.host)


def test_what_may_not_fit_is_said_before_it_is_tried(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = copper(7, 7, 6)
    calculator().plan(atoms)
    assert not caplog.records
    give_memory(monkeypatch, 1e5)
    calculator().plan(atoms)
    (record,) = caplog.records
    assert "1176 atoms may not fit into the memory of cpu" in record.message
    assert re.search(r"about [\d.]+ GB are expected, and [\d.e-]+ GB may be used; use", record.message)


def test_only_recompute_is_chosen_where_partitions_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = copper(7, 7, 6)
    give_memory(monkeypatch, 1e6)
    chosen, fixed = calculator(partitions=3), calculator(partitions=3, recompute=False)
    assert (chosen.plan(atoms).n_partitions, chosen.plan(atoms).recompute) == (3, True)
    assert (fixed.plan(atoms).n_partitions, fixed.plan(atoms).recompute) == (3, False)


def test_cheap_recompute_is_chosen_with_partitions_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chooser, "CHEAP_RECOMPUTE", 1.0)
    atoms = copper(4, 4, 4)
    assert calculator().plan(atoms).recompute
    assert "costs only" in calculator().plan(atoms).why
    assert not calculator(partitions=2).plan(atoms).recompute
    assert not calculator(recompute=False).plan(atoms).recompute


def test_stages_are_made_small_enough_for_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = copper(4, 4, 4)
    monkeypatch.setattr(chooser, "STAGE_BYTES_ON_A_CPU", 1e6)
    plan = calculator().plan(atoms)
    assert "MB for a stage" in plan.why
    assert 2 < plan.n_partitions <= len(atoms) / chooser.FEWEST_ATOMS
    monkeypatch.setattr(chooser, "STAGE_BYTES_ON_A_CPU", 1e3)
    assert calculator().plan(atoms).n_partitions == len(atoms) / chooser.FEWEST_ATOMS


def test_a_model_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    measure = automatic.cost_model
    monkeypatch.setattr(automatic, "cost_model", lambda *given: calls.append(1) or measure(*given))
    used = calculator()
    used.get_forces(copper())
    assert calls == []  # too small to ask
    for atoms in (copper(4, 4, 4), copper(5, 4, 4), copper(4, 4, 4)):
        used.get_forces(atoms)
    assert calls == [1]


def test_a_model_that_cannot_be_measured_is_evaluated_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(automatic, "cost_model", lambda *given: 1 / 0)
    atoms = copper(4, 4, 4)
    np.testing.assert_allclose(forces(atoms), forces(atoms, partitions=1), rtol=0, atol=1e-10)
    assert "could not be measured" in caplog.text
    assert calculator().plan(atoms).memory == {}


def test_a_device_that_does_not_say_what_is_free_is_used_without_a_cost_model(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(device: torch.device) -> int:
        raise DeviceError(f"{device} does not say how much of its memory is free")

    monkeypatch.setattr(automatic, "available_bytes", refuse)
    atoms = copper(4, 4, 4)
    np.testing.assert_allclose(forces(atoms), forces(atoms, partitions=1), rtol=0, atol=1e-10)
    assert "cpu does not say" in caplog.text
    assert calculator().plan(atoms).memory == {}
