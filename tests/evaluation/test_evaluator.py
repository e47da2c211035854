"""The executor with a model of its own: forward and backward sweep, exchanges, workers, errors."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from support.toy import ToyAdapter, ToyModel, undivided
from torch import Tensor, nn

from distmlip._native import core
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import resolve_devices
from distmlip.models.interface import EagerStage, LocalGraph, Stage, Tensors
from distmlip.models.stages import Pullback


def evaluator(
    n_partitions: int | None,
    *,
    adapter: ToyAdapter | None = None,
    devices: Sequence[str] = ("cpu",),
    recompute: bool = False,
    skin: float = 0.5,
) -> Evaluator:
    settings = Settings(resolve_devices(devices), n_partitions, "auto", None, core.Recompute(recompute), skin)
    return Evaluator(adapter or ToyAdapter([ToyModel()]), settings)


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.15, seed=2)
    del atoms[[3, 17]]
    atoms.numbers[::3] = 28
    return atoms


def thin() -> Atoms:
    atoms = bulk("Cu")
    atoms.set_cell(atoms.cell.array + 0.1 * np.arange(9).reshape(3, 3) % 0.37, scale_atoms=True)
    return atoms


def water() -> Atoms:
    return molecule("H2O")


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("n_partitions", [1, 2, 3, 8, 40])
@pytest.mark.parametrize("structure", [copper, thin, water])
def test_energy_forces_and_virial_are_those_of_the_undivided_model(
    structure, n_partitions: int, recompute: bool
) -> None:
    atoms = structure()
    model = ToyModel()
    expected = undivided(model, atoms)
    (result,) = evaluator(n_partitions, adapter=ToyAdapter([model]), recompute=recompute).evaluate(atoms)
    assert result.atoms["energy"].sum() == pytest.approx(expected["energy"], rel=1e-12)
    np.testing.assert_allclose(
        result.forces, expected["forces"], atol=1e-10 * np.abs(expected["forces"]).max()
    )
    np.testing.assert_allclose(
        result.virials.sum(axis=0), expected["virial"], atol=1e-10 * np.abs(expected["virial"]).max()
    )
    np.testing.assert_allclose(result.virials, result.virials.transpose(0, 2, 1), atol=1e-14)


class Watched:
    """A stage that says where the tensors are that it gets and gives, forward and back."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.given: dict[str, int] = {}
        self.got: dict[str, int] = {}
        self.gradients_given: dict[str, int] = {}
        self.gradients_got: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stage, name)

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        outputs, pullback = self.stage.run(graph, inputs, keep)
        self.got |= {name: tensor.data_ptr() for name, tensor in inputs.items()}
        self.given |= {name: tensor.data_ptr() for name, tensor in outputs.items()}

        def watched(output_gradients: Tensors) -> tuple[Tensors, Tensor | None]:
            self.gradients_got |= {name: tensor.data_ptr() for name, tensor in output_gradients.items()}
            gradients, vectors = pullback(output_gradients)
            self.gradients_given |= {name: tensor.data_ptr() for name, tensor in gradients.items()}
            return gradients, vectors

        return outputs, watched


def test_one_partition_copies_nothing() -> None:
    """All exchanges of the second layer, and their adjoints."""

    class Adapter(ToyAdapter):
        def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
            self.watched = [Watched(stage) for stage in super().stages(module, recompute)]
            return self.watched

    adapter = Adapter([ToyModel()])
    evaluator(1, adapter=adapter).evaluate(copper())
    first, angles, second = adapter.watched
    for name in ("features", "sum", "cut_opinions"):
        assert second.got[name] == first.given[name]
        assert first.gradients_got[name] == second.gradients_given[name]
    assert second.got["bond_total"] == angles.given["bond_total"] != 0
    assert angles.gradients_got["bond_total"] == second.gradients_given["bond_total"]


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), n_partitions=st.integers(1, 6), shift=st.floats(-30, 30))
def test_random_structures(seed: int, n_partitions: int, shift: float) -> None:
    random = np.random.default_rng(seed)
    cell = 3.0 * np.eye(3) + random.uniform(-1, 1.5, (3, 3))
    n_atoms = int(random.integers(1, 7))
    atoms = Atoms(
        numbers=random.integers(1, 90, n_atoms),
        scaled_positions=random.uniform(-1, 2, (n_atoms, 3)),
        cell=cell,
        pbc=random.integers(0, 2, 3).astype(bool),
    )
    expected = undivided(ToyModel(), atoms)
    atoms.translate([shift, 0, 0])
    (result,) = evaluator(n_partitions).evaluate(atoms)
    scale = max(1.0, np.abs(expected["forces"]).max())
    np.testing.assert_allclose(result.forces, expected["forces"], atol=1e-9 * scale)
    np.testing.assert_allclose(result.virials.sum(axis=0), expected["virial"], atol=1e-9 * scale)


