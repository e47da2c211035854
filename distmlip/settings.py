"""The options of a calculator, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.machine.devices import Devices
from distmlip.ranks.group import Ranks

ATOMS_PER_CPU_PARTITION = 128
"""For ``partitions="auto"`` on a CPU: small partitions stay in the caches (``benchmarks/bench_step.py``)."""


@dataclass(frozen=True)
class Settings:
    """How to distribute: the options of :class:`distmlip.DistCalculator`, checked."""

    devices: Devices
    partitions: int | None
    """None: chosen from the number of atoms and devices."""
    method: str
    weights: NDArray[np.float64] | None
    recompute: core.Recompute
    skin: float
    ranks: Ranks | None = None
    """The processes that share the partitions; None: this one has all of them."""

    def n_partitions(self, n_atoms: int) -> int:
        if self.partitions is not None:
            return self.partitions
        n_workers = self.ranks.size if self.ranks else len(self.devices)
        if not self.devices.on_cpu:
            return n_workers
        return max(n_workers, math.ceil(n_atoms / ATOMS_PER_CPU_PARTITION))
