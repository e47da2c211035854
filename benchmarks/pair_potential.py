"""A cheap potential with the exchange of a model, and clocks that say what its stages take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from ase.calculators.calculator import Calculator

from distmlip.models.interface import Adapter, EagerStage, Halo, LocalGraph, Stage, Tensors

DEPTH, STEEPNESS, DISTANCE = 0.3429, 1.3588, 2.866  # eV, 1/Å, Å: a Morse potential for Cu


@dataclass
class Clock:
    """Calls since it was reset, and seconds spent in them: wall, and CPU of all threads."""

    n_calls: int = 0
    wall: float = 0.0
    cpu: float = 0.0

    def reset(self) -> None:
        """Starts again from zero."""
        self.n_calls, self.wall, self.cpu = 0, 0.0, 0.0

    def time(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """Calls the function."""
        self.n_calls += 1
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


@dataclass(frozen=True)
class TimedStage(EagerStage):
    """A stage whose time, and whose pullback's, goes to a clock."""

    clock: Clock | None = None

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> Any:
        assert self.clock is not None
        outputs, pullback = self.clock.time(super().run, graph, inputs, keep)
        return outputs, lambda gradients: self.clock.time(pullback, gradients)


class PairAdapter(Adapter):
    """A Morse potential that fades to zero at the cutoff; its forces are the executor's to assemble."""

    family: ClassVar[str] = "pair"
    supported_numbers = frozenset(range(1, 119))
    models: Sequence[torch.nn.Module] = (torch.nn.Module(),)
    dtype = torch.float32

    def __init__(self, clock: Clock, width: int, cutoff: float = 5.0) -> None:
        """``width``: numbers of each atom that are exchanged before the potential; 0: none. ``cutoff``: Å."""
        self.clock = clock
        self.width = width
        self.cutoff = cutoff

    def stages(self, module: torch.nn.Module, recompute: bool) -> list[Stage]:  # noqa: ARG002
        if not self.width:
            return [self._stage("pair", self._pair, results=("energy",), computes=("edges",))]
        return [
            self._stage("features", self._features, writes=("features",)),
            self._stage(
                "pair",
                self._pair_and_features,
                before=(Halo("features", (self.width,)),),
                reads=("features",),
                results=("energy",),
                computes=("edges",),
            ),
        ]

    def _stage(self, name: str, compute: Any, **declared: Any) -> TimedStage:
        return TimedStage(name, compute, clock=self.clock, **declared)

    def _features(self, graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:  # noqa: ARG002
        return {"features": vectors[:1].sum() * vectors.new_zeros(graph.n_owned, self.width)}

    def _pair(self, graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:  # noqa: ARG002
        distance = torch.linalg.vector_norm(vectors, dim=1)
        well = torch.exp(-STEEPNESS * (distance - DISTANCE))
        energy = 0.5 * DEPTH * (well * well - 2 * well) * (1 - (distance / self.cutoff) ** 2) ** 2
        return {"energy": vectors.new_zeros(graph.n_owned).index_add(0, graph.receivers, energy)}

    def _pair_and_features(self, graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:
        (energy,) = self._pair(graph, vectors, {}).values()
        return {"energy": energy + inputs["features"].sum() / graph.n_owned}

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        raise NotImplementedError("there is no undivided original")
