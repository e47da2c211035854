"""With recompute, what cheap stages write is made anew for the way back: never kept, and still the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel, undivided
from torch import Tensor, nn

from distmlip._native import core
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import resolve_devices
from distmlip.models.interface import EagerStage, LocalGraph, Stage, Tensors

CHEAP = ("first layer", "angles")


class Counted(ToyAdapter):
    """The toy model, with a stage behind its layers, so that both of these go back later."""

    def __init__(self, model: ToyModel, cheap: Sequence[str]) -> None:
        super().__init__([model])
        self.cheap = cheap
        self.runs: dict[str, int] = {}

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        *layers, last = super().stages(module, recompute)
        assert isinstance(last, EagerStage)
        inside = last.function

        def second(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
            outputs = inside(graph, vectors, inputs)
            return {**outputs, "of_atoms": outputs["energy"][:, None]}

        def summed(_graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
            return {"energy": inputs["of_atoms"][:, 0]}

        layers.append(replace(last, function=second, writes=("of_atoms",), results=("norm",)))
        end = EagerStage("end", summed, reads=("of_atoms",), results=("energy",))
        counted = [self._counted(stage) for stage in layers if isinstance(stage, EagerStage)]
        return [*counted, end]

    def _counted(self, stage: EagerStage) -> Stage:
        def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
            self.runs[stage.name] = self.runs.get(stage.name, 0) + 1
            return stage.function(graph, vectors, inputs)

        return replace(stage, function=function, is_cheap=stage.name in self.cheap)


def evaluator(adapter: Counted, n_partitions: int, recompute: core.Recompute) -> Evaluator:
    return Evaluator(
        adapter, Settings(resolve_devices("cpu"), n_partitions, "auto", None, recompute, skin=0.5)
    )


@pytest.fixture
def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.15, seed=2)
    return atoms


@pytest.mark.parametrize("recompute", [core.Recompute.never, core.Recompute.stages, core.Recompute.host])
@pytest.mark.parametrize("n_partitions", [1, 3, 40])
@pytest.mark.parametrize("cheap", [(), CHEAP[:1], CHEAP])
def test_what_is_made_anew_is_the_same(
    cheap: Sequence[str], n_partitions: int, recompute: core.Recompute, copper: Atoms
) -> None:
    model = ToyModel()
    expected = undivided(model, copper)
    found = evaluator(Counted(model, cheap), n_partitions, recompute).evaluate(copper)[0]
    assert found.atoms["energy"].sum() == pytest.approx(expected["energy"], rel=1e-12)
    np.testing.assert_allclose(found.forces, expected["forces"], atol=1e-10)
    np.testing.assert_allclose(found.virial, expected["virial"], atol=1e-10)


def test_cheap_stages_run_again_only_with_recompute(copper: Atoms) -> None:
    """Twice for a later stage, once for what crosses partitions and once for what does not; and once more for
    their own way back."""
    for recompute, runs in ((core.Recompute.never, [1, 1, 1]), (core.Recompute.stages, [4, 3, 2])):
        adapter = Counted(ToyModel(), CHEAP)
        evaluator(adapter, 1, recompute).evaluate(copper)
        assert [adapter.runs[name] for name in (*CHEAP, "second layer")] == runs


def test_what_cheap_stages_write_is_not_kept(copper: Atoms) -> None:
    held = {}
    for cheap in ((), CHEAP):
        measuring = evaluator(Counted(ToyModel(), cheap), 3, core.Recompute.stages)
        measuring.measure(copper)
        stages = measuring.measure(copper).stages
        forward = [cost.bytes_left for stage in stages[:-1] for cost in stage.forward]
        held[cheap] = sum(forward) + sum(stage.exchange.bytes_left for stage in stages)
        sizes = measuring.sizes()
    n_features = sum(sizes.owned) + sum(sizes.halo) + sum(sizes.owned)  # exchanged; and as "first"
    assert held[()] - held[CHEAP] >= 8 * (6 * n_features + sum(sizes.bonds))


def test_what_another_stage_has_replaced_is_kept(copper: Atoms) -> None:
    """A cheap stage cannot run again where what it read is gone."""
    model = ToyModel()

    class Replacing(Counted):
        def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
            first, angles, second, end = super().stages(module, recompute)
            doubled = EagerStage(
                "doubled",
                lambda _graph, _vectors, inputs: {"twice": 2 * inputs["features"]},
                reads=("features",),
                writes=("twice",),
                is_cheap=True,
            )
            halved = EagerStage(
                "halved",
                lambda _graph, _vectors, inputs: {"features": inputs["twice"] / 2},
                reads=("twice",),
                writes=("features",),
            )
            return [first, doubled, halved, angles, _with_twice(second), end]

    def _with_twice(stage: Stage) -> Stage:
        assert isinstance(stage, EagerStage)
        inside = stage.function

        def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
            outputs = inside(graph, vectors, inputs)
            return {**outputs, "of_atoms": outputs["of_atoms"] + inputs["twice"].sum(dim=1)[:, None] * 0}

        return replace(stage, function=function, reads=(*stage.reads, "twice"))

    found = evaluator(Replacing(model, ()), 3, core.Recompute.stages).evaluate(copper)[0]
    np.testing.assert_allclose(found.forces, undivided(model, copper)["forces"], atol=1e-10)
