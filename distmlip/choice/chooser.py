"""How many partitions, and whether they recompute: chosen from a cost model where the user leaves it open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from distmlip._native import core
from distmlip.choice.costs import GRAPH_BYTES, CostModel, Rows, column
from distmlip.evaluation.settings import ATOMS_PER_CPU_PARTITION, Settings
from distmlip.inputs import MOST_PARTITIONS
from distmlip.machine.memory import USABLE, available_bytes
from distmlip.records.plan import Memory, recompute_in_words

STAGE_BYTES_ON_A_CPU = 96_000_000
"""Of one stage on one partition. More is slower: it leaves the caches, and its largest tensors become blocks
that the C library takes from the system, page by page, each time anew (measured over 504 atoms)."""
FEWEST_ATOMS = 16
"""Per partition, unless memory runs out: halos and calls would cost more than smaller ones give."""
CHEAP_RECOMPUTE = 0.2
"""Of a step on a CPU: what computing stages again may cost where memory does not force it."""
PAGE_LOCKED = 2.0
"""By how much torch may round up what it asks for in page-locked host memory."""
TOLERANCE = 1.25
"""By how much the bytes of a stage may exceed the limit: partitions that are halved again and again have ever
larger halos."""


@dataclass(frozen=True)
class Choice:
    """How many partitions, whether they recompute, and why."""

    partitions: int
    recompute: core.Recompute
    why_partitions: str = ""
    why_recompute: str = ""

    @property
    def why(self) -> str:
        """All reasons."""
        return "; ".join(reason for reason in (self.why_partitions, self.why_recompute) if reason)

    def __str__(self) -> str:
        partitions = "1 partition" if self.partitions == 1 else f"{self.partitions} partitions"
        return f"{partitions}, {recompute_in_words(self.recompute)}"

    @property
    def how(self) -> tuple[int, core.Recompute]:
        """Without the reasons."""
        return self.partitions, self.recompute


@dataclass(frozen=True)
class Chooser:
    """What the user gave, and which of it is open."""

    given: Settings
    recompute_is_open: bool
    conservative: bool
    """Whether there is a backward sweep."""
    at_once: int = 1
    """Partitions that run side by side, if there are as many."""

    @property
    def partitions_are_open(self) -> bool:
        """Whether their number is to be chosen."""
        return self.given.partitions is None

    def with_kernels(self, *, is_native: bool) -> Chooser:
        """The same for native stages, or for the model's own modules."""
        atoms = None if is_native else ATOMS_PER_CPU_PARTITION
        at_once = torch.get_num_threads() if is_native else 1
        return replace(self, given=replace(self.given, atoms_per_partition=atoms), at_once=at_once)

    def first(self, n_atoms: int) -> Choice:
        """Without a cost model."""
        given = self.given
        return Choice(given.n_partitions(n_atoms), given.recompute, self._reason())

    def better(self, now: Choice, costs: CostModel, rows: Rows) -> Choice:
        """For a system that ``now`` is cut into partitions with these rows; ``now`` if nothing is better."""
        recompute, why = self._recompute(costs, rows)
        partitions, reason = now.partitions, now.why_partitions
        if self.partitions_are_open:
            if self.given.devices.on_cpu and self.given.atoms_per_partition is not None:
                partitions, reason = self._small_enough(now, costs, rows, recompute)
            if recompute:
                partitions, reason = self._that_fit(partitions, reason, now, costs, rows, recompute)
        return Choice(partitions, recompute, reason, why)

    def after_shortage(self, now: Choice, n_atoms: int) -> Choice | None:
        """What to try when memory ran out; None if nothing is left that may be changed."""
        why = f"memory ran out with {now}"
        if self.recompute_is_open and now.recompute < self._most_recompute:
            return Choice(now.partitions, core.Recompute(now.recompute + 1), why_recompute=why)
        most = min(MOST_PARTITIONS, n_atoms)
        if self.partitions_are_open and now.partitions < most:
            return Choice(min(2 * now.partitions, most), now.recompute, why)
        return None

    def remedies(self, now: Choice) -> str:
        """What the user may change when memory ran out."""
        remedies = [] if self.partitions_are_open else ["more partitions, or partitions='auto'"]
        if now.recompute == core.Recompute.never:
            remedies.append("recompute=True")
        if now.recompute < core.Recompute.host <= self._most_recompute:
            remedies.append("recompute='host'")
        return ", ".join([*remedies, "more devices"])

    @property
    def _most_recompute(self) -> core.Recompute:
        """What needs the least memory: that of the host helps only beside that of a GPU."""
        return core.Recompute.stages if self.given.devices.on_cpu else core.Recompute.host

    def memory(self, costs: CostModel, rows: Rows, recompute: core.Recompute) -> dict[str, Memory]:
        """Of each device of this process, by name."""
        devices, here = self.given.devices, self.rows_here(rows)
        names = np.array([str(devices.devices[d]) for d in devices.of_partitions(len(here))])
        return {
            str(device): self._memory(costs, here[names == str(device)], recompute, self._available(device))
            for device in dict.fromkeys(devices.devices)
        }

    def _memory(self, costs: CostModel, rows: Rows, recompute: core.Recompute, available: int) -> Memory:
        graph = float(np.sum(rows @ GRAPH_BYTES))  # which is there already, and counts as needed below
        usable = int(USABLE * (available + graph))
        if len(rows) == 0:
            return Memory(0, usable, 0)
        atoms = max(column(rows, "owned").sum(), 1.0)
        least = max(recompute, core.Recompute.stages)
        n_times = 2.0 ** np.arange(math.log2(max(column(rows, "owned").max() / FEWEST_ATOMS, 1.0)) + 1)
        per_atom = (
            max(min(costs.peak_bytes(split(rows, times), least, self.at_once) for times in n_times), 1.0)
            / atoms
        )
        return Memory(int(costs.peak_bytes(rows, recompute, self.at_once)), usable, int(usable / per_atom))

    def rows_here(self, rows: Rows) -> Rows:
        """Those of the partitions of this process."""
        ranks = self.given.ranks
        if ranks is None:
            return rows
        first = ranks.first_partitions(len(rows))
        return rows[first[ranks.rank] : first[ranks.rank + 1]]

    def _available(self, device: torch.device) -> int:
        ranks = self.given.ranks
        if ranks is None:
            return available_bytes(device)
        return available_bytes(
            device, ranks.on_this_machine if device.type == "cpu" else ranks.on_this_device
        )

    def _reason(self) -> str:
        if not self.partitions_are_open:
            return "as many partitions as were asked for"
        if not self.given.devices.on_cpu:
            return "one partition per device"
        atoms = self.given.atoms_per_partition
        if atoms is None:
            return "one partition per device, because native stages need no small ones"
        return f"at most {atoms} atoms per partition, for the caches of a CPU"

    def _recompute(self, costs: CostModel, rows: Rows) -> tuple[core.Recompute, str]:
        """What to compute again, and why."""
        never, stages, host = core.Recompute
        if not self.recompute_is_open:
            return self.given.recompute, "recompute as asked for"
        if not self.conservative:
            return never, "no recompute: nothing goes backward"
        if not self._fits(costs, rows, never):
            why = "recompute because what stages keep does not fit into memory"
            smallest = _finest(rows) if self.partitions_are_open else rows
            waiting = costs.held_bytes(self.rows_here(rows))
            if (
                self.given.devices.on_cpu
                or self._fits(costs, smallest, stages)
                or PAGE_LOCKED * waiting > USABLE * self._available(torch.device("cpu"))
            ):
                return stages, why
            return host, f"{why}, nor what they are given, which waits in host memory"
        share = costs.recompute_share(rows)
        if self.partitions_are_open and self.given.devices.on_cpu and share <= CHEAP_RECOMPUTE:
            return stages, f"recompute because it costs only {share:.0%} of a step"
        return never, f"no recompute: everything fits, and it would cost {share:.0%} of a step"

    def _small_enough(
        self, now: Choice, costs: CostModel, rows: Rows, recompute: core.Recompute
    ) -> tuple[int, str]:
        """Partitions whose stages stay within what is fast on a CPU."""
        n_bytes, n_atoms = costs.stage_bytes(rows, recompute), column(rows, "owned").sum()
        atoms = max(FEWEST_ATOMS, n_atoms / now.partitions * STAGE_BYTES_ON_A_CPU / n_bytes)
        partitions = math.ceil(n_atoms / atoms)
        if n_bytes <= TOLERANCE * STAGE_BYTES_ON_A_CPU or partitions <= now.partitions:
            return now.partitions, now.why_partitions
        return (
            partitions,
            f"about {STAGE_BYTES_ON_A_CPU / 1e6:.3g} MB for a stage on a partition, for the CPU",
        )

    def _that_fit(
        self,
        partitions: int,
        reason: str,
        now: Choice,
        costs: CostModel,
        rows: Rows,
        recompute: core.Recompute,
    ) -> tuple[int, str]:
        """As many partitions, or as many more as make everything fit; if none do, those that need least: very
        many have more halo rows than atoms."""
        most = max(partitions, min(int(column(rows, "owned").sum()) // FEWEST_ATOMS, MOST_PARTITIONS))
        shares: dict[int, float] = {}
        fitting = partitions
        while True:
            shares[fitting] = self._share(costs, split(rows, fitting / now.partitions), recompute)
            if shares[fitting] <= 1:
                break
            if fitting >= most:
                least = min(shares, key=lambda number: shares[number])
                return least, "no number of partitions may fit into memory, and these need least"
            fitting = min(2 * fitting, most)
        return (partitions, reason) if fitting == partitions else (fitting, "fewer do not fit into memory")

    def _fits(self, costs: CostModel, rows: Rows, recompute: core.Recompute) -> bool:
        return self._share(costs, rows, recompute) <= 1

    def _share(self, costs: CostModel, rows: Rows, recompute: core.Recompute) -> float:
        """Of the usable memory, on the device that is shortest of it."""
        memory = self.memory(costs, rows, recompute).values()
        return max(device.expected / max(device.usable, 1) for device in memory)


def what_suits_all(choices: Sequence[Choice]) -> Choice:
    """Of several ranks: the most partitions, and the recompute of the rank that needs most."""
    most = max(choices, key=lambda choice: choice.partitions)
    needy = max(choices, key=lambda choice: choice.recompute)
    return replace(needy, partitions=most.partitions, why_partitions=most.why_partitions)


def split(rows: Rows, factor: float) -> Rows:
    """About what rows become with so many times the partitions: halos are surfaces. Those of a whole system,
    which has none, are shells as thick as the cutoff around cubes of even density."""
    pieces = max(1, round(factor))
    parts = np.repeat(rows, pieces, axis=0)
    parts[:, 1:] /= pieces
    halo, owned, edges = (column(parts, kind) for kind in ("halo", "owned", "edge"))
    if pieces > 1 and not halo.any():
        density = 3 / (4 * np.pi) * edges / np.maximum(owned, 1)  # atoms per cube of the cutoff
        side = np.cbrt(owned / np.maximum(density, 1e-9))  # in cutoffs
        halo[:] = np.minimum(density * ((side + 2) ** 3 - side**3), owned * (pieces - 1))
    else:
        halo *= pieces ** (1 / 3)
    return parts


def _finest(rows: Rows) -> Rows:
    """The same atoms in partitions of the fewest atoms."""
    return split(rows, column(rows, "owned").max() / FEWEST_ATOMS)
