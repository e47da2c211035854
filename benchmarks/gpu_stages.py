"""Stages of a run: commands with limits, which fail, pass or are skipped; what has passed is not run again.

Nothing to run: gpu.py says which stages there are. Needs nothing but Python.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHORTEST = 5.0  # s; with less time left a stage is not begun


@dataclass(frozen=True)
class Stage:
    """One command, and how it ended in a JSON file with its name."""

    name: str
    limit: float
    """s."""
    command: tuple[str | Path, ...]
    """Behind the Python."""
    needs: tuple[str, ...] = ()
    """Import names, without which it is skipped."""
    lists: tuple[str, ...] = ("base",)
    """Of wheels (benchmarks/gpu_wheels), whose packages it sees, the first one first."""
    prepares: bool = False
    """Is run in every call: what it leaves is no result."""
    wrapper: tuple[str, ...] = ()
    """A program that runs the Python."""
    variables: tuple[tuple[str, str], ...] = ()
    """Of its environment."""


@dataclass(frozen=True)
class Run:
    """Where stages run, and what they share."""

    python: str
    environment: Path
    output: Path
    archive: Path
    end: float
    """By the monotonic clock."""
    patience: float = 1.0
    variables: tuple[tuple[str, str], ...] = ()

    def do(self, stage: Stage) -> str:
        """Runs a stage, unless it has passed before: its status."""
        record = self.output / f"{stage.name}.json"
        if record.exists() and not stage.prepares:
            before = json.loads(record.read_text())["status"]
            if before == "passed":
                return "passed before"
        began = time.monotonic()
        try:
            status = self.reason_to_skip(stage) or self.execute(stage)
            seconds = round(time.monotonic() - began, 1)
            record.write_text(json.dumps({"status": status, "seconds": seconds, "limit": stage.limit}) + "\n")
        finally:  # also when the run is ended from outside
            pack(self.output, self.archive)
        return f"{status}, {seconds:.0f} s"

    def reason_to_skip(self, stage: Stage) -> str:
        """Empty if there is none."""
        if self.end - time.monotonic() < SHORTEST:
            return "skipped: the time is over"
        if stage.wrapper and shutil.which(stage.wrapper[0]) is None:
            return f"skipped: there is no {stage.wrapper[0]}"
        for package in stage.needs:
            error = import_error(self.python, self.variables_of(stage)["PYTHONPATH"], package)
            if error:
                return f"skipped: {error}"
        return ""

    def execute(self, stage: Stage) -> str:
        """Runs its command; what it prints goes to a log, and its end to the terminal if it has failed."""
        limit = min(stage.limit * self.patience, self.end - time.monotonic())
        command = [*stage.wrapper, self.python, *map(str, stage.command)]
        log = self.output / f"{stage.name}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.variables_of(stage),
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that its own processes end with it
            )
            try:
                code: int | None = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        if code == 0:
            return "passed"
        print(*log.read_text(errors="replace").splitlines()[-25:], sep="\n", flush=True)
        return f"FAILED: over {limit:.0f} s" if code is None else f"FAILED: exit code {code}"

    def variables_of(self, stage: Stage) -> dict[str, str]:
        """Of its process: the packages of its lists stand before all others."""
        paths = [*(str(self.packages(name)) for name in stage.lists), os.environ.get("PYTHONPATH", "")]
        path = os.pathsep.join(filter(None, paths))
        return {**os.environ, "PYTHONPATH": path, **dict(self.variables + stage.variables)}

    def packages(self, name: str) -> Path:
        """Where the packages of a list are."""
        return self.environment / name


@functools.cache
def import_error(python: str, path: str, package: str) -> str:
    """The last line of what it says; empty if it can be imported."""
    done = subprocess.run(
        [python, "-c", f"import {package}"],
        env={**os.environ, "PYTHONPATH": path},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return (done.stderr.strip().splitlines() or ["it ended"])[-1] if done.returncode != 0 else ""


def pack(folder: Path, archive: Path) -> None:
    """All files of the folder, in the place of an older archive."""
    new = archive.with_name(archive.name + ".new")
    with tarfile.open(new, "w:gz") as file:
        for path in sorted(folder.iterdir()):
            file.add(path, path.name)
    new.replace(archive)


def unpack(archive: Path, folder: Path) -> None:
    """What an earlier call has packed, unless the folder has results of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.exists() and not any(folder.iterdir()):
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
