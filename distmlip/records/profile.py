"""Where the time of a step goes, measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from distmlip._native import core
from distmlip.records.plan import Plan, aligned


@dataclass(frozen=True)
class StageProfile:
    """One stage of one model; means over steps. Lists have one entry per partition."""

    name: str
    forward: list[float]
    """s."""
    backward: list[float]
    """s, of what is computed again too. The last stage goes back at once: that is part of its ``forward``."""
    exchange: float
    """s, of what crosses partitions before the stage, for all partitions together."""
    exchange_backward: float
    """s, of its adjoint."""
    bytes_received: list[int]
    """By each partition in the exchanges before the stage; the backward sweep sends as many back."""
    bytes_peak: list[int]
    """The most that the stage allocates at a time on each partition, forward or backward."""


@dataclass(frozen=True)
class Profile:
    """Seconds and bytes of one step, as measured. ``print(profile)`` shows tables."""

    plan: Plan
    devices: list[str]
    """Of each partition."""
    workers: list[int]
    """The worker thread of each partition; one thread runs its partitions one after another."""
    steps: int
    """Over how many steps the seconds are means."""
    total: float
    """s per step, from positions to energies, forces and virials."""
    rebuild: float
    """s for a new neighbour list and cut, when atoms have moved by more than the skin allows. Not in the
    total."""
    graph: float
    """s per step for edges, bonds and angles at the positions of the step."""
    stages: list[StageProfile]
    forces: float
    """s per step from gradients of the edges to forces and virials."""

    @property
    def forward(self) -> float:
        """Seconds per step that the stages take forward: of every stage the worker that takes longest."""
        return sum(max(self._of_workers(stage.forward).values()) for stage in self.stages)

    @property
    def backward(self) -> float:
        """Seconds per step that the stages take backward."""
        return sum(max(self._of_workers(stage.backward).values()) for stage in self.stages)

    @property
    def exchange(self) -> float:
        """Seconds per step, forward and backward."""
        return sum(stage.exchange + stage.exchange_backward for stage in self.stages)

    @property
    def other(self) -> float:
        """Seconds per step: what is left of the total."""
        return self.total - self.graph - self.forward - self.exchange - self.backward - self.forces

    @property
    def wait(self) -> list[float]:
        """Seconds per step that each partition's worker waits for the others, at the ends of stages."""
        waited = dict.fromkeys(self.workers, 0.0)
        for stage in self.stages:
            for direction in (stage.forward, stage.backward):
                busy = self._of_workers(direction)
                for worker, seconds in busy.items():
                    waited[worker] += max(busy.values()) - seconds
        return [waited[worker] for worker in self.workers]

    def _of_workers(self, seconds: Sequence[float]) -> dict[int, float]:
        busy = dict.fromkeys(self.workers, 0.0)
        for worker, of_partition in zip(self.workers, seconds, strict=True):
            busy[worker] += of_partition
        return busy

    def __str__(self) -> str:
        shares = {
            name: getattr(self, name)
            for name in ("graph", "forward", "exchange", "backward", "forces", "other")
        }
        summary = ", ".join(f"{name} {_seconds(seconds)}" for name, seconds in shares.items())
        lines = [
            f"{self.plan.title}: {_seconds(self.total)} per step (mean of {self.steps})",
            f"{summary}; a rebuild takes {_seconds(self.rebuild)}",
            *aligned(["partition", "device", "forward", "backward", "wait", "bytes in"], self._partitions()),
            "",
            *aligned(
                ["stage", "forward", "backward", "exchange", "adjoint", "bytes in", "peak MB"], self._stages()
            ),
        ]
        return "\n".join(lines)

    def _partitions(self) -> list[list[str]]:
        return [
            [
                str(p),
                self.devices[p],
                _seconds(sum(stage.forward[p] for stage in self.stages)),
                _seconds(sum(stage.backward[p] for stage in self.stages)),
                _seconds(wait),
                f"{sum(stage.bytes_received[p] for stage in self.stages):,}",
            ]
            for p, wait in enumerate(self.wait)
        ]

    def _stages(self) -> list[list[str]]:
        return [
            [
                stage.name,
                _seconds(max(self._of_workers(stage.forward).values())),
                _seconds(max(self._of_workers(stage.backward).values())),
                _seconds(stage.exchange),
                _seconds(stage.exchange_backward),
                f"{sum(stage.bytes_received):,}",
                f"{max(stage.bytes_peak) / 1e6:,.1f}",
            ]
            for stage in self.stages
        ]


@dataclass(frozen=True)
class MeasuredStage:
    """What one stage took in one step."""

    forward: list[core.Cost]
    """Of each partition."""
    backward: list[core.Cost]
    exchange: core.Cost
    """Before the stage, of all partitions; and its adjoint:"""
    exchange_backward: core.Cost

    @classmethod
    def of(cls, costs: core.MeasuredStage) -> MeasuredStage:
        """What the core measured, as other ranks can be told of it."""
        return cls(costs.forward, costs.backward, costs.exchange, costs.exchange_backward)


@dataclass(frozen=True)
class StepCosts:
    """What one step took; seconds."""

    total: float
    graph: float
    forces: float
    stages: list[MeasuredStage]
    """Of all stages of all models."""


def profile_of(
    plan: Plan,
    devices: list[str],
    workers: list[int],
    stages: Sequence[tuple[str, list[int]]],
    graph_anew: float,
    steps: Sequence[StepCosts],
) -> Profile:
    """Means over the steps. ``stages``: name and bytes that each partition receives before it.
    ``graph_anew``: seconds for the graph of a step that builds it anew."""
    profiles = []
    for k, (name, received) in enumerate(stages):
        measured = [step.stages[k] for step in steps]
        of_partitions = zip(*(of.forward for of in measured), *(of.backward for of in measured), strict=True)
        profiles.append(
            StageProfile(
                name=name,
                forward=_means([of.forward for of in measured]),
                backward=_means([of.backward for of in measured]),
                exchange=fmean(of.exchange.seconds for of in measured),
                exchange_backward=fmean(of.exchange_backward.seconds for of in measured),
                bytes_received=received,
                bytes_peak=[max(cost.bytes_peak for cost in costs) for costs in of_partitions],
            )
        )
    graph = fmean(step.graph for step in steps)
    return Profile(
        plan=plan,
        devices=devices,
        workers=workers,
        steps=len(steps),
        total=fmean(step.total for step in steps),
        rebuild=max(graph_anew - graph, 0.0),
        graph=graph,
        stages=profiles,
        forces=fmean(step.forces for step in steps),
    )


def _means(steps: Sequence[Sequence[core.Cost]]) -> list[float]:
    """Seconds of each partition."""
    return [fmean(cost.seconds for cost in costs) for costs in zip(*steps, strict=True)]


def _seconds(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} us"