def test_results_come_in_the_order_of_the_atoms() -> None:
    atoms = copper()
    order = np.random.default_rng(0).permutation(len(atoms))
    (plain,) = evaluator(3).evaluate(atoms)
    (shuffled,) = evaluator(3).evaluate(atoms[order])
    for name in ("energy", "norm"):
        np.testing.assert_allclose(shuffled.atoms[name], plain.atoms[name][order], rtol=1e-11)
    np.testing.assert_allclose(shuffled.forces, plain.forces[order], atol=1e-10)
    np.testing.assert_allclose(shuffled.system["total"], plain.system["total"], rtol=1e-11)


def test_two_workers_agree_with_one() -> None:
    atoms = copper()
    (one,) = evaluator(5).evaluate(atoms)
    (two,) = evaluator(5, devices=["cpu", "cpu"]).evaluate(atoms)
    np.testing.assert_array_equal(one.forces, two.forces)


def test_skin_and_history_change_nothing() -> None:
    atoms = copper()
    used = evaluator(3, skin=0.6)
    used.evaluate(atoms)
    atoms.rattle(0.05, seed=5)
    (reused,) = used.evaluate(atoms)
    (fresh,) = evaluator(3, skin=0.0).evaluate(atoms)
    np.testing.assert_allclose(reused.forces, fresh.forces, atol=1e-11)
    atoms.numbers[0] = 47
    (reused,) = used.evaluate(atoms)
    (fresh,) = evaluator(3, skin=0.0).evaluate(atoms)
    np.testing.assert_allclose(reused.forces, fresh.forces, atol=1e-11)


@pytest.mark.parametrize("n_partitions", [1, 4])
def test_what_waits_in_host_memory_changes_nothing(n_partitions: int) -> None:
    atoms, adapter = copper(), ToyAdapter([ToyModel()])
    devices = resolve_devices("cpu")
    results = [
        Evaluator(adapter, Settings(devices, n_partitions, "auto", None, recompute, 0.5)).evaluate(atoms)[0]
        for recompute in (core.Recompute.stages, core.Recompute.host)
    ]
    for kept, spilled in zip(*(vars(result).values() for result in results), strict=True):
        np.testing.assert_equal(spilled, kept)


@pytest.mark.parametrize("n_partitions", [1, 3, 50])
@pytest.mark.parametrize("recompute", [False, True])
def test_counters_equal_the_plan_and_do_not_depend_on_partitions(n_partitions: int, recompute: bool) -> None:
    atoms = copper()
    used = evaluator(n_partitions, recompute=recompute)
    plan = used.plan(atoms)
    used.evaluate(atoms)
    whole = evaluator(1).plan(atoms)
    assert sum(plan.owned) == len(atoms)
    assert sum(plan.edges) == sum(whole.edges)
    assert sum(plan.angles) == sum(whole.angles)
    counters = used.counters
    assert counters["first layer"] == {"atoms": len(atoms), "edges": sum(whole.edges)}
    assert counters["angles"] == {"angles": sum(whole.angles)}
    received = counters["second layer"]["received features"]
    assert received == sum(plan.halo)
    planned = {(of.stage, of.kind, of.name): sum(of.n_bytes) for of in plan.exchanges}
    assert planned["second layer", "halo", "features"] == 8 * 6 * received
    assert planned["second layer", "add", "bond_total"] == 8 * counters["second layer"]["received bond_total"]
    assert str(n_partitions) in str(plan)
    assert str(plan).isascii()


class Breaking(ToyAdapter):
    """Fails in one stage on one partition, until told otherwise."""

    def __init__(self, where: str) -> None:
        super().__init__([ToyModel()])
        self.where = where
        self.broken = True

    def stages(self, module: torch.nn.Module, recompute: bool) -> list[Stage]:
        first, *others = super().stages(module, recompute)
        return [_failing(first, self), *others]


