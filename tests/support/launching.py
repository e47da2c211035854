"""Starts several ranks of a script in tests/rank_scripts, as torchrun would, and sees them to their end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distmlip.commands.launch import free_port

TESTS = Path(__file__).parents[1]
SCRIPTS = TESTS / "rank_scripts"
LIMIT = 180.0
"""Seconds: far more than any of them takes, so that a deadlock is a failure and not a hanging test."""


PASSED = "== passed =="
"""What a rank prints at the end of a script that checks results."""


def python_path() -> str:
    """For scripts that import the tests' support. An empty entry would be the folder that pytest runs in."""
    return os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])


@dataclass(frozen=True)
class Ended:
    """How a rank has ended."""

    code: int
    output: str


def run_ranks(
    n_ranks: int,
    script: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    machines: Sequence[str] = ("",),
    meanwhile: Callable[[Sequence[subprocess.Popen[str]]], object] | None = None,
) -> list[Ended]:
    """Output and exit code of each rank. ``meanwhile`` is called with the running processes; ``machines``:
    network namespaces, which ranks take turns in ("": the machine's own)."""
    common = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": python_path(),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(n_ranks),
        **(environment or {}),
    }
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    entered = [["ip", "netns", "exec", machine] if machine else [] for machine in machines]
    processes = [
        subprocess.Popen(
            entered[rank % len(machines)] + command,
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(n_ranks)
    ]
    try:
        if meanwhile:
            meanwhile(processes)
        return collected(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def collected(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Waits for all."""
    end, ended = time.monotonic() + LIMIT, []
    for process in processes:
        output, _ = process.communicate(timeout=max(0.0, end - time.monotonic()))
        ended.append(Ended(process.returncode, output))
    return ended


def succeeded(ended: Sequence[Ended]) -> str:
    """The output of all ranks, which must have ended well."""
    output = "\n".join(f"rank {rank}: exit code {one.code}\n{one.output}" for rank, one in enumerate(ended))
    assert all(one.code == 0 for one in ended), output
    return output
