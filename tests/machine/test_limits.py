"""Limits of batch jobs and containers, read from trees that are laid out as Linux lays them out."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from distmlip.machine import limits, memory

V2 = "30 24 0:26 {root} {point} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "35 31 0:32 {root} {point} rw,relatime shared:9 - cgroup cgroup rw,{controllers}\n"


def lay_out(system: Path, groups: str, mounts: str, files: Mapping[str, object]) -> Path:
    """``groups`` and ``mounts``: of /proc/self; ``files``: contents by path."""
    contents = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}
    for name, content in contents.items():
        path = system / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n" if not str(content).endswith("\n") else str(content))
    return system


def v2_memory(
    folder: str, limit: object, used: int, files: int = 0, high: object = "max"
) -> dict[str, object]:
    return {
        f"{folder}/memory.max": limit,
        f"{folder}/memory.high": high,
        f"{folder}/memory.current": used,
        f"{folder}/memory.stat": f"anon 5\ninactive_file {files}\nactive_file 7",
    }


def v1_memory(folder: str, limit: int, used: int, files: int = 0) -> dict[str, object]:
    return {
        f"{folder}/memory.limit_in_bytes": limit,
        f"{folder}/memory.usage_in_bytes": used,
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {files}",
    }


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    return 64


def test_the_limit_of_the_jobs_own_group_counts_and_those_of_the_groups_around_it(tmp_path: Path) -> None:
    job = "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7"
    mounts = V2.format(root="/", point="/sys/fs/cgroup")
    groups = "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0"
    files = {
        **v2_memory(f"{job}/step_0/user/task_0", "max", 500),
        **v2_memory(f"{job}/step_0", 5000, 700),
        **v2_memory(job, 1000, 700, files=150),
    }
    system = lay_out(tmp_path, groups, mounts, files)
    assert limits.control_group_bytes(system) == 1000 - 700 + 150
    (system / job / "memory.max").write_text("max\n")
    assert limits.control_group_bytes(system) == 5000 - 700
    (system / job / "memory.high").write_text("900\n")  # above which a process hardly runs
    assert limits.control_group_bytes(system) == 900 - 700 + 150
    (system / job / "memory.high").write_text("100\n")
    assert limits.control_group_bytes(system) == 0


def test_version_1_has_other_files_and_a_hierarchy_per_controller(tmp_path: Path, cores: int) -> None:
    memory_point, cpu_point = "/sys/fs/cgroup/memory", "/sys/fs/cgroup/cpu,cpuacct"
    mounts = V1.format(root="/", point=memory_point, controllers="memory") + V1.format(
        root="/", point=cpu_point, controllers="cpu,cpuacct"
    )
    groups = "4:memory:/slurm/uid_1/job_7/step_0\n3:cpuset:/elsewhere\n2:cpu,cpuacct:/batch/job\n0::/"
    no_limit = 9223372036854771712
    files = {
        **v1_memory("sys/fs/cgroup/memory", no_limit, 10**6),
        **v1_memory("sys/fs/cgroup/memory/slurm/uid_1/job_7", 2000, 900, files=100),
        **v1_memory("sys/fs/cgroup/memory/slurm/uid_1/job_7/step_0", no_limit, 900),
        "sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_quota_us": 600000,
        "sys/fs/cgroup/cpu,cpuacct/batch/cpu.cfs_period_us": 100000,
        "sys/fs/cgroup/cpu,cpuacct/batch/job/cpu.cfs_quota_us": -1,
        "sys/fs/cgroup/cpu,cpuacct/batch/job/cpu.cfs_period_us": 100000,
    }
    system = lay_out(tmp_path, groups, mounts, files)
    assert limits.control_group_bytes(system) == 2000 - 900 + 100
    assert limits.available_cores(system) == 6


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/kubepods/pod1/container", "/kubepods/pod1/container"),  # the machine's path, the container's mount
        ("/", "/"),  # a namespace of its own
        ("/..", "/"),  # a mount from outside of the namespace
        ("/docker/abc", "/somewhere/else"),
        ("/", "/docker/not-shown-in-here"),
        ("/", "/../sibling"),
        ("/", "/gone (deleted)"),
    ],
)
def test_in_a_container_the_mount_point_is_the_group(
    root: str, path: str, tmp_path: Path, cores: int
) -> None:
    point = "/sys/fs/cgroup"
    files = {**v2_memory("sys/fs/cgroup", 800, 300), "sys/fs/cgroup/cpu.max": "200000 100000"}
    system = lay_out(tmp_path, f"0::{path}", V2.format(root=root, point=point), files)
    (system / "sys/fs/sibling").mkdir()
    assert limits.control_group_bytes(system) == 500
    assert limits.available_cores(system) == 2


def test_a_group_within_a_containers_is_below_its_mount(tmp_path: Path) -> None:
    files = {**v2_memory("sys/fs/cgroup", 800, 300), **v2_memory("sys/fs/cgroup/inner", 400, 100)}
    mounts = V2.format(root="/docker/abc", point="/sys/fs/cgroup")
    system = lay_out(tmp_path, "0::/docker/abc/inner", mounts, files)
    assert limits.control_group_bytes(system) == 300


def test_mount_points_may_have_spaces(tmp_path: Path) -> None:
    mounts = V2.format(root="/a\\040b", point="/my\\040groups")
    system = lay_out(tmp_path, "0::/a b/c", mounts, v2_memory("my groups/c", 800, 300))
    assert limits.control_group_bytes(system) == 500


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("max 100000", 64), ("400000 100000", 4), ("150000 100000", 2), ("20000 100000", 1), ("nonsense", 64)],
)
def test_the_cpu_quota_limits_the_cores(quota: str, expected: int, tmp_path: Path, cores: int) -> None:
    files = {"sys/fs/cgroup/job/step/cpu.max": "max 100000", "sys/fs/cgroup/job/cpu.max": quota}
    mounts = V2.format(root="/", point="/sys/fs/cgroup")
    assert limits.available_cores(lay_out(tmp_path, "0::/job/step", mounts, files)) == expected


def test_without_control_groups_there_is_no_limit(tmp_path: Path, cores: int) -> None:
    assert limits.control_group_bytes(tmp_path) is None
    assert limits.process_bytes(tmp_path) is None
    assert limits.available_cores(tmp_path) == cores


def test_cores_are_those_of_the_affinity() -> None:
    (one, *_) = os.sched_getaffinity(0)
    script = f"import os; os.sched_setaffinity(0, [{one}])\n" + (
        "from distmlip.machine.limits import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_cores_are_those_of_the_machine_where_there_is_no_affinity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert limits.available_cores(tmp_path) == 12


def test_the_limits_of_the_process_count_without_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    status = tmp_path / "proc/self/status"
    status.parent.mkdir(parents=True)
    status.write_text("Name:\tpython\nVmSize:\t    3000 kB\nVmData:\t    1000 kB\n")
    given = {resource.RLIMIT_AS: 5_000 * 1024, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (given[limit], resource.RLIM_INFINITY))
    assert limits.process_bytes(tmp_path) == 2000 * 1024
    given[resource.RLIMIT_DATA] = 1500 * 1024
    assert limits.process_bytes(tmp_path) == 500 * 1024
    given[resource.RLIMIT_DATA] = 500 * 1024
    assert limits.process_bytes(tmp_path) == 0


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_what_is_said_to_be_available_under_ulimit_can_be_allocated_and_not_much_more(limit: str) -> None:
    script = f"""
import resource, torch
from distmlip.machine.memory import available_bytes
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
used = 1024 * int(status["VmSize" if "{limit}" == "RLIMIT_AS" else "VmData"].split()[0])
resource.setrlimit(resource.{limit}, (used + 2**29, resource.RLIM_INFINITY))
n = available_bytes(torch.device("cpu"))
assert 0 < n <= 2**29, n
torch.empty(int(0.9 * n), dtype=torch.uint8)
try:
    torch.empty(int(1.1 * n), dtype=torch.uint8)
except RuntimeError:
    print("right")
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "right", done.stderr


def test_this_machine_can_be_read() -> None:
    assert 1 <= limits.available_cores() <= len(os.sched_getaffinity(0))
    assert memory.available_bytes(torch.device("cpu")) > 0
