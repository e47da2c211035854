"""Results of all ranks from those of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.models.interface import Evaluation
from distmlip.ranks.group import Ranks
from distmlip.records.profile import MeasuredStage, StepCosts

Counters = dict[str, dict[str, int]]


def of_all_ranks(
    ranks: Ranks, mine: list[Evaluation], owned: NDArray[np.int64], counters: Counters
) -> tuple[list[Evaluation], Counters]:
    """The same on every rank: one evaluation per model, and the counters.

    ``mine``: the rows of results are those of the atoms in ``owned``; all else has the whole system's shape,
    and is a sum over this rank's partitions.
    """
    everyone = ranks.gather((owned, [(part.atoms, part.system) for part in mine], counters))
    order = np.concatenate([of_rank[0] for of_rank in everyone])
    total = []
    for index, part in enumerate(mine):
        results = [of_rank[1][index] for of_rank in everyone]
        total.append(
            Evaluation(
                atoms=_in_order([atoms for atoms, _ in results], order),
                system=_sums([system for _, system in results]),
                forces=ranks.sum(part.forces),
                virial=ranks.sum(part.virial),
                virials=None if part.virials is None else ranks.sum(part.virials),
            )
        )
    return total, _sum_of_counters([of_rank[2] for of_rank in everyone])


def costs_of_all_ranks(ranks: Ranks, mine: StepCosts, n_partitions: int) -> StepCosts:
    """What a step took: the slowest rank's, but of an exchange the fastest's, who did not wait in it."""
    first = ranks.first_partitions(n_partitions)
    everyone = ranks.gather(mine)

    def joined_up(of_ranks: Sequence[list[core.Cost]]) -> list[core.Cost]:
        return [cost for rank, costs in enumerate(of_ranks) for cost in costs[first[rank] : first[rank + 1]]]

    stages = [
        MeasuredStage(
            joined_up([of.forward for of in of_ranks]),
            joined_up([of.backward for of in of_ranks]),
            min((of.exchange for of in of_ranks), key=attrgetter("seconds")),
            min((of.exchange_backward for of in of_ranks), key=attrgetter("seconds")),
        )
        for of_ranks in zip(*(costs.stages for costs in everyone), strict=True)
    ]
    total, graph, forces = (
        max(getattr(costs, name) for costs in everyone) for name in ("total", "graph", "forces")
    )
    return StepCosts(total, graph, forces, stages)


def _in_order(
    of_ranks: list[Mapping[str, NDArray[Any]]], order: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Each result with one row per atom; ranks without atoms have none."""
    results = {}
    for name in dict.fromkeys(name for of_rank in of_ranks for name in of_rank):
        rows = np.concatenate([of_rank[name] for of_rank in of_ranks if name in of_rank])
        results[name] = np.empty_like(rows)
        results[name][order] = rows
    return results


def _sums(of_ranks: list[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    sums: dict[str, NDArray[Any]] = {}
    for name, value in (item for of_rank in of_ranks for item in of_rank.items()):
        sums[name] = sums[name] + value if name in sums else value
    return sums


def _sum_of_counters(of_ranks: list[Counters]) -> Counters:
    total: Counters = {}
    for stage, rows in (item for of_rank in of_ranks for item in of_rank.items()):
        of_stage = total.setdefault(stage, {})
        for name, count in rows.items():
            of_stage[name] = of_stage.get(name, 0) + count
    return total
