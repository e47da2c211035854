"""The harness of all benchmarks: processes that measure by themselves, in turns or as ranks; what is written.

Nothing here is run by itself. :class:`Arena` has candidates that take turns, :func:`apart` one function in a
fresh process, :func:`attempt` one that may fail there, :func:`in_ranks` the same function in every rank.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import psutil
import torch
from ase import Atoms
from memory import peak_rss
from structures import copper

from distmlip.commands.launch import free_port
from distmlip.machine.limits import available_cores

RESULTS = Path(__file__).parent / "results"
PACKAGES = {
    "distmlip": ("candidates",),
    "ase": ("ase.neighborlist",),
    "vesin": ("vesin",),
    "nvalchemiops": ("quiet_warp", "nvalchemiops.torch.neighbors"),
    "pymatgen": ("pymatgen.optimization.neighbors",),
    "matscipy": ("matscipy.neighbours",),
    "chgnet": ("chgnet.graph", "pymatgen.io.ase"),
    "pymetis": ("pymetis",),
}
"""By import name: what of it takes long to import."""
QUARTILES = (0, 0.25, 0.5, 0.75, 1)
MEDIAN = 2
PREPARATION_LIMIT = 300.0  # s, for imports, kernels that are compiled, and the candidate's form of the input

Call = Callable[[], Any]
Facts = dict[str, Any]
Describe = Callable[[Any], Facts]
Prepare = Callable[..., tuple[Call, Describe]]
T = TypeVar("T")


def quartiles_of(turns: Sequence[tuple[float, float]]) -> Facts:
    """Of seconds of CPU and wall clock, to four digits, and how many turns there were."""
    quartiles = np.quantile(turns, QUARTILES, axis=0).T
    cpu, wall = ([float(f"{value:.4g}") for value in clock] for clock in quartiles)
    return {"cpu_s": cpu, "wall_s": wall, "turns": len(turns)}


def command_line(doc: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a script's docstring as it stands."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def apart(function: Callable[..., T], **arguments: Any) -> T:
    """What a function of a module returns in a fresh process; what it prints goes to stderr."""
    return _start(function, arguments, {}).result()


def attempt(limit: float, function: Callable[..., Facts], **arguments: Any) -> Facts:
    """What it returns in a fresh process within ``limit`` seconds; else a ``status`` that says why not."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_report, args=(theirs, function, arguments), daemon=True)
    process.start()
    theirs.close()
    answer = _answer(ours, process, limit)
    process.kill()  # where an error has left threads or a device behind, it would not end by itself
    process.join()
    return answer


def in_ranks(n_ranks: int, function: Callable[..., T], **arguments: Any) -> list[T]:
    """What it returns in each of so many ranks: fresh processes with one thread each, in a process group."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(n_ranks)}
    variables = [{**meeting, "OMP_NUM_THREADS": "1", "RANK": str(rank)} for rank in range(n_ranks)]
    ranks = [_start(_of_group, {"function": function, **arguments}, of_rank) for of_rank in variables]
    return [rank.result() for rank in ranks]


def _of_group(function: Callable[..., T], **arguments: Any) -> T:
    """Child processes are taken for ranks only if they have said so."""
    torch.distributed.init_process_group("gloo")
    try:
        return function(**arguments)
    finally:
        torch.distributed.destroy_process_group()


def _start(function: Callable[..., T], arguments: Facts, variables: dict[str, str]) -> Future[T]:
    """Starts a process that has these environment variables and ends with the function."""
    processes = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with patch.dict(os.environ, variables):
        result = processes.submit(_quietly, function, arguments)
    processes.shutdown(wait=False)
    return result


def _quietly(function: Callable[..., T], arguments: Facts) -> T:
    warnings.filterwarnings("ignore")
    with redirect_stdout(sys.stderr):  # model packages print
        return function(**arguments)


def _report(pipe: Any, function: Callable[..., Facts], arguments: Facts) -> None:
    """The process of an attempt."""
    try:
        pipe.send(_quietly(function, arguments))
    except Exception as error:  # whatever a package raises is its result
        pipe.send(_in_short(error))


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def _answer(pipe: Any, process: Any, limit: float) -> Facts:
    """What a process sends within the limit; a ``status`` where it does not, or sends an error."""
    if not pipe.poll(limit):
        return {"status": f"over {limit:.0f} s"}
    try:
        answer = pipe.recv()
    except EOFError:
        process.join()
        return {"status": f"ended by itself with exit code {process.exitcode}"}
    return {"status": answer} if isinstance(answer, str) else answer


@dataclass(frozen=True)
class Candidate:
    """Something to be timed; all of it is sent to another process."""

    name: str
    prepare: Prepare
    """``prepare(atoms, **options)``, of a module: what is timed, and what is said of its result."""
    atoms: Atoms
    options: Mapping[str, Any] = field(default_factory=dict)
    package: str = "distmlip"
    """What must be installed, by its import name."""
    threads: int = 1


class Arena:
    """Where candidates of these packages compete: each in a process of its own.

    The processes are forked from one that has imported the packages, or with ``spawn`` start from nothing, as
    they must for a GPU, which some packages take hold of when they are imported.
    """

    def __init__(self, packages: Sequence[str] = tuple(PACKAGES), spawn: bool = False) -> None:
        self.packages = packages
        self.context: Any = multiprocessing.get_context("spawn" if spawn else "forkserver")
        if spawn:
            return
        self.context.set_forkserver_preload([module for package in packages for module in PACKAGES[package]])
        with patch.dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=os.pathsep.join(sys.path)):
            forkserver.ensure_running()

    def compete(
        self, candidates: list[Candidate], rounds: int, limit: float, budget: float
    ) -> dict[str, Facts]:
        """Times of all candidates in turns, so that a busy machine is as unfair to one as to the other.

        Every candidate is a process of its own that sees as many processors as it has threads. Its first
        turn gives ``peak_mb``, the growth of its peak RSS, ``first_cpu_s`` and ``first_wall_s``. ``cpu_s``
        (user and system) and ``wall_s`` are minimum, quartiles and maximum of the turns that follow, of which
        there are ``rounds``; fewer once they add up to more than ``budget`` seconds, but three at least.

        A candidate that is not installed, fails, ends, or takes longer than ``limit`` seconds for one turn
        has a ``status`` that says so, and hinders nobody.
        """
        contestants = {
            candidate.name: _Contestant(self.context, candidate, limit)
            for candidate in candidates
            if candidate.package in self.packages
        }
        for round_number in range(rounds + 1):
            for contestant in contestants.values():
                if round_number <= 3 or contestant.spent < budget:
                    contestant.take_turn(first=round_number == 0)
        return {name: contestant.finish() for name, contestant in contestants.items()}


class _Contestant:
    """The parent's side of a candidate."""

    def __init__(self, context: Any, candidate: Candidate, limit: float) -> None:
        self.limit = limit
        self.spent = 0.0
        self.result: Facts = {}
        self.turns: list[tuple[float, float]] = []
        self.process: Any = None
        if not installed(candidate.package):
            self.result["status"] = "not installed"
            return
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, candidate), daemon=True)
        self.process.start()
        theirs.close()
        self._receive(PREPARATION_LIMIT)

    def take_turn(self, first: bool) -> None:
        if "status" in self.result:
            return
        self.pipe.send(first)
        answer = self._receive(self.limit)
        if answer is None:
            return
        if first:
            self.result.update(answer)
        else:
            self.turns.append((answer["first_cpu_s"], answer["first_wall_s"]))
            self.spent += answer["first_wall_s"]

    def finish(self) -> Facts:
        if self.turns:
            self.result.update(quartiles_of(self.turns))
        self._stop()
        return self.result

    def _receive(self, limit: float) -> Facts | None:
        answer = _answer(self.pipe, self.process, limit)
        if "status" not in answer:
            return answer
        self.result.update(answer)
        self.turns.clear()
        self._stop()
        return None

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()


