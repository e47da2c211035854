"""Runs an adapter's stages over partitions: from atoms to energies, forces and virials."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.memory import limit_kept_pages
from distmlip.models.checks import checked
from distmlip.models.interface import Adapter, BondGraph, Evaluation, LocalGraph, Stage
from distmlip.models.stages import Sizes, bytes_received
from distmlip.plan import Plan
from distmlip.profiling import StepCosts
from distmlip.rank_results import costs_of_all_ranks, joined, of_all_ranks
from distmlip.settings import Settings

if TYPE_CHECKING:
    from ase import Atoms

T = TypeVar("T")


class Evaluator:
    """One adapter on given devices. Keeps replicas of the models, and the graph while it stays valid."""

    def __init__(self, adapter: Adapter, settings: Settings) -> None:
        limit_kept_pages()
        self.adapter = adapter
        self.settings = settings
        self.counters: dict[str, dict[str, int]] = {}
        self._stages: dict[tuple[int, int], Sequence[Stage]] = {}
        self._decomposition: Any = None
        self._decomposition_is_complete = False
        self._step: Any = None
        self._numbers: NDArray[np.int64] = np.empty(0, np.int64)
        self._local_numbers: list[torch.Tensor] = []
        self._owned: NDArray[np.int64] = np.empty(0, np.int64)  # atoms of all partitions, one after another

    def evaluate(self, atoms: Atoms, with_virials: bool = True) -> list[Evaluation]:
        """One sweep per model of the adapter, with each atom's virial or without. Fills :attr:`counters`."""
        ranks = self.settings.ranks
        with self._together("an evaluation"):
            graphs = self.graphs(atoms)
            self.counters = {}
            sweeps = (self._sweep(model, graphs, with_virials) for model in range(len(self.adapter.models)))
            found = [self._evaluation(sweep) for sweep in sweeps]
            if ranks is None:
                return found
            total, self.counters = of_all_ranks(ranks, found, self._owned, self.counters)
            return total

    def measure(self, atoms: Atoms) -> StepCosts:
        """What evaluating these atoms takes. On GPUs every piece of work is waited for."""
        ranks = self.settings.ranks
        with self._together("a profile"):
            start = time.perf_counter()
            graphs = self.graphs(atoms)
            self.settings.devices.synchronize()
            graph, stages, forces = time.perf_counter() - start, [], 0.0
            for model in range(len(self.adapter.models)):
                sweep = self._sweep(model, graphs, with_virials=True, measured=True)
                self._evaluation(sweep)
                stages += sweep["costs"]
                forces += sweep["forces_seconds"]
            mine = StepCosts(time.perf_counter() - start, graph, forces, stages)
            return costs_of_all_ranks(ranks, mine, len(self._device_of_partition)) if ranks else mine

    def redistribute(self, partitions: int, recompute: bool, spill: bool = False) -> None:
        """From now on so many partitions, with this recompute and spill (:class:`Settings`)."""
        if recompute != self.settings.recompute:
            self._stages.clear()
        self.settings = replace(self.settings, partitions=partitions, recompute=recompute, spill=spill)
        self.forget()

    def forget(self) -> None:
        """Drop the graph; the next call builds a new one."""
        self._decomposition_is_complete = False
        self._step = self._decomposition = None
        self._local_numbers = []

    def graphs(self, atoms: Atoms) -> list[LocalGraph]:
        """The local graph of every partition. Brings :attr:`step` to these atoms."""
        self._update(atoms)
        return self._local_graphs(self.adapter.system(atoms))

    @property
    def step(self) -> Any:
        """The core's graphs and routes of the last atoms."""
        return self._step

    @property
    def device_of_partition(self) -> list[int]:
        """Index of each partition's device."""
        return list(self._device_of_partition)

    def plan(self, atoms: Atoms) -> Plan:
        """The distribution of these atoms; builds the graph, evaluates nothing."""
        with self._together("a plan"):
            return self._plan(atoms)

    def _plan(self, atoms: Atoms) -> Plan:
        self._update(atoms)
        sizes = self.sizes()
        return Plan(
            n_partitions=len(self._device_of_partition),
            method=self._decomposition.method,
            recompute=self.settings.recompute,
            spill=self.settings.spill,
            owned=sizes.owned,
            halo=sizes.halo,
            edges=sizes.edges,
            bonds=sizes.bonds,
            angles=sizes.angles,
            bytes_per_exchange=bytes_received(self.stages(), sizes, self.adapter.dtype),
        )

    def _together(self, what: str) -> AbstractContextManager[None]:
        return self.settings.ranks.together(what) if self.settings.ranks else nullcontext()

    def sizes(self) -> Sizes:
        """Of the graph of each partition, on whatever rank, at the last atoms."""
        step = self._step
        halo = [len(rows) - n for rows, n in zip(step.local_atoms, step.n_owned, strict=True)]
        sizes = [step.n_owned, halo, step.n_edges, step.n_bonds, step.n_angles, step.n_cut]
        if self.settings.ranks is None:
            return Sizes(*sizes)
        total = self.settings.ranks.sum(np.array(sizes, np.float64))  # others' are zero
        return Sizes(*total.astype(int).tolist())

    def _update(self, atoms: Atoms) -> None:
        positions = np.ascontiguousarray(atoms.positions, dtype=np.float64)
        cell, pbc = np.asarray(atoms.cell.array, np.float64), np.asarray(atoms.pbc, bool)
        numbers = np.asarray(atoms.numbers, np.int64)
        valid = self._decomposition_is_complete and self._decomposition.still_valid(positions, cell, pbc)
        if not valid:
            self._rebuild(positions, cell, pbc)
        if not valid or not np.array_equal(numbers, self._numbers):
            self._decomposition_is_complete = False
            self._numbers = numbers.copy()
            self._local_numbers = self._numbers_of_local_rows()
            self._decomposition_is_complete = True
        if self.adapter.bond_cutoff is None:
            self._step.update(positions, cell)
        else:  # there may be too many angles, in any partition
            self._agreed(lambda: self._step.update(positions, cell))

    def _agreed(self, work: Callable[[], T]) -> T:
        """Done by all ranks or by none."""
        return self.settings.ranks.agree(work) if self.settings.ranks else work()

    def _rebuild(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> None:
        settings, ranks = self.settings, self.settings.ranks
        n_partitions = settings.n_partitions(len(positions))
        first = ranks.first_partitions(n_partitions) if ranks else [0, n_partitions]
        self._here = range(*(first[ranks.rank : ranks.rank + 2] if ranks else first))
        self._decomposition_is_complete = False  # until all that follows from it is there, too
        self._step = self._decomposition = None  # the new one may use the memory of the old one
        decomposition = self._agreed(
            lambda: core.Decomposition(
                positions,
                cell,
                pbc,
                cutoff=self.adapter.cutoff,
                bond_cutoff=self.adapter.bond_cutoff or 0.0,
                skin=settings.skin,
                n_partitions=n_partitions,
                method=settings.method,
                weights=settings.weights,
                n_threads=torch.get_num_threads(),
                here=(self._here.start, self._here.stop),
            )
        )
        self._device_of_partition = settings.devices.of_partitions(n_partitions)
        devices = [settings.devices.devices[d] for d in self._device_of_partition]
        self._step = core.Step(
            decomposition,
            devices,
            self.adapter.dtype,
            ranks=ranks.core if ranks else None,
            first_partitions=first[:-1],
        )
        self._owned = np.concatenate([decomposition.owned(p) for p in self._here])
        self._decomposition = decomposition

    def _numbers_of_local_rows(self) -> list[torch.Tensor]:
        """Atomic number of each local row, on the partition's device."""
        numbers = torch.from_numpy(self._numbers)
        on_device = {device: numbers.to(device) for device in self.settings.devices.devices}
        return [on_device[rows.device].index_select(0, rows) for rows in self._step.local_atoms]

    def _local_graphs(self, system: Mapping[str, torch.Tensor]) -> list[LocalGraph]:
        step = self._step
        has_bonds = self.adapter.bond_cutoff is not None
        n_angles_total = sum(step.n_angles)
        if has_bonds and self.settings.ranks:
            n_angles_total = sum(self.settings.ranks.gather(n_angles_total))
        on_device = [
            {name: tensor.to(device) for name, tensor in system.items()}
            for device in self.settings.devices.devices
        ]
        rows = zip(
            step.n_owned, step.local_atoms, self._local_numbers, self._device_of_partition, strict=True
        )
        return [
            LocalGraph(
                partition=p,
                n_owned=n_owned,
                atoms=atoms,
                numbers=numbers,
                senders=part.senders,
                receivers=part.receivers,
                vectors=part.vectors,
                bonds=BondGraph(part.edge_bond, part.bond_edge, part.angles, part.cut, n_angles_total)
                if has_bonds
                else None,
                system=on_device[device],
            )
            for p, (part, (n_owned, atoms, numbers, device)) in enumerate(zip(step.parts, rows, strict=True))
        ]

    def stages(self) -> Sequence[Stage]:
        """Those of the first model."""
        return self._stages_of(0, 0)

    def _stages_of(self, model: int, device: int) -> Sequence[Stage]:
        if (model, device) not in self._stages:
            replica = self.adapter.replicate(model, self.settings.devices.devices[device])
            self._stages[model, device] = checked(
                self.adapter.stages(replica, self.settings.recompute),
                has_bonds=self.adapter.bond_cutoff is not None,
                conservative=self.adapter.conservative,
            )
        return self._stages[model, device]

    def _sweep(self, model: int, graphs: list[LocalGraph], with_virials: bool, measured: bool = False) -> Any:
        """What the core gives: results, gradients' sums, counts, and if it was measured its costs."""
        stages = [self._stages_of(model, device) for device in self._device_of_partition]
        slots = [self.settings.devices.slots[device] for device in self._device_of_partition]
        sweep = core.sweep(
            self._step,
            stages,
            graphs,
            slots,
            self.adapter.dtype,
            keep=not self.settings.recompute,
            spill=self.settings.spill,
            backward=self.adapter.conservative,
            with_virials=with_virials,
            measured=measured,
        )
        self._count(stages[0], sweep["counts"])
        return sweep

    def _evaluation(self, sweep: Any) -> Evaluation:
        order = self._owned if self.settings.ranks is None else None
        return Evaluation(
            atoms={name: joined(tensors, order) for name, tensors in sweep["results"].items()},
            system={name: tensor.numpy() for name, tensor in sweep["system_results"].items()},
            forces=sweep["forces"].numpy(),
            virial=sweep["virial"].numpy(),
            virials=None if sweep["virials"] is None else sweep["virials"].numpy(),
        )

    def _count(self, stages: Sequence[Stage], counts: list[tuple[list[int], Mapping[str, int]]]) -> None:
        """``counts``: for each stage the partitions on which it ran, and what was exchanged before it."""
        step = self._step
        sizes = {"atoms": step.n_owned, "edges": step.n_edges, "bonds": step.n_bonds, "angles": step.n_angles}
        rows_of = {kind: np.array(rows) for kind, rows in sizes.items()}
        for stage, (partitions, received) in zip(stages, counts, strict=True):
            ran = np.array(partitions, dtype=np.int64)
            computed = {kind: int(rows_of[kind][ran].sum()) for kind in stage.computes}
            exchanged = {f"received {name}": n_rows for name, n_rows in received.items()}
            rows = self.counters.setdefault(stage.name, {})
            for name, n_rows in (computed | exchanged).items():
                rows[name] = rows.get(name, 0) + n_rows
