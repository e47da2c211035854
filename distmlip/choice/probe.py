"""Measures what the stages of a model need, on two small clusters of atoms."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from importlib import metadata
from operator import attrgetter
from typing import NamedTuple

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.choice import cache
from distmlip.choice.costs import CostModel, Rows, StageCost, fitted, rows_of, signed
from distmlip.errors import type_name
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import Devices, name_of
from distmlip.models.exchanges import Sizes
from distmlip.models.interface import Adapter, Stage
from distmlip.models.native import NativeChoice
from distmlip.records.profile import MeasuredStage

COSTS = cache.Shelf("costs", CostModel.to_json, CostModel.from_json)
"""Cost models on disk."""

CLUSTERS = ((2.6, 48, 2), (3.7, 64, 4))
"""Å to the nearest neighbour, atoms, partitions. Only the first has many angles; sizes and partitions differ,
so that what depends on atoms, on halos, on edges and on nothing can be told apart."""
REPEATS = 3


def cost_model(
    adapter: Adapter, device: torch.device, slot: int, atoms: Atoms, native: NativeChoice | None = None
) -> CostModel:
    """From the cache, else measured and kept there. ``atoms`` say which elements the clusters have, and the
    quantities besides positions that the model reads; ``native``: which native stages are measured."""
    key = fingerprint(adapter, device, native)
    known = COSTS.load(key)
    if known is None:
        known = probe(adapter, Devices((device,), (slot,)), atoms, native)
        COSTS.save(key, known)
    return known


def probe(adapter: Adapter, devices: Devices, atoms: Atoms, native: NativeChoice | None = None) -> CostModel:
    """Measure the model's stages on a device."""
    never, stages = core.Recompute.never, core.Recompute.stages
    kept, recomputed = (
        _stage_costs(adapter, devices, atoms, recompute, native) for recompute in (never, stages)
    )
    return CostModel(kept, recomputed)


def fingerprint(adapter: Adapter, device: torch.device, native: NativeChoice | None = None) -> cache.Key:
    """What costs depend on."""
    model = adapter.models[0]
    tensors = [*model.named_parameters(), *model.named_buffers()]
    on_cpu = device.type == "cpu"
    return {
        "model": f"{adapter.family} {type_name(model)}",
        "tensors": [f"{name} {tuple(tensor.shape)} {tensor.dtype}" for name, tensor in tensors],
        "cutoffs": [adapter.cutoff, adapter.bond_cutoff],
        "dtype": str(adapter.dtype),
        "device": name_of(device),
        "threads": torch.get_num_threads() if on_cpu else 0,
        "kernels": "original" if native is None else str(native.table or "exact"),
        "simd": core.simd(),
        "versions": versions(model),
    }


