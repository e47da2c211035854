"""Runs an adapter's stages over partitions: from atoms to energies, forces and virials."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
        self._stages: dict[tuple[int, int], list[Stage]] = {}
        self._decomposition: Any = None
        self._decomposition_is_complete = False
        self._step: Any = None
        self._numbers: NDArray[np.int64] = np.empty(0, np.int64)
        self._local_atoms: list[tuple[torch.Tensor, torch.Tensor]] = []

    @torch.inference_mode(False)  # a caller's would forbid the gradients that forces are
    def evaluate(self, atoms: Atoms, with_virials: bool = True) -> list[Evaluation]:
        """One sweep per model of the adapter, with each atom's virial or without. Fills :attr:`counters`."""
        self._update(atoms)
        graphs = self._local_graphs(self.adapter.system(atoms))
        self.counters = {}
        return [self._sweep(index, graphs, with_virials) for index in range(len(self.adapter.models))]

    @torch.inference_mode(False)  # graph and replicas are kept for evaluate()
    def plan(self, atoms: Atoms) -> Plan:
        """The distribution of these atoms; builds the graph, evaluates nothing."""
        self._update(atoms)
        parts = self._step.parts
        halo = [len(self._decomposition.halo(p)) for p in range(len(parts))]
        cut = [0 if part.cut is None else len(part.cut) for part in parts]
        received = {"halo": halo, "add": cut, "swap": cut, "all_sum": [int(len(parts) > 1)] * len(parts)}
        n_angles = [0 if part.angles is None else len(part.angles) for part in parts]
        itemsize = torch.empty(0, dtype=self.adapter.dtype).element_size()
        exchanges = {}
        for stage in self._stages_of(0, 0):
            for exchange in stage.before:
                row_bytes = math.prod(exchange.width) * itemsize
                exchanges[f"{stage.name}: {exchange.kind} {exchange.name}"] = [
                    n_rows * row_bytes for n_rows in received[exchange.kind]
                ]
        return Plan(
            n_partitions=len(parts),
            method=self._decomposition.method,
            recompute=self.settings.recompute,
            owned=self._step.n_owned,
            halo=halo,
            edges=[len(part.senders) for part in parts],
            bonds=self._step.n_bonds,
            angles=n_angles,
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
            self._local_atoms = [self._atoms_of(p) for p in range(len(self._device_of_partition))]
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
        self._decomposition = decomposition

    def _atoms_of(self, partition: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Index and atomic number of each local row, on the partition's device."""
        local = np.concatenate([self._decomposition.owned(partition), self._decomposition.halo(partition)])
        device = self.settings.devices.devices[self._device_of_partition[partition]]
        return torch.from_numpy(local).to(device), torch.from_numpy(self._numbers[local]).to(device)

    def _local_graphs(self, system: Mapping[str, torch.Tensor]) -> list[LocalGraph]:
        parts, n_owned = self._step.parts, self._step.n_owned
        n_angles_total = sum(len(part.angles) for part in parts if part.angles is not None)
        graphs = []
        for p, part in enumerate(parts):
            bonds = None
            if self.adapter.bond_cutoff is not None:
                bonds = BondGraph(part.edge_bond, part.bond_edge, part.angles, part.cut, n_angles_total)
            device = part.senders.device
            graphs.append(
                LocalGraph(
                    partition=p,
                    n_owned=n_owned[p],
                    atoms=self._local_atoms[p][0],
                    numbers=self._local_atoms[p][1],
                    senders=part.senders,
                    receivers=part.receivers,
                    vectors=part.vectors,
                    bonds=bonds,
                    system={name: tensor.to(device) for name, tensor in system.items()},
                )
            )
        return graphs

    def _stages_of(self, model: int, device: int) -> list[Stage]:
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
        for stage, (partitions, received) in zip(stages[0], out["counts"], strict=True):
            self._count(stage, [graphs[p] for p in partitions], received)
        return Evaluation(
            atoms={name: self._in_order(tensors) for name, tensors in out["results"].items()},
            system={name: tensor.numpy() for name, tensor in out["system_results"].items()},
            forces=out["forces"].numpy(),
            virial=out["virial"].numpy(),
            virials=None if out["virials"] is None else out["virials"].numpy(),
        )

    def _count(self, stage: Stage, graphs: list[LocalGraph], received: Mapping[str, int]) -> None:
        rows = self.counters.setdefault(stage.name, {})
        for kind in stage.computes:
            rows[kind] = rows.get(kind, 0) + sum(_rows(graph, kind) for graph in graphs)
        for name, n_rows in received.items():
            key = f"received {name}"
            rows[key] = rows.get(key, 0) + n_rows

    def _in_order(self, tensors: list[torch.Tensor | None]) -> NDArray[Any]:
        """One row per atom of the user's structure, from the owned rows of every partition."""
        present = {p: tensor for p, tensor in enumerate(tensors) if tensor is not None}
        rows = {p: tensor.to("cpu", torch.float64).numpy() for p, tensor in present.items()}
        result = np.empty((len(self._numbers), *next(iter(rows.values())).shape[1:]))
        for p, values in rows.items():
            result[self._decomposition.owned(p)] = values
        return result


def _rows(graph: LocalGraph, kind: str) -> int:
    if kind == "atoms":
        return graph.n_owned
    if kind == "edges":
        return graph.n_edges
    assert graph.bonds is not None
    return graph.bonds.n_bonds if kind == "bonds" else len(graph.bonds.angles)
