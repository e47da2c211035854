"""How much memory there is, and whether an error says that there was not enough."""

from __future__ import annotations

import gc
from pathlib import Path

import torch

USABLE = 0.8
"""Of the memory that is free: the rest is for fragments, libraries and others."""

MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
)
"""Of errors that reach Python as a plain RuntimeError."""


def available_bytes(device: torch.device) -> int:
    """What can still be allocated on a device, torch's own unused blocks included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits = [_of_machine(), _of_control_group()]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else 2**62


def _of_machine() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("MemAvailable:"))
        return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return None


def _of_control_group(folder: Path = Path("/sys/fs/cgroup")) -> int | None:
    """A container may have less than its machine; what its files hold in memory can be given back."""
    try:
        limit = int((folder / "memory.max").read_text())
        used = int((folder / "memory.current").read_text())
        fields = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return limit - used + int(fields.get("inactive_file", 0))
    except (OSError, ValueError):  # no limit is the word "max"
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was asked for that there is not, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in MESSAGES)


def release_unused() -> None:
    """Give back what nobody uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
