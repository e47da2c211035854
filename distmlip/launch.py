"""One script, many ranks: rank 0 runs it unchanged, the other ranks serve its calculators.

``torchrun … -m distmlip run script.py`` starts the ranks on one machine or several; :func:`launch` starts
them on this one.
"""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from distmlip.calculator import DistCalculator
from distmlip.driver import Driver, Message, Task
from distmlip.errors import DistMLIPError, RankError
from distmlip.ranks import Ranks, rank_timeout, ranks_of_this_run

GRACE = 15.0
"""Seconds that survivors have, after a lost rank was noticed, to say so and end."""


def run_script(script: Path, arguments: Sequence[str]) -> None:
    """Run a script as ``python script.py arguments`` would; on ranks other than 0 serve it.

    Raises:
        RankError: another rank failed or is lost.
    """
    ranks = ranks_of_this_run()
    if ranks is not None and ranks.rank != 0:
        serve(ranks)
        return
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.resolve().parent))
    if ranks is None:
        runpy.run_path(str(script), run_name="__main__")
        return
    with Driver(ranks):
        runpy.run_path(str(script), run_name="__main__")


def serve(ranks: Ranks) -> None:
    """Do what rank 0 says until its script ends."""
    calculators: dict[int, DistCalculator] = {}
    tasks: dict[Task, Callable[[Message], object]] = {
        Task.EVALUATE: lambda message: calculators[message.calculator].evaluate_shared(*message.content),
        Task.PLAN: lambda message: calculators[message.calculator].plan_shared(*message.content),
        Task.PROFILE: lambda message: calculators[message.calculator].profile_shared(*message.content),
    }
    while True:
        message: Message = ranks.broadcast(None)
        for number in message.dropped:
            calculators.pop(number, None)
        if message.task is Task.END:
            return
        if message.task is Task.MAKE:
            with ranks.together(message.task.value):
                model, options = message.content
                calculators[message.calculator] = DistCalculator(model, **options)
            continue
        try:
            tasks[message.task](message)
        except RankError:
            raise
        except DistMLIPError:
            pass  # rank 0 raises it as well, and its script decides what follows


def launch(n_ranks: int, script: Path, arguments: Sequence[str]) -> int:
    """Run a script on so many processes of this machine; returns the exit code.

    Each gets its share of the cores, unless OMP_NUM_THREADS says otherwise, and the GPU with its number.
    """
    environment = {
        "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // n_ranks)),
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(n_ranks),
    }
    command = [sys.executable, "-m", "distmlip", "run", str(script), *arguments]
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(n_ranks)
    ]
    try:
        return _wait(processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait(processes: list[subprocess.Popen[bytes]]) -> int:
    """The first exit code that is not 0. Survivors of a lost rank get the time to find out and to say so."""
    end = float("inf")
    failed = 0
    while any(process.poll() is None for process in processes) and time.monotonic() < end:
        codes = [process.returncode for process in processes]
        if not failed and any(codes):
            failed = next(code for code in codes if code)
            end = time.monotonic() + rank_timeout() + GRACE
        time.sleep(0.05)
    codes = [process.returncode for process in processes]
    return failed or next((code for code in codes if code), 0)


def free_port() -> int:
    """A port that nobody listens on, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
