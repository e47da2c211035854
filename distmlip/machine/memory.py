"""How much memory there is, and whether an error says that there was not enough."""

from __future__ import annotations

import gc
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from resource import getpagesize

import torch

from distmlip._native import core
from distmlip.errors import DeviceError
from distmlip.machine.devices import accelerators
from distmlip.machine.limits import control_group_bytes, process_bytes

USABLE = 0.8
"""Of the memory that is free: the rest is for fragments, libraries and others."""

KEPT = 2
"""The core keeps at most one part in so many of what it frees, for the next array."""

SHORTAGE = re.compile(
    r"DefaultCPUAllocator: (can't allocate|not enough) memory"
    r"|\bout of memory\b"  # CUDA, HIP, XPU, MPS, NCCL and our own kernels, each in a sentence of its own
    r"|_STATUS_ALLOC_FAILED\b"  # cuBLAS and its relatives
    r"|_OUT_OF_(DEVICE|HOST)_MEMORY\b"  # SYCL
    r"|Failed to allocate \d+ bytes"  # warp
)
"""In errors that reach Python as a plain RuntimeError."""


def available_bytes(device: torch.device, n_processes: int = 1) -> int:
    """What one of ``n_processes`` that share a device can still allocate on it.

    Torch's own unused blocks are included. Limits of a process are its own: they are not shared.

    Raises:
        DeviceError: the device does not say how much is free.
    """
    if device.type != "cpu":
        return _of_accelerator(device) // n_processes
    shared = [
        n_bytes // n_processes for n_bytes in (_of_machine(), control_group_bytes()) if n_bytes is not None
    ]
    own = process_bytes()
    return min([*shared, 2**62 if own is None else own])


def used_bytes(device: torch.device) -> int:
    """What this process has of a device's memory now; 0 where that is not known."""
    if device.type != "cpu":
        return torch.accelerator.memory_reserved(device)
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize()
    except OSError:
        return 0


def _of_accelerator(device: torch.device) -> int:
    accelerator = torch.accelerator
    try:
        free, _ = accelerator.get_memory_info(device)
        return free + accelerator.memory_reserved(device) - accelerator.memory_allocated(device)
    except RuntimeError as error:  # not every kind of device has all of these
        raise DeviceError(
            f"{device} does not say how much of its memory is free ({str(error).splitlines()[0]}), so that "
            "nothing can be chosen by it; give partitions=, and recompute=True where memory is short"
        ) from error


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return None


@cache
def limit_kept_pages() -> None:
    """Once: what the core keeps of freed arrays is little of what this job may use, not of the machine."""
    _, most = core.kept_pages()
    core.keep_at_most(min(most, available_bytes(torch.device("cpu")) // KEPT))


def release_kept_pages() -> None:
    """Give back what the core keeps of freed arrays, which it would use again."""
    _, most = core.kept_pages()
    core.keep_at_most(0)
    core.keep_at_most(most)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that there is not, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and SHORTAGE.search(str(error)) is not None


def release_unused() -> None:
    """Give back what nobody uses any more."""
    gc.collect()
    release_kept_pages()
    if accelerators():
        with suppress(RuntimeError):  # of a kind of device whose allocator keeps nothing
            torch.accelerator.empty_cache()