def cluster(atoms: Atoms, spacing: float, n_atoms: int) -> Atoms:
    """``n_atoms`` of these atoms, spread over the list, in a ball of a slightly shaken fcc lattice."""
    chosen = atoms[np.arange(n_atoms) * len(atoms) // n_atoms]
    edge = 2 * math.ceil((n_atoms / 4) ** (1 / 3)) + 1
    lattice = bulk("Cu", "fcc", a=math.sqrt(2) * spacing, cubic=True) * (edge, edge, edge)
    positions = lattice.positions - lattice.positions.mean(axis=0)
    nearest = np.argsort(np.linalg.norm(positions, axis=1), kind="stable")[:n_atoms]
    chosen.set_constraint()
    chosen.positions = positions[nearest] + np.random.default_rng(0).uniform(-0.05, 0.05, (n_atoms, 3))
    chosen.cell[:] = 0
    chosen.pbc = False
    return chosen


def _stage_costs(
    adapter: Adapter,
    devices: Devices,
    atoms: Atoms,
    recompute: core.Recompute,
    native: NativeChoice | None,
) -> tuple[StageCost, ...]:
    evaluator = Evaluator(
        adapter,
        Settings(devices, partitions=None, method="slab", weights=None, recompute=recompute, skin=0.0),
    )
    evaluator.use(native)
    rows: list[Rows] = []
    exchanged: list[list[Exchanged]] = []
    costs: list[list[tuple[list[core.Cost], list[core.Cost]]]] = []
    for spacing, n_atoms, n_partitions in CLUSTERS:
        small = cluster(atoms, spacing, n_atoms)
        evaluator.redistribute(n_partitions, recompute)
        evaluator.measure(small)  # what happens only once is no cost of a step
        repeats = [evaluator.measure(small).stages for _ in range(REPEATS)]
        costs.append(_fastest(repeats))
        sizes = evaluator.sizes()
        rows.append(rows_of(sizes.owned, sizes.halo, sizes.edges, sizes.angles))
        stages = evaluator.stages()
        exchanged.append(
            [
                _exchanged(stages, k, sizes, adapter.dtype, measured.exchange.bytes_left)
                for k, measured in enumerate(repeats[0])
            ]
        )
    every = np.concatenate(rows)
    return tuple(
        _stage_cost(
            stage.name,
            every,
            Exchanged(*map(np.concatenate, zip(*(of_cluster[k] for of_cluster in exchanged), strict=True))),
            [cost for of_cluster in costs for cost in of_cluster[k][0]],
            [cost for of_cluster in costs for cost in of_cluster[k][1]],
        )
        for k, stage in enumerate(evaluator.stages())
    )


def _fastest(
    repeats: Sequence[Sequence[MeasuredStage]],
) -> list[tuple[list[core.Cost], list[core.Cost]]]:
    """Forward and backward of each stage and partition: what was least disturbed by other work."""

    def fastest(costs: Sequence[list[core.Cost]]) -> list[core.Cost]:
        return [min(of_partition, key=attrgetter("seconds")) for of_partition in zip(*costs, strict=True)]

    return [
        (fastest([of.forward for of in of_stage]), fastest([of.backward for of in of_stage]))
        for of_stage in zip(*repeats, strict=True)
    ]


def _stage_cost(
    name: str, rows: Rows, exchanged: Exchanged, forward: list[core.Cost], backward: list[core.Cost]
) -> StageCost:
    left = [cost.bytes_left for cost in forward]
    return StageCost(
        name=name,
        crossing=fitted(rows, exchanged.crossing.tolist()),
        exchanged=fitted(rows, exchanged.more.tolist()),
        remade=fitted(rows, exchanged.remade.tolist()),
        held=signed(rows, np.add(exchanged.more, left).tolist()),
        forward_peak=fitted(rows, [cost.bytes_peak for cost in forward]),
        backward_peak=fitted(rows, [cost.bytes_peak for cost in backward]),
        forward_seconds=fitted(rows, [cost.seconds for cost in forward]),
        backward_seconds=fitted(rows, [cost.seconds for cost in backward]),
    )


class Exchanged(NamedTuple):
    """Bytes of what crosses partitions before a stage, of each partition; see :class:`StageCost`."""

    crossing: NDArray[np.float64]
    more: NDArray[np.float64]
    remade: NDArray[np.float64]


def _exchanged(stages: Sequence[Stage], k: int, sizes: Sizes, dtype: torch.dtype, n_more: int) -> Exchanged:
    """``n_more``: bytes that there were more behind the exchanges than before them, in all partitions."""
    crossing, given, remade = (np.zeros(len(sizes.owned)) for _ in range(3))
    for exchange in stages[k].before:
        made = exchange.bytes_of(exchange.made(sizes), dtype)
        crossing += made
        given += exchange.bytes_of(exchange.given(sizes), dtype)
        writer = next(stage for stage in reversed(stages[:k]) if exchange.name in stage.writes)
        remade += made if writer.is_cheap else np.zeros(len(made))
    freed = np.clip((crossing.sum() - n_more) / max(given.sum(), 1), 0, 1)
    return Exchanged(crossing, np.maximum(crossing - freed * given, 0), remade)


def versions(model: torch.nn.Module) -> list[str]:
    """Of everything that computes."""
    package = type(model).__module__.partition(".")[0]
    return [sys.version, torch.__version__, _version("distmlip"), _version(package)]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a model of the user's own
        return str(getattr(sys.modules.get(package), "__version__", ""))
