"""How many partitions, and whether they recompute: chosen from a cost model where the user leaves it open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from distmlip.costs import CostModel, Rows
from distmlip.memory import USABLE, available_bytes
from distmlip.options import MOST_PARTITIONS
from distmlip.plan import Memory
from distmlip.settings import ATOMS_PER_CPU_PARTITION, Settings

STAGE_BYTES_ON_A_CPU = 96_000_000
"""Of one stage on one partition. More is slower: it leaves the caches, and its largest tensors become blocks
that the C library takes from the system, page by page, each time anew (measured over 504 atoms)."""
FEWEST_ATOMS = 16
"""Per partition, unless memory runs out: halos and calls would cost more than smaller ones give."""
CHEAP_RECOMPUTE = 0.2
"""Of a step on a CPU: what computing stages again may cost where memory does not force it."""
TOLERANCE = 1.25
"""By how much the bytes of a stage may exceed the limit: partitions that are halved again and again have ever
larger halos."""


@dataclass(frozen=True)
class Choice:
    """How many partitions, whether they recompute, and why."""

    partitions: int
    recompute: bool
    why_partitions: str = ""
    why_recompute: str = ""

    @property
    def why(self) -> str:
        return "; ".join(reason for reason in (self.why_partitions, self.why_recompute) if reason)

    def __str__(self) -> str:
        partitions = "1 partition" if self.partitions == 1 else f"{self.partitions} partitions"
        return f"{partitions}, recompute {'on' if self.recompute else 'off'}"

    def same_as(self, other: Choice) -> bool:
        """Whatever the reasons."""
        return (self.partitions, self.recompute) == (other.partitions, other.recompute)


@dataclass(frozen=True)
class Chooser:
    """What the user gave, and which of it is open."""

    given: Settings
    recompute_is_open: bool
    conservative: bool
    """Whether there is a backward sweep."""

    @property
    def partitions_are_open(self) -> bool:
        return self.given.partitions is None

    def first(self, n_atoms: int) -> Choice:
        """Without a cost model."""
        return Choice(self.given.n_partitions(n_atoms), self.given.recompute, self._reason())

    def better(self, now: Choice, costs: CostModel, rows: Rows) -> Choice:
        """For a system that ``now`` is cut into partitions with these rows; ``now`` if nothing is better."""
        recompute, why = self._recompute(costs, rows)
        partitions, reason = now.partitions, now.why_partitions
        if self.partitions_are_open:
            if self.given.devices.on_cpu:
                partitions, reason = self._small_enough(now, costs, rows, recompute)
            if recompute:
                partitions, reason = self._that_fit(partitions, reason, now, costs, rows)
        return Choice(partitions, recompute, reason, why)

    def after_shortage(self, now: Choice, n_atoms: int) -> Choice | None:
        """What to try when memory ran out; None if nothing is left that may be changed."""
        why = f"memory ran out with {now}"
        if self.recompute_is_open and not now.recompute:
            return Choice(now.partitions, recompute=True, why_recompute=why)
        most = min(MOST_PARTITIONS, n_atoms)
        if self.partitions_are_open and now.partitions < most:
            return Choice(min(2 * now.partitions, most), now.recompute, why)
        return None

    def remedies(self, now: Choice) -> str:
        """What the user may change when memory ran out."""
        remedies = [] if self.partitions_are_open else ["more partitions, or partitions='auto'"]
        if not now.recompute:
            remedies.append("recompute=True")
        return ", ".join([*remedies, "more devices"])

    def memory(self, costs: CostModel, rows: Rows, recompute: bool) -> dict[str, Memory]:
        """Of each device of this process, by name."""
        devices, here = self.given.devices, self.rows_here(rows)
        names = np.array([str(devices.devices[d]) for d in devices.of_partitions(len(here))])
        return {
            str(device): _memory(costs, here[names == str(device)], recompute, self._available(device))
            for device in dict.fromkeys(devices.devices)
        }

    def rows_here(self, rows: Rows) -> Rows:
        """Those of the partitions of this process."""
        ranks = self.given.ranks
        if ranks is None:
            return rows
        first = ranks.first_partitions(len(rows))
        return rows[first[ranks.rank] : first[ranks.rank + 1]]

    def _available(self, device: torch.device) -> int:
        available, ranks = available_bytes(device), self.given.ranks
        return available // ranks.on_this_machine if ranks and device.type == "cpu" else available

    def _reason(self) -> str:
        if not self.partitions_are_open:
            return "as many partitions as were asked for"
        if self.given.devices.on_cpu:
            return f"at most {ATOMS_PER_CPU_PARTITION} atoms per partition, for the caches of a CPU"
        return "one partition per device"

    def _recompute(self, costs: CostModel, rows: Rows) -> tuple[bool, str]:
        if not self.recompute_is_open:
            return self.given.recompute, "recompute as asked for"
        if not self.conservative:
            return False, "no recompute: nothing goes backward"
        if not self._fits(costs, rows, recompute=False):
            return True, "recompute because what stages keep does not fit into memory"
        share = costs.recompute_share(rows)
        if self.partitions_are_open and self.given.devices.on_cpu and share <= CHEAP_RECOMPUTE:
            return True, f"recompute because it costs only {share:.0%} of a step"
        return False, f"no recompute: everything fits, and it would cost {share:.0%} of a step"

    def _small_enough(self, now: Choice, costs: CostModel, rows: Rows, recompute: bool) -> tuple[int, str]:
        """Partitions whose stages stay within what is fast on a CPU."""
        n_bytes, n_atoms = costs.stage_bytes(rows, recompute), rows[:, 1].sum()
        atoms = max(FEWEST_ATOMS, n_atoms / now.partitions * STAGE_BYTES_ON_A_CPU / n_bytes)
        partitions = math.ceil(n_atoms / atoms)
        if n_bytes <= TOLERANCE * STAGE_BYTES_ON_A_CPU or partitions <= now.partitions:
            return now.partitions, now.why_partitions
        return (
            partitions,
            f"about {STAGE_BYTES_ON_A_CPU / 1e6:.3g} MB for a stage on a partition, for the CPU",
        )

    def _that_fit(
        self, partitions: int, reason: str, now: Choice, costs: CostModel, rows: Rows
    ) -> tuple[int, str]:
        """As many partitions, or as many more as make everything fit."""
        most = max(partitions, min(int(rows[:, 1].sum()) // FEWEST_ATOMS, MOST_PARTITIONS))
        fitting = partitions
        while not self._fits(costs, split(rows, fitting / now.partitions), recompute=True):
            if fitting >= most:
                return fitting, "fewer partitions do not fit into memory, and these may not"
            fitting = min(2 * fitting, most)
        return (partitions, reason) if fitting == partitions else (fitting, "fewer do not fit into memory")

    def _fits(self, costs: CostModel, rows: Rows, recompute: bool) -> bool:
        memory = self.memory(costs, rows, recompute).values()
        return all(device.expected <= device.usable for device in memory)


def what_suits_all(choices: Sequence[Choice]) -> Choice:
    """Of several ranks: the most partitions, and recompute if one of them needs it."""
    most = max(choices, key=lambda choice: choice.partitions)
    needy = max(choices, key=lambda choice: choice.recompute)
    return Choice(most.partitions, needy.recompute, most.why_partitions, needy.why_recompute)


def split(rows: Rows, factor: float) -> Rows:
    """About what rows become with so many times the partitions: halos are surfaces."""
    pieces = max(1, round(factor))
    parts = np.repeat(rows, pieces, axis=0)
    parts[:, 1:] /= pieces
    parts[:, 2] *= pieces ** (1 / 3)
    return parts


def _memory(costs: CostModel, rows: Rows, recompute: bool, available: int) -> Memory:
    usable = int(USABLE * available)
    if len(rows) == 0:
        return Memory(0, usable, 0)
    atoms = max(rows[:, 1].sum(), 1.0)
    finest = split(rows, rows[:, 1].max() / FEWEST_ATOMS)
    per_atom = max(costs.peak_bytes(finest, recompute=True), 1.0) / atoms
    return Memory(int(costs.peak_bytes(rows, recompute)), usable, int(usable / per_atom))
