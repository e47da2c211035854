"""Runs an adapter's stages over partitions: from atoms to energies, forces and virials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.devices import Devices
from distmlip.models.checks import checked
from distmlip.models.interface import Adapter, BondGraph, Evaluation, LocalGraph, Stage
from distmlip.plan import Plan

if TYPE_CHECKING:
    from ase import Atoms

ATOMS_PER_CPU_PARTITION = 128
"""For ``partitions="auto"`` on a CPU: small partitions stay in the caches (measured, see the README)."""


@dataclass(frozen=True)
class Settings:
    """How to distribute: the options of :class:`distmlip.DistCalculator`, checked."""

    devices: Devices
    partitions: int | None
    """None: chosen from the number of atoms and devices."""
    method: str
    weights: NDArray[np.float64] | None
    recompute: bool
    skin: float

    def n_partitions(self, n_atoms: int) -> int:
        if self.partitions is not None:
            return self.partitions
        if not self.devices.on_cpu:
            return len(self.devices)
        return max(len(self.devices), math.ceil(n_atoms / ATOMS_PER_CPU_PARTITION))


class Evaluator:
    """One adapter on given devices. Keeps replicas of the models, and the graph while it stays valid."""

    def __init__(self, adapter: Adapter, settings: Settings) -> None:
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

    @torch.inference_mode(False)  # a caller's would forbid the gradients that forces are
    def evaluate(self, atoms: Atoms, with_virials: bool = True) -> list[Evaluation]:
        """One sweep per model of the adapter, with each atom's virial or without. Fills :attr:`counters`."""
        graphs = self.graphs(atoms)
        self.counters = {}
        return [self._sweep(index, graphs, with_virials) for index in range(len(self.adapter.models))]

    def graphs(self, atoms: Atoms) -> list[LocalGraph]:
        """The local graph of every partition. Brings :attr:`step` to these atoms."""
        self._update(atoms)
        return self._local_graphs(self.adapter.system(atoms))

    @property
    def step(self) -> Any:
        """The core's graphs and exchange plans of the last atoms."""
        return self._step

    @property
    def device_of_partition(self) -> list[int]:
        """Index of each partition's device."""
        return list(self._device_of_partition)

    @torch.inference_mode(False)  # graph and replicas are kept for evaluate()
    def plan(self, atoms: Atoms) -> Plan:
        """The distribution of these atoms; builds the graph, evaluates nothing."""
        self._update(atoms)
        step, n_partitions = self._step, len(self._device_of_partition)
        halo = [len(rows) - n_owned for rows, n_owned in zip(step.local_atoms, step.n_owned, strict=True)]
        all_sum = [int(n_partitions > 1)] * n_partitions
        received = {"halo": halo, "add": step.n_cut, "swap": step.n_cut, "all_sum": all_sum}
        itemsize = torch.empty(0, dtype=self.adapter.dtype).element_size()
        exchanges = {}
        for stage in self._stages_of(0, 0):
            for exchange in stage.before:
                row_bytes = math.prod(exchange.width) * itemsize
                exchanges[f"{stage.name}: {exchange.kind} {exchange.name}"] = [
                    n_rows * row_bytes for n_rows in received[exchange.kind]
                ]
        return Plan(
            n_partitions=n_partitions,
            method=self._decomposition.method,
            recompute=self.settings.recompute,
            owned=step.n_owned,
            halo=halo,
            edges=step.n_edges,
            bonds=step.n_bonds,
            angles=step.n_angles,
            bytes_per_exchange=exchanges,
        )

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
        self._step.update(positions, cell)

    def _rebuild(
        self, positions: NDArray[np.float64], cell: NDArray[np.float64], pbc: NDArray[np.bool_]
    ) -> None:
        settings = self.settings
        n_partitions = settings.n_partitions(len(positions))
        self._decomposition_is_complete = False  # until all that follows from it is there, too
        self._step = self._decomposition = None  # the new one may use the memory of the old one
        decomposition = core.Decomposition(
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
        )
        self._device_of_partition = settings.devices.of_partitions(n_partitions)
        devices = [settings.devices.devices[d] for d in self._device_of_partition]
        self._step = core.Step(decomposition, devices, self.adapter.dtype)
        self._owned = np.concatenate([decomposition.owned(p) for p in range(n_partitions)])
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

    def _stages_of(self, model: int, device: int) -> Sequence[Stage]:
        if (model, device) not in self._stages:
            replica = self.adapter.replicate(model, self.settings.devices.devices[device])
            self._stages[model, device] = checked(
                self.adapter.stages(replica, self.settings.recompute),
                has_bonds=self.adapter.bond_cutoff is not None,
                conservative=self.adapter.conservative,
            )
        return self._stages[model, device]

    def _sweep(self, model: int, graphs: list[LocalGraph], with_virials: bool) -> Evaluation:
        stages = [self._stages_of(model, device) for device in self._device_of_partition]
        slots = [self.settings.devices.slots[device] for device in self._device_of_partition]
        out = core.sweep(
            self._step,
            stages,
            graphs,
            slots,
            self.adapter.dtype,
            keep=not self.settings.recompute,
            backward=self.adapter.conservative,
            with_virials=with_virials,
        )
        self._count(stages[0], out["counts"])
        return Evaluation(
            atoms={name: self._in_order(tensors) for name, tensors in out["results"].items()},
            system={name: tensor.numpy() for name, tensor in out["system_results"].items()},
            forces=out["forces"].numpy(),
            virial=out["virial"].numpy(),
            virials=None if out["virials"] is None else out["virials"].numpy(),
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

    def _in_order(self, tensors: list[torch.Tensor | None]) -> NDArray[Any]:
        """One row per atom of the user's structure, from the owned rows of every partition."""
        of_atoms = torch.cat([tensor.to("cpu") for tensor in tensors if tensor is not None])
        rows = of_atoms.to(torch.float64).numpy()
        result = np.empty_like(rows)
        result[self._owned] = rows
        return result
