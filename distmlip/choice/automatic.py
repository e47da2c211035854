"""An evaluator that fits itself to the system: it chooses, and splits further when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from distmlip._native import core
from distmlip.choice.chooser import Choice, Chooser, what_suits_all
from distmlip.choice.costs import CostModel, Rows, rows_of
from distmlip.choice.kernels import Kernels
from distmlip.choice.probe import cost_model
from distmlip.errors import DeviceError, OutOfMemoryError
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.own_atoms import OwnAtoms, sample_of
from distmlip.machine.memory import (
    available_bytes,
    is_out_of_memory,
    release_kept_pages,
    release_unused,
)
from distmlip.models.interface import Evaluation
from distmlip.records.plan import Plan
from distmlip.records.profile import Profile, profile_of

if TYPE_CHECKING:
    from ase import Atoms

MEASURED_ABOVE = 2000
"""Atoms per device: with fewer any model fits, and nothing has to be known of it. On a CPU, with the model's
own modules, it is one partition's atoms."""
MEASURED_ABOVE_IF_GIVEN = 1000
"""The same where the number of partitions is given."""
MOST_CHOICES = 4
"""Each choice is looked at again with the graph that it leads to."""
MOST_ATTEMPTS = 6
"""Before it gives up because memory ran out."""

log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Shortage:
    """Memory ran out."""

    message: str


