"""What this job may use of the machine: cores and memory of its control groups, and limits of the process.

Every function takes the folder that the system's files are below: ``/``, or a tree that is laid out like it.
"""

from __future__ import annotations

import math
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

SYSTEM = Path("/")


class _Mount(NamedTuple):
    """Where a hierarchy of control groups can be read."""

    point: Path
    root: PurePosixPath
    """The group that stands at the mount point: inside a container not ``/``."""


def available_cores(system: Path = SYSTEM) -> int:
    """How many cores this process may use: by its affinity and by the quotas of its control groups."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in control_groups("cpu", system) if (quota := _quota(folder)) is not None]
    # A fraction of a core is used by one thread more, which then is not always allowed to run.
    return max(1, min([cores, *map(math.ceil, quotas)]))


def control_group_bytes(system: Path = SYSTEM) -> int | None:
    """What can still be allocated in the process's control groups; None where they set no limit."""
    free = [n for folder in control_groups("memory", system) if (n := _free_bytes(folder)) is not None]
    return min(free) if free else None


def process_bytes(system: Path = SYSTEM) -> int | None:
    """What the process can still allocate by its own limits (``ulimit -v``, ``-d``); None without them."""
    used = _numbers(system / "proc/self/status")
    free = []
    for limit, name in ((resource.RLIMIT_AS, "VmSize:"), (resource.RLIMIT_DATA, "VmData:")):
        most, _ = resource.getrlimit(limit)
        if most != resource.RLIM_INFINITY and name in used:
            free.append(max(0, most - 1024 * used[name]))
    return min(free) if free else None


def control_groups(controller: str, system: Path = SYSTEM) -> Iterator[Path]:
    """The folders of the process's group and of those around it, in both versions; limits of all count."""
    for line in _lines(system / "proc/self/cgroup"):
        _, names, path = line.split(":", 2)
        if names and controller not in names.split(","):
            continue
        mounts = _mounts(controller if names else None, system)
        own = [(mount, folder) for mount in mounts if (folder := _folder(mount, path)) is not None]
        # A container may not show where in the machine's tree its group is, only the group itself.
        for mount, folder in own or [(mount, mount.point) for mount in mounts[:1]]:
            yield folder
            yield from (around for around in folder.parents if around.is_relative_to(mount.point))


def _folder(mount: _Mount, path: str) -> Path | None:
    """Of the group with this path, if it is below the mount's root."""
    group = PurePosixPath(path)
    if not group.is_relative_to(mount.root):
        return None
    below = group.relative_to(mount.root)
    folder = mount.point / below
    return folder if ".." not in below.parts and folder.is_dir() else None


def _mounts(controller: str | None, system: Path) -> list[_Mount]:
    """Of the hierarchy of a controller; None: of version 2, where all controllers have one."""
    mounts = []
    for line in _lines(system / "proc/self/mountinfo"):
        mount, _, source = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split()
        kind, _, options = source.split(maxsplit=2)
        if kind == "cgroup2" if controller is None else kind == "cgroup" and controller in options.split(","):
            mounts.append(_Mount(system / _unescaped(point).lstrip("/"), PurePosixPath(_unescaped(root))))
    return mounts


def _unescaped(path: str) -> str:
    """Spaces and the like stand in mountinfo as octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _quota(folder: Path) -> float | None:
    """Cores, of a group of either version."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota, period = (
                (folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period")
            )
        cores = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no limit is the word "max"
        return None
    return cores if cores > 0 else None  # and -1 in version 1


def _free_bytes(folder: Path) -> int | None:
    """Of a group of either version; files that it holds in memory can be given back."""
    versions = (
        (("memory.max", "memory.high"), "memory.current", "inactive_file"),
        (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    )
    for limits, usage, inactive in versions:
        most = [limit for name in limits if (limit := _number(folder / name)) is not None]
        used = _number(folder / usage)
        if most and used is not None:
            return max(0, min(most) - used + _numbers(folder / "memory.stat").get(inactive, 0))
    return None


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no limit is the word "max"
        return None


def _numbers(path: Path) -> dict[str, int]:
    """Of a file with a name and a number in each line."""
    words = [line.split() for line in _lines(path)]
    return {line[0]: int(line[1]) for line in words if len(line) > 1 and line[1].isdigit()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