def _serve(pipe: Any, candidate: Candidate) -> None:
    """A candidate's process: prepares, then takes a turn whenever it is told to."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: candidate.threads])
    torch.set_num_threads(candidate.threads)
    try:
        with redirect_stdout(sys.stderr):  # packages print
            candidate.prepare(copper(500), **candidate.options)[0]()  # loads and compiles what is loaded late
            call, describe = candidate.prepare(candidate.atoms, **candidate.options)
            pipe.send({})
            while True:
                first = pipe.recv()
                gc.collect()
                with peak_rss() as growth:
                    wall, cpu = time.perf_counter(), time.process_time()
                    result = call()
                    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                answer = {"first_wall_s": wall, "first_cpu_s": cpu, "peak_mb": growth[0] / 1e6}
                pipe.send({**answer, **describe(result)} if first else answer)
                del result
    except EOFError:  # the parent has ended
        return
    except Exception as error:  # whatever a package raises is its result
        pipe.send(_in_short(error))


def seconds(result: Facts, clock: str = "cpu_s") -> float:
    """The median turn, or the first one where no other was taken."""
    return float(result[clock][MEDIAN] if clock in result else result[f"first_{clock}"])


def installed(package: str) -> bool:
    """Whether a package can be imported, by its import name."""
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of the parent of a submodule
        return False


def machine() -> Facts:
    """What the figures were measured on."""
    known = Path("/proc/cpuinfo").read_text().splitlines()
    cpus = [line.split(":")[1].strip() for line in known if "model name" in line]
    return {
        "cpu": cpus[0] if cpus else platform.processor(),
        "cores": available_cores(),
        "torch_threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of the packages that distmlip is compared with, where they are installed."""
    names = {"nvalchemiops": "nvalchemi-toolkit-ops"}
    peers = [package for package in (*PACKAGES, "torch") if package != "distmlip" and installed(package)]
    return {names.get(package, package): metadata.version(names.get(package, package)) for package in peers}


def record(path: Path | None, cases: Iterable[Facts], **facts: Any) -> Facts:
    """What cases were measured on, facts, and the cases; JSON, which grows with each, if there is a path."""
    header = {"machine": machine(), "versions": versions(), **facts}
    opening = json.dumps(header, indent=1).removesuffix("\n}")
    measured: list[Facts] = []
    for case in cases:
        measured.append(case)
        if path is not None:
            lines = ",\n".join("  " + json.dumps(case) for case in measured)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{opening},\n "cases": [\n{lines}\n ]\n}}\n')
    return {**header, "cases": measured}


def write(path: Path, results: Facts) -> None:
    """JSON of results that are no list of cases."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n")
