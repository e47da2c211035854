"""Runs an adapter's stages over partitions: from atoms to energies, forces and virials."""

from __future__ import annotations

import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from distmlip._native import core
from distmlip.evaluation.graphs import Graphs
from distmlip.evaluation.own_atoms import OwnAtoms, sample_of
from distmlip.evaluation.settings import Settings
from distmlip.machine.memory import release_kept_pages
from distmlip.models.checks import CheckedStage, checked
from distmlip.models.exchanges import Sizes
from distmlip.models.interface import Adapter, Evaluation, LocalGraph, Stage
from distmlip.models.native import NativeChoice, Weights
from distmlip.models.quiet import quiet
from distmlip.models.stages import received
from distmlip.ranks.results import Counters, costs_of_all_ranks, of_all_ranks
from distmlip.records.plan import Plan
from distmlip.records.profile import MeasuredStage, StepCosts

if TYPE_CHECKING:
    from ase import Atoms


class Evaluator:
    """One adapter on given devices. Keeps replicas of the models, and the graph while it stays valid."""

    def __init__(self, adapter: Adapter, settings: Settings) -> None:
        self.adapter = adapter
        self.settings = settings
        self.graphs = Graphs(adapter, settings)
        self.counters: Counters = {}
        self.native: NativeChoice | None = None
        """Which native stages are used; None: the model's own modules."""
        self._packed: Weights | None = None
        self._stages: dict[tuple[int, int], Sequence[CheckedStage]] = {}
        self._specs: dict[int, core.StageSpecs] = {}
        # What its steps have used again and again is for others, once there are no more of them.
        weakref.finalize(self, release_kept_pages).atexit = False

    def evaluate(
        self,
        atoms: Atoms | OwnAtoms,
        with_virials: bool = True,
        system: Mapping[str, Tensor] | None = None,
    ) -> list[Evaluation]:
        """One sweep per model of the adapter, with each atom's virial or without. Fills :attr:`counters`.

        Of a rank's own atoms: what holds for these, and its share of sums and of :attr:`counters`.

        ``system``: what the adapter says of these atoms, where it has been asked already.
        """
        ranks = self.settings.ranks
        with self._at_work("an evaluation"):
            graphs = self._graphs(atoms, system)
            self.counters = {}
            found = [
                _evaluation(self._sweep(model, graphs, with_virials))
                for model in range(len(self.adapter.models))
            ]
            if isinstance(atoms, OwnAtoms):
                return [replace(of, share=len(atoms.atoms) / len(atoms)) for of in found]
            if ranks is None:
                return found
            total, self.counters = of_all_ranks(ranks, found, self.graphs.native.owned, self.counters)
            return total

    def measure(self, atoms: Atoms) -> StepCosts:
        """What evaluating these atoms takes. On GPUs every piece of work is waited for."""
        ranks = self.settings.ranks
        with self._at_work("a profile"):
            start = time.perf_counter()
            graphs = self._graphs(atoms)
            self.settings.devices.synchronize()
            graph, forces = time.perf_counter() - start, 0.0
            stages: list[MeasuredStage] = []
            for model in range(len(self.adapter.models)):
                found = self._sweep(model, graphs, with_virials=True, measured=True)
                _evaluation(found)
                stages += map(MeasuredStage.of, found.costs)
                forces += found.forces_seconds
            mine = StepCosts(time.perf_counter() - start, graph, forces, stages)
            return costs_of_all_ranks(ranks, mine, len(graphs)) if ranks else mine

    def redistribute(self, partitions: int, recompute: core.Recompute) -> None:
        """From now on so many partitions, with this recompute."""
        if bool(recompute) != bool(self.settings.recompute):
            self._stages.clear()
        self.settings = replace(self.settings, partitions=partitions, recompute=recompute)
        self.graphs = Graphs(self.adapter, self.settings)

    def use(self, choice: NativeChoice | None) -> None:
        """From now on these native stages; None: the model's own modules."""
        if choice == self.native:
            return
        self.native = choice
        self._packed = None if choice is None else Weights(self.adapter.models)
        self._stages.clear()

    @property
    def chosen(self) -> dict[str, Any]:
        """How the last atoms were distributed and evaluated, in words of the calculator's options."""
        recompute = {core.Recompute.never: False, core.Recompute.stages: True}
        kernels = {"kernels": "original"}
        if self.native is not None:
            kernels = {"kernels": "fused", "radial": "exact" if self.native.table is None else "table"}
        return {
            "partitions": self.graphs.native.n_partitions,
            "method": self.graphs.native.method,
            "recompute": recompute.get(self.settings.recompute, "host"),
            **kernels,
        }

    @property
    def is_stale(self) -> bool:
        """Whether weights of the user's models were changed in place after native stages had taken their
        values; the model's own modules share storage with them, where dtype and device agree."""
        return self._packed is not None and self._packed.changed()

    def forget(self) -> None:
        """Drop the graph; the next call builds a new one."""
        self.graphs.forget()

    def _graphs(
        self, atoms: Atoms | OwnAtoms, system: Mapping[str, Tensor] | None = None
    ) -> list[LocalGraph]:
        return self.graphs.at(atoms, self.adapter.system(sample_of(atoms)) if system is None else system)

    def plan(self, atoms: Atoms | OwnAtoms) -> Plan:
        """The distribution of these atoms; builds the graph, evaluates nothing."""
        with self._at_work("a plan"):
            return self._plan(atoms)

    def _plan(self, atoms: Atoms | OwnAtoms) -> Plan:
        self.graphs.update(atoms)
        sizes = self.sizes()
        return Plan(
            n_partitions=self.graphs.native.n_partitions,
            method=self.graphs.native.method,
            recompute=self.settings.recompute,
            owned=sizes.owned,
            halo=sizes.halo,
            edges=sizes.edges,
            bonds=sizes.bonds,
            angles=sizes.angles,
            exchanges=received(self.stages(), sizes, self.adapter.dtype),
        )

    @contextmanager
    def _at_work(self, what: str) -> Iterator[None]:
        """All ranks together, each on its devices' default streams, whatever the caller's are."""
        together = self.settings.ranks.together(what) if self.settings.ranks else nullcontext()
        with core.DefaultStreams(self.settings.devices.devices), together:
            yield

    def sizes(self) -> Sizes:
        """Of the graph of each partition, on whatever rank, at the last atoms."""
        step = self.graphs.native.step
        halo = [len(rows) - n for rows, n in zip(step.local_atoms, step.n_owned, strict=True)]
        sizes = [step.n_owned, halo, step.n_edges, step.n_bonds, step.n_angles, step.n_cut, step.n_read]
        if self.settings.ranks is None:
            return Sizes(*sizes)
        total = self.settings.ranks.sum(np.array(sizes, np.float64))  # others' are zero
        return Sizes(*total.astype(int).tolist())

    def stages(self) -> Sequence[Stage]:
        """Those of the first model."""
        return self._stages_of(0, 0)

    def _stages_of(self, model: int, device: int) -> Sequence[CheckedStage]:
        if (model, device) not in self._stages:
            where = self.settings.devices.devices[device]
            with core.DefaultStreams([where]):  # what names no device is made here, too
                stages = checked(
                    self._unchecked(model, where),
                    has_bonds=self.adapter.bond_cutoff is not None,
                    conservative=self.adapter.conservative,
                )
            self._stages[model, device], self._specs[model] = stages, core.StageSpecs(stages)
        return self._stages[model, device]

    def _unchecked(self, model: int, where: torch.device) -> Sequence[Stage]:
        recompute = bool(self.settings.recompute)
        with quiet():
            if self.native is not None:
                return self.adapter.native_stages(model, self.native, recompute)
            return self.adapter.stages(self.adapter.replicate(model, where), recompute)

    def _sweep(
        self, model: int, graphs: list[LocalGraph], with_virials: bool, measured: bool = False
    ) -> core.Evaluation:
        devices = self.graphs.device_of_partition
        stages = [self._stages_of(model, device) for device in devices]
        found = core.evaluate(
            self.graphs.native,
            self._specs[model],
            stages,
            graphs,
            [self.settings.devices.slots[device] for device in devices],
            recompute=self.settings.recompute,
            backward=self.adapter.conservative,
            with_virials=with_virials,
            measured=measured,
        )
        for stage, rows in zip(stages[0], found.rows, strict=True):
            exchanged = {f"received {name}": n_rows for name, n_rows in rows.received.items()}
            total = self.counters.setdefault(stage.name, {})
            for name, n_rows in (rows.computed | exchanged).items():
                total[name] = total.get(name, 0) + n_rows
        return found


def _evaluation(found: core.Evaluation) -> Evaluation:
    return Evaluation(
        atoms={name: tensor.numpy() for name, tensor in found.results.items()},
        system={name: tensor.numpy() for name, tensor in found.system_results.items()},
        forces=found.forces.numpy(),
        virial=found.virial.numpy(),
        virials=None if found.virials is None else found.virials.numpy(),
    )
