"""Which of the processes of a run this one is, if it is one of several. Nothing here waits for another."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass

import torch.distributed as dist

from distmlip.errors import InvalidInputError
from distmlip.machine.devices import accelerators

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""That say who a process is, and how it reaches the others (torchrun's convention)."""

LAUNCHER_VARIABLES = (
    *VARIABLES,
    *("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_WORLD_SIZE"),
    *("ROLE_NAME", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_USE_AGENT_STORE"),
)
"""All that a launcher tells a rank of its place in the run."""

ALONE = "give ranks=False for a calculation that belongs to this process alone"
"""The remedy where processes that do not work together are taken for ranks that do."""


@dataclass(frozen=True)
class Identity:
    """One rank of several."""

    rank: int
    size: int
    device: str
    """The accelerator that is its own, or the CPU."""
    pid: int
    """Of the process that it is: a forked child of that process is another one."""
    store: tuple[str, int] | None = None
    """Host and port where rank 0 keeps the store that ranks meet in, where that is known; None: what the
    environment says."""


def identity_of_this_process() -> Identity | None:
    """The rank that this process is; None if it is not one of several.

    It is where torch.distributed was initialised here, or where torchrun or ``distmlip run`` started it.
    Worker processes of a rank (fork, spawn, joblib) inherit what says so, but are none of the ranks.

    Raises:
        InvalidInputError: the environment says that it is one of several, but not how to reach them.
    """
    if not dist.is_available():
        return None
    if dist.is_initialized() and dist.group.WORLD is not _Inherited.group:
        rank, size = dist.get_rank(), dist.get_world_size()
    elif _Inherited.is_child or multiprocessing.parent_process() is not None:
        return None
    elif "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        rank, size = _of_environment()
    else:
        return None
    return Identity(rank, size, local_device(rank), os.getpid()) if size > 1 else None


def local_device(rank: int) -> str:
    """The accelerator of this rank, or the CPU: the one that the script bound its process group to; else that
    with the local rank; and where nobody says which that is (mp.spawn), ranks take turns."""
    bound = dist.distributed_c10d._get_default_group().bound_device_id if dist.is_initialized() else None
    if bound is not None:
        return str(bound)
    usable = accelerators()
    return str(usable[int(os.environ.get("LOCAL_RANK", rank)) % len(usable)]) if usable else "cpu"


def _of_environment() -> tuple[int, int]:
    found = {name: os.environ.get(name) for name in VARIABLES}
    shown = ", ".join(f"{name}={value}" for name, value in found.items() if value is not None)
    remedy = f"start the ranks with torchrun or distmlip run, or unset RANK, or {ALONE}"
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise InvalidInputError(
            f"{shown} say that this process is one of several, but {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set, so it cannot reach the others; {remedy}"
        )
    try:
        rank, size, port = (int(found[name] or "") for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    except ValueError:
        rank, size, port = -1, 0, 0
    if not (0 <= rank < size and 0 < port < 2**16):
        raise InvalidInputError(f"{shown} are no rank below the number of ranks and a port; {remedy}")
    return rank, size


class _Inherited:
    """What a forked child has from its parent."""

    is_child = False
    group: object = None
    """The parent's process group, which is not the child's."""


def _forked() -> None:
    _Inherited.is_child = True
    _Inherited.group = dist.group.WORLD if dist.is_available() and dist.is_initialized() else None


os.register_at_fork(after_in_child=_forked)