def _failing(stage: Stage, adapter: Breaking) -> Stage:
    class Failing(EagerStage):
        def run(self, graph, inputs, keep):
            if adapter.broken and adapter.where == "forward" and graph.partition == 1:
                raise ZeroDivisionError("a stage went wrong")
            outputs, pullback = super().run(graph, inputs, keep)

            def failing(gradients):
                if adapter.broken and adapter.where == "backward" and graph.partition == 1:
                    raise ZeroDivisionError("a pullback went wrong")
                return pullback(gradients)

            return outputs, failing

    return Failing(**vars(stage))


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu", "cpu"]])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_error_names_stage_and_partition_and_leaves_everything_usable(
    where: str, devices: list[str]
) -> None:
    adapter = Breaking(where)
    used = evaluator(3, adapter=adapter, devices=devices)
    with pytest.raises(ZeroDivisionError, match="went wrong") as caught:
        used.evaluate(copper())
    assert caught.value.__notes__ == [f"in the {where} of stage 'first layer' on partition 1 (cpu)"]
    adapter.broken = False
    (result,) = used.evaluate(copper())
    np.testing.assert_array_equal(result.forces, evaluator(3).evaluate(copper())[0].forces)


def test_workers_that_fail_together_are_all_named() -> None:
    class AllBreaking(Breaking):
        def stages(self, module: torch.nn.Module, recompute: bool) -> list[Stage]:
            def fail(graph, vectors, inputs):
                barrier.wait(60)
                raise ArithmeticError(f"partition {graph.partition} went wrong")

            return [
                EagerStage(**{**vars(stage), "function": fail}) for stage in super().stages(module, recompute)
            ]

    barrier = threading.Barrier(2)
    with pytest.raises(ArithmeticError, match="partition 0 went wrong") as caught:
        evaluator(2, adapter=AllBreaking("nowhere"), devices=["cpu", "cpu"]).evaluate(copper())
    where = "in the forward of stage 'first layer' on partition"
    assert caught.value.__notes__ == [
        f"{where} 0 (cpu)",
        f"and {where} 1 (cpu): ArithmeticError: partition 1 went wrong",
    ]


def test_evaluators_in_threads_do_not_disturb_each_other() -> None:
    structures = [copper(), thin(), water(), copper() * (2, 1, 1)]
    expected = [evaluator(2).evaluate(atoms)[0].forces for atoms in structures]
    found: list[list[np.ndarray]] = [[] for _ in structures]

    def work(k: int) -> None:
        mine = evaluator(2)
        found[k].extend(mine.evaluate(structures[k])[0].forces for _ in range(5))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(structures))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for results, forces in zip(found, expected, strict=True):
        assert len(results) == 5
        for result in results:
            np.testing.assert_array_equal(result, forces)


def test_a_forked_child_can_calculate() -> None:
    """The parent's worker threads do not exist in the child: it must start its own, not wait for them."""
    expected = evaluator(2).evaluate(copper())[0].forces
    pid = os.fork()
    if pid == 0:
        same = np.array_equal(evaluator(2).evaluate(copper())[0].forces, expected)
        os._exit(0 if same else 1)
    waiter = threading.Timer(60, os.kill, (pid, signal.SIGKILL))
    waiter.start()
    _, status = os.waitpid(pid, 0)
    waiter.cancel()
    assert os.waitstatus_to_exitcode(status) == 0


def test_an_interrupt_ends_the_sweep() -> None:
    class Interrupting(ToyAdapter):
        def stages(self, module, recompute):
            first, *others = super().stages(module, recompute)

            def function(graph, vectors, inputs):
                signal.raise_signal(signal.SIGINT)
                return first.function(graph, vectors, inputs)

            return [EagerStage(**{**vars(first), "function": function}), *others]

    with pytest.raises(KeyboardInterrupt):
        evaluator(2, adapter=Interrupting([ToyModel()])).evaluate(copper())


def test_without_any_edge_forces_are_zero() -> None:
    (result,) = evaluator(4).evaluate(Atoms("Cu", positions=[[1.0, 2.0, 3.0]]))
    assert np.isfinite(result.atoms["energy"]).all()
    np.testing.assert_array_equal(result.forces, np.zeros((1, 3)))


def test_partitions_are_chosen_by_size_on_a_cpu() -> None:
    small, large = copper(), copper() * (3, 3, 1)
    used = evaluator(None)
    assert used.plan(small).n_partitions == 1
    assert used.plan(large).n_partitions > 1


def test_a_failure_while_the_graph_is_replaced_leaves_no_old_one_behind() -> None:
    used, other = evaluator(3), copper()
    used.evaluate(other)
    other.positions = other.positions[::-1].copy()

    def failing(work: Callable[[], int]) -> int:
        work()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        used.graphs.native.at(other.positions, other.cell.array, other.pbc, other.numbers, failing)
    np.testing.assert_array_equal(used.evaluate(other)[0].forces, evaluator(3).evaluate(other)[0].forces)
