"""Stages take subnormal numbers for zero, on all threads; the user's own threads go on as they were."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel
from torch import Tensor, nn

from distmlip import DistCalculator, DistModel
from distmlip.models.interface import EagerStage, LocalGraph, Tensors

MANY = 1_000_000
"""Numbers, so that every one of a few intra-op threads computes some of them."""


def how_many_are_flushed() -> tuple[int, int]:
    """Zeros here among MANY products that are subnormal, and MANY that have a subnormal factor."""
    products = torch.full((MANY,), 1e-20) * 1e-20
    of_subnormal = torch.ones(MANY, dtype=torch.int32).view(torch.float32) * 1e30
    # Bits, because where subnormal numbers are flushed they compare as zero, too.
    return tuple(int((found.view(torch.int32) == 0).sum()) for found in (products, of_subnormal))  # type: ignore[return-value]


NONE, ALL = (0, 0), (MANY, MANY)


class Observed(torch.autograd.Function):
    """Nothing, except that its backward calls a function."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, observe: Callable[[], object]) -> Tensor:
        context.observe = observe
        return tensor.clone()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        context.observe()
        return gradients[0], None


class Observing(ToyAdapter):
    """Every stage calls a function in its forward and in its backward."""

    def __init__(self, observe: Callable[[], object]) -> None:
        super().__init__([ToyModel()])
        self.observe = observe

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[EagerStage]:
        return [self._observed(stage) for stage in super().stages(module, recompute)]

    def _observed(self, stage: Any) -> EagerStage:
        def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
            self.observe()
            return stage.function(graph, Observed.apply(vectors, self.observe), inputs)

        return replace(stage, function=function)


@pytest.fixture
def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * 2
    atoms.rattle(0.05, seed=0)
    return atoms


@pytest.fixture(params=[1, 3])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def flushing_is_as_it_was() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    torch.set_flush_denormal(False)
    assert how_many_are_flushed() == NONE
    yield
    torch.set_flush_denormal(False)


def calculated(adapter: ToyAdapter, atoms: Atoms) -> None:
    DistCalculator(adapter, partitions=2, devices="cpu", recompute=False).get_forces(atoms)


def predicted(adapter: ToyAdapter, atoms: Atoms) -> None:
    DistModel(adapter, partitions=2)(atoms)


def recomputed(adapter: ToyAdapter, atoms: Atoms) -> None:
    DistCalculator(adapter, partitions=2, devices="cpu", recompute=True).get_forces(atoms)


EVALUATIONS = pytest.mark.parametrize("evaluate", [calculated, recomputed, predicted])


@EVALUATIONS
def test_stages_flush_forward_and_backward(evaluate: Any, copper: Atoms, n_threads: int) -> None:
    seen: list[tuple[int, int]] = []
    evaluate(Observing(lambda: seen.append(how_many_are_flushed())), copper)
    assert len(seen) >= 12  # three stages of two partitions, forward and backward
    assert set(seen) == {ALL}
    assert how_many_are_flushed() == NONE


@EVALUATIONS
@pytest.mark.parametrize("number", [1, 9])
def test_the_users_threads_compute_on_after_an_error(
    evaluate: Any, number: int, copper: Atoms, n_threads: int
) -> None:
    calls = []

    def fail() -> None:
        calls.append(0)
        if len(calls) == number:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate(Observing(fail), copper)
    assert how_many_are_flushed() == NONE


@EVALUATIONS
def test_what_the_user_has_set_stays(evaluate: Any, copper: Atoms, n_threads: int) -> None:
    torch.set_flush_denormal(True)  # of this thread; the others of its team were there before
    before = how_many_are_flushed()
    assert before[0] == pytest.approx(MANY / n_threads, abs=1)
    seen: list[tuple[int, int]] = []
    evaluate(Observing(lambda: seen.append(how_many_are_flushed())), copper)
    assert set(seen) == {ALL}
    assert how_many_are_flushed() == before


@EVALUATIONS
def test_a_thread_without_a_team_yet(evaluate: Any, copper: Atoms, n_threads: int) -> None:
    seen: list[tuple[int, int]] = []
    after: list[tuple[int, int]] = []

    def run() -> None:
        torch.set_num_threads(n_threads)
        evaluate(Observing(lambda: seen.append(how_many_are_flushed())), copper)
        after.append(how_many_are_flushed())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert set(seen) == {ALL}
    assert after == [NONE]


@EVALUATIONS
def test_threads_that_join_while_a_stage_runs(evaluate: Any, copper: Atoms, n_threads: int) -> None:
    def observe() -> None:
        torch.set_num_threads(4)
        how_many_are_flushed()

    evaluate(Observing(observe), copper)
    torch.set_num_threads(4)
    assert how_many_are_flushed() == NONE
