"""What a model's stages need, by rows of the graph: bytes and seconds, fitted to what small systems took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.choice.cache import Json


class PerKind(NamedTuple):
    """One number for each kind of row that costs are given for."""

    partition: float = 0.0
    """As such, whatever it holds."""
    owned: float = 0.0
    """Owned atom."""
    halo: float = 0.0
    """Halo atom."""
    edge: float = 0.0
    """Directed edge."""
    angle: float = 0.0

    def larger(self, other: PerKind) -> PerKind:
        """Of the two, kind by kind."""
        return PerKind(*map(max, self, other))


EDGE_BYTES = 52
ANGLE_BYTES = 16
"""Of the graph, in float32: indices, vector, gradient and bond of an edge, and candidates for the skin; the
two edges of an angle."""

GRAPH_BYTES = PerKind(edge=EDGE_BYTES, angle=ANGLE_BYTES)

Rows = NDArray[np.float64]
"""(n_partitions, 5): how many of each kind, in the order of :class:`PerKind`; see :func:`column`."""


def rows_of(owned: Sequence[int], halo: Sequence[int], edges: Sequence[int], angles: Sequence[int]) -> Rows:
    """One row per partition."""
    return np.column_stack([np.ones(len(owned)), owned, halo, edges, angles]).astype(np.float64)


def column(rows: Rows, kind: str) -> NDArray[np.float64]:
    """(n_partitions,) rows of one kind, a view."""
    return rows[:, PerKind._fields.index(kind)]


def fitted(rows: Rows, values: Sequence[float]) -> PerKind:
    """The cost of each kind that explains the values of partitions best, none of them below zero."""
    from scipy.optimize import nnls  # takes long to import

    scale = np.maximum(rows.max(axis=0), 1.0)
    costs, _ = nnls(rows / scale, np.maximum(values, 0.0))
    return PerKind(*(costs / scale).tolist())


def signed(rows: Rows, values: Sequence[float]) -> PerKind:
    """The same for values of either sign."""
    more, less = (fitted(rows, (sign * np.array(values)).tolist()) for sign in (1, -1))
    return PerKind(*np.subtract(more, less).tolist())


@dataclass(frozen=True)
class StageCost:
    """One stage on one partition, by rows of its graph."""

    name: str
    crossing: PerKind
    """Bytes of what the exchanges before the stage give it: of the gradients that come back, too."""
    exchanged: PerKind
    """By how many bytes that is more than what they were given, if nobody else needs it any longer."""
    remade: PerKind
    """Bytes of what all partitions make anew, and exchange, before the stage goes back."""
    held: PerKind
    """Bytes that stay until the stage's backward: what it was given and gives, and, unless it is computed
    again, its inside. What it lets go of counts as less than nothing."""
    forward_peak: PerKind
    """Bytes, the most while it runs, what it was given left out."""
    backward_peak: PerKind
    """Bytes, the most while its backward runs, beyond what was held already."""
    forward_seconds: PerKind
    backward_seconds: PerKind

    @property
    def peak(self) -> PerKind:
        """Of the direction that needs more, kind by kind."""
        return self.forward_peak.larger(self.backward_peak)


@dataclass(frozen=True)
class CostModel:
    """The stages of a model, with their inside kept and with it computed again in the backward sweep."""

    kept: tuple[StageCost, ...]
    recomputed: tuple[StageCost, ...]

    def stages(self, recompute: core.Recompute) -> tuple[StageCost, ...]:
        """Those of one way."""
        return self.recomputed if recompute else self.kept

    def peak_bytes(self, rows: Rows, recompute: core.Recompute, at_once: int = 1) -> float:
        """The most that these partitions need at a time on the device that they share. ``at_once``: those
        that run a stage side by side, if there are as many."""
        stages = self.stages(recompute)
        running = at_once if len(rows) >= at_once else 1
        level = float(np.sum(rows @ GRAPH_BYTES))
        peak = level
        for k, stage in enumerate(stages):
            exchanged, held = rows @ stage.exchanged, rows @ stage.held
            own = rows @ stage.forward_peak - np.maximum(held - exchanged, 0)
            peak = max(peak, level + max(exchanged.sum(), held.sum()) + _largest(own, running))
            level += 0.0 if recompute == core.Recompute.host else float(held.sum())
            # Gradients of what the next stage was given have come back by then.
            gradients = float(np.sum(rows @ stages[k + 1].crossing)) if k + 1 < len(stages) else 0.0
            gradients += float(np.sum(rows @ stage.remade))
            peak = max(peak, level + gradients + _largest(rows @ stage.backward_peak, running))
        return float(peak)

    def held_bytes(self, rows: Rows) -> float:
        """That stages which are computed again were given and have given, until their backward."""
        return max(0.0, sum(float(np.sum(rows @ stage.held)) for stage in self.recomputed))

    def stage_bytes(self, rows: Rows, recompute: core.Recompute) -> float:
        """The most that a stage needs for itself on one of these partitions."""
        return max(float(np.max(rows @ stage.peak)) for stage in self.stages(recompute))

    def recompute_share(self, rows: Rows) -> float:
        """What computing the inside of stages again adds to a step, as a share of it. The last stage goes
        back at once and is never computed again."""
        *again, _ = (float(np.sum(rows @ stage.forward_seconds)) for stage in self.kept)
        return sum(again) / max(sum(self.seconds(rows, core.Recompute.never)), 1e-9)

    def seconds(self, rows: Rows, recompute: core.Recompute) -> tuple[float, float]:
        """Forward and backward, one partition after another."""
        stages = self.stages(recompute)
        return (
            sum(float(np.sum(rows @ stage.forward_seconds)) for stage in stages),
            sum(float(np.sum(rows @ stage.backward_seconds)) for stage in stages),
        )

    def to_json(self) -> Json:
        """Plain values, for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Json) -> CostModel:
        """Of what :meth:`to_json` gave.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        ways = [tuple(_stage_cost(stage) for stage in values[way]) for way in ("kept", "recomputed")]
        if not all(ways):
            raise ValueError("a cost model without stages")
        return cls(*ways)


def _largest(values: NDArray[np.float64], n: int) -> float:
    """The sum of the largest ones."""
    return float(np.sort(values)[-n:].sum())


def _stage_cost(values: Json) -> StageCost:
    costs = {
        name: [float(number) for number in numbers] for name, numbers in values.items() if name != "name"
    }
    n_kinds = len(PerKind._fields)
    if any(len(numbers) != n_kinds or not np.all(np.isfinite(numbers)) for numbers in costs.values()):
        raise ValueError(f"costs that are not {n_kinds} finite numbers")
    return StageCost(str(values["name"]), **{name: PerKind(*numbers) for name, numbers in costs.items()})