class Automatic:
    """Runs an evaluator with the partitions and the recompute that suit the system."""

    def __init__(self, evaluator: Evaluator, recompute_is_open: bool) -> None:
        self.evaluator = evaluator
        self._ranks = evaluator.settings.ranks
        self._kernels = Kernels(evaluator)
        self._chooser = Chooser(evaluator.settings, recompute_is_open, evaluator.adapter.conservative)
        self._choice = Choice(0, core.Recompute.never)  # for no atoms at all
        self._n_atoms = 0
        self._costs: CostModel | None = None
        self._is_measured = False

    def evaluate(
        self, atoms: Atoms | OwnAtoms, with_virials: bool, system: Mapping[str, Tensor]
    ) -> list[Evaluation]:
        """See :meth:`Evaluator.evaluate`."""
        return self._in_memory(atoms, lambda: self.evaluator.evaluate(atoms, with_virials, system))

    def plan(self, atoms: Atoms | OwnAtoms) -> Plan:
        """See :meth:`Evaluator.plan`; with what was chosen, why, and the memory that is expected."""
        plan = self._in_memory(atoms, lambda: self.evaluator.plan(atoms))
        plan = replace(plan, why=self._choice.why, kernels=self._kernels.in_words)
        costs = self._cost_model(atoms, least=0)
        if costs is None:
            return plan
        rows = _rows(plan)
        release_kept_pages()  # they would count as used
        memory = self._chooser.memory(costs, rows, plan.recompute)
        seconds = costs.seconds(self._chooser.rows_here(rows), plan.recompute)
        if self._ranks is not None:
            everyone = self._ranks.gather((memory, seconds))
            memory = {
                f"rank {rank}, {device}": of_device
                for rank, (of_rank, _) in enumerate(everyone)
                for device, of_device in of_rank.items()
            }
            seconds = max((of_rank for _, of_rank in everyone), key=sum)
        return replace(plan, memory=memory, seconds=seconds)

    def profile(self, atoms: Atoms, steps: int) -> Profile:
        """Evaluate the atoms a few times and measure what that takes."""
        return self._in_memory(atoms, lambda: self._profile(atoms, steps))

    def _profile(self, atoms: Atoms, steps: int) -> Profile:
        evaluator = self.evaluator
        evaluator.measure(atoms)  # what happens only once is no cost of a step
        evaluator.forget()
        anew = evaluator.measure(atoms)
        measured = [evaluator.measure(atoms) for _ in range(steps)]
        plan = replace(evaluator.plan(atoms), why=self._choice.why, kernels=self._kernels.in_words)
        devices, workers = self._whose(plan.n_partitions)
        stages = [*evaluator.stages()] * len(evaluator.adapter.models)
        return profile_of(
            plan,
            devices=devices,
            workers=workers,
            stages=[(stage.name, plan.bytes_before(stage.name)) for stage in stages],
            graph_anew=anew.graph,
            steps=measured,
        )

    def _whose(self, n_partitions: int) -> tuple[list[str], list[int]]:
        """Device and worker of each partition; the workers of several ranks are these ranks."""
        devices = self.evaluator.settings.devices
        if self._ranks is None:
            of_partition = devices.of_partitions(n_partitions)
            return [str(devices.devices[d]) for d in of_partition], [devices.slots[d] for d in of_partition]
        first = self._ranks.first_partitions(n_partitions)
        names = self._ranks.gather(f"rank {self._ranks.rank}, {devices.devices[0]}")
        workers = [rank for rank in range(self._ranks.size) for _ in range(first[rank], first[rank + 1])]
        return [names[rank] for rank in workers], workers

    def _in_memory(self, atoms: Atoms | OwnAtoms, work: Callable[[], Result]) -> Result:
        """Do the work with what was chosen for these atoms; when memory runs out, with what needs less.

        Several ranks try only once: those that wait in the middle of a step for the one whose memory ran out
        cannot go back to its beginning.
        """
        self._settle(atoms)
        if self._ranks is not None:
            with self._ranks.together("choosing partitions"):
                self._choose(atoms)
            return work()
        done = self._try(atoms, work)
        for _ in range(MOST_ATTEMPTS - 1):
            after = self._chooser.after_shortage(self._choice, len(atoms))
            if not isinstance(done, _Shortage) or after is None:
                break
            log.warning("out of memory with %s (%s); trying again with %s", self._choice, done.message, after)
            self._take(after)
            self._n_atoms = len(atoms)
            done = self._try(atoms, work)
        if isinstance(done, _Shortage):
            raise OutOfMemoryError(
                f"{len(atoms)} atoms do not fit into memory with {self._choice}; use "
                f"{self._chooser.remedies(self._choice)}. The last error was: {done.message}"
            )
        return done

    def _try(self, atoms: Atoms | OwnAtoms, work: Callable[[], Result]) -> Result | _Shortage:
        try:
            self._choose(atoms)
            return work()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.evaluator.forget()
            shortage = _Shortage("; ".join([str(error) or repr(error), *getattr(error, "__notes__", [])]))
        # Not in the except block, whose error keeps alive all that the failed attempt had allocated.
        release_unused()
        return shortage

    def _settle(self, atoms: Atoms | OwnAtoms) -> None:
        """Choose kernels; with others than before what they need has to be found out anew."""
        together = self._ranks.together("choosing kernels") if self._ranks else nullcontext()
        with together:
            has_changed = self._kernels.settle(sample_of(atoms))
        if has_changed:
            self._chooser = self._chooser.with_kernels(is_native=self.evaluator.native is not None)
            self._n_atoms, self._costs, self._is_measured = 0, None, False
        self._kernels.require()

    def _choose(self, atoms: Atoms | OwnAtoms) -> None:
        """Once for a number of atoms: while they move, the choice stays."""
        if self._n_atoms == len(atoms):
            return
        release_kept_pages()  # they would count as used
        if self._ranks is not None:
            self._ranks.require_same_devices(self.evaluator.settings.devices.devices[0])
        self._take(self._chooser.first(len(atoms)))
        devices, small = self._chooser.given.devices, self._chooser.given.atoms_per_partition
        least = MEASURED_ABOVE if small is None or devices.devices[0].type != "cpu" else small
        if not self._chooser.partitions_are_open:
            least = MEASURED_ABOVE_IF_GIVEN
        costs = self._cost_model(atoms, least * len(devices))
        if costs is not None:
            self._improve(costs, atoms)
        self._n_atoms = len(atoms)

    def _improve(self, costs: CostModel, atoms: Atoms | OwnAtoms) -> None:
        for _ in range(MOST_CHOICES):
            now, rows = self._choice, _rows(self.evaluator.plan(atoms))
            better = self._chooser.better(now, costs, rows)
            self._take(better if self._ranks is None else what_suits_all(self._ranks.gather(better)))
            if self._choice.how == now.how:
                self._warn_of_shortage(costs, rows, len(atoms))
                break

    def _warn_of_shortage(self, costs: CostModel, rows: Rows, n_atoms: int) -> None:
        """Before it is tried: a process that takes more than there is may be ended without a word."""
        for device, memory in self._chooser.memory(costs, rows, self._choice.recompute).items():
            if memory.expected > memory.usable:
                log.warning(
                    "%d atoms may not fit into the memory of %s: with %s about %.3g GB are expected, and "
                    "%.3g GB may be used; use %s",
                    n_atoms,
                    device,
                    self._choice,
                    memory.expected / 1e9,
                    memory.usable / 1e9,
                    self._chooser.remedies(self._choice),
                )

    def _take(self, choice: Choice) -> None:
        settings = self.evaluator.settings
        if (settings.partitions, settings.recompute) != choice.how:
            self.evaluator.redistribute(*choice.how)
        self._choice = choice

    def _cost_model(self, atoms: Atoms | OwnAtoms, least: int) -> CostModel | None:
        """None for no more than ``least`` atoms, unless it is known; and where it cannot be measured, or a
        device does not say what it has."""
        if self._is_measured or len(atoms) <= least:
            return self._costs
        self._is_measured = True
        if self._ranks is None:
            self._costs = self._measured_costs(sample_of(atoms))
        else:
            self._costs = self._ranks.broadcast(
                self._measured_costs(sample_of(atoms)) if self._ranks.rank == 0 else None
            )
        return self._costs

    def _measured_costs(self, atoms: Atoms) -> CostModel | None:
        devices = self._chooser.given.devices
        try:
            for device in devices.devices:
                available_bytes(device)
            native = self.evaluator.native
            return cost_model(self.evaluator.adapter, devices.devices[0], devices.slots[0], atoms, native)
        except DeviceError as error:
            log.warning("%s", error)
        except Exception:  # whatever a model may raise on clusters that nobody asked for
            log.warning("what the model needs could not be measured", exc_info=True)
        return None


def _rows(plan: Plan) -> Rows:
    return rows_of(plan.owned, plan.halo, plan.edges, plan.angles)
