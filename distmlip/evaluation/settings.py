"""The options of a calculator, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distmlip._native import core
from distmlip.inputs import (
    METHODS,
    checked_choice,
    checked_length,
    checked_partitions,
    checked_recompute,
    checked_weights,
)
from distmlip.machine.devices import DeviceLike, Devices, resolve_devices
from distmlip.ranks.group import Ranks, device_of_rank

ATOMS_PER_CPU_PARTITION = 128
"""For ``partitions="auto"`` on a CPU: small partitions stay in the caches (``benchmarks/bench_step.py``)."""

KERNELS = ("auto", "fused", "original")
RADIAL = ("auto", "exact", "table")


@dataclass(frozen=True)
class Settings:
    """How to distribute: the options of a calculator or of a model to be trained, checked."""

    devices: Devices
    partitions: int | None
    """None: chosen from the number of atoms and devices."""
    method: str
    weights: NDArray[np.float64] | None
    recompute: core.Recompute
    skin: float
    ranks: Ranks | None = None
    """The processes that share the partitions; None: this one has all of them."""
    kernels: str = "original"
    """One of :data:`KERNELS`: what evaluates the inside of stages."""
    radial: str = "auto"
    """One of :data:`RADIAL`: how native stages evaluate radial functions."""
    atoms_per_partition: int | None = ATOMS_PER_CPU_PARTITION
    """On a CPU, where the number of partitions is left open; None: as many as devices or ranks."""

    @classmethod
    def checked(
        cls,
        group: Ranks | None,
        *,
        devices: DeviceLike | Sequence[DeviceLike],
        partitions: int | str,
        method: str,
        weights: ArrayLike | None,
        recompute: bool | str = False,
        skin: float = 0.0,
        kernels: str = "original",
        radial: str = "auto",
    ) -> Settings:
        """Of the options that a user gives; ``group``: the ranks that share the partitions.

        Raises:
            InvalidInputError: an option is out of its range.
            DeviceError: a device does not exist.
        """
        return cls(
            devices=resolve_devices(devices) if group is None else device_of_rank(group, devices),
            partitions=checked_partitions(partitions),
            method=checked_choice("method", method, METHODS),
            weights=checked_weights(weights),
            recompute=checked_recompute(recompute),
            skin=checked_length("skin", skin),
            ranks=group,
            kernels=checked_choice("kernels", kernels, KERNELS),
            radial=checked_choice("radial", radial, RADIAL),
        )

    def n_partitions(self, n_atoms: int) -> int:
        """As given; else one per device or rank, on a CPU also as many as make them small."""
        if self.partitions is not None:
            return self.partitions
        n_workers = self.ranks.size if self.ranks else len(self.devices)
        if not self.devices.on_cpu or self.atoms_per_partition is None:
            return n_workers
        return max(n_workers, math.ceil(n_atoms / self.atoms_per_partition))
