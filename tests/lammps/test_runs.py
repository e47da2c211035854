"""Runs of LAMMPS on MPI ranks: dynamics, changes of the system, and what goes wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.lammps_runs import BIN, run_lammps, variables
from support.launching import PASSED

from distmlip.commands.lammps import in_two
from distmlip.errors import InvalidInputError


@pytest.mark.parametrize("n_ranks", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_dynamics(n_ranks: int, tmp_path: Path) -> None:
    ended = run_lammps(n_ranks, "lammps_dynamics.py", str(tmp_path))
    assert ended.output.count(PASSED) == n_ranks, ended.output
    assert ended.code == 0, ended.output


def test_what_is_refused_and_why() -> None:
    ended = run_lammps(1, "lammps_refused.py")
    assert PASSED in ended.output, ended.output


def test_an_error_on_one_rank_ends_the_run_on_all() -> None:
    """What torchrun or Slurm say of ranks does not count."""
    theirs = {"RANK": "5", "WORLD_SIZE": "7", "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "1"}
    ended = run_lammps(2, "lammps_trouble.py", environment=theirs)
    assert ended.output.count(PASSED) == 2, ended.output


def test_a_rank_that_is_killed_ends_the_run() -> None:
    assert run_lammps(2, "lammps_lost.py", "SIGKILL").code != 0


def test_a_rank_that_hangs_ends_the_run() -> None:
    """The other one says so, before MPI ends them both."""
    ended = run_lammps(2, "lammps_lost.py", "SIGSTOP", environment={"DISTMLIP_RANK_TIMEOUT": "5"})
    assert ended.code != 0
    assert "a step of LAMMPS failed, and not all of its ranks go on" in ended.output, ended.output
    assert "rank 1 is lost: it has given no sign of life for" in ended.output, ended.output


SCRIPT = """
units metal
lattice fcc 4.0
region box block 0 2 0 2 0 &
  2
create_box 1 &
  box
create_atoms 1 box
mass 1 63.546
displace_atoms all random 0.1 0.1 0.1 4711
variable k loop 2
label again
run 0
print "energy $(pe)" append energies
next k
jump SELF again
"""


def test_an_input_script(tmp_path: Path) -> None:
    """As it is, loops over labels and all; without a line of a potential."""
    (tmp_path / "in.copper").write_text(SCRIPT)
    for n_ranks in (1, 2):
        command = [BIN / "mpiexec", "-n", str(n_ranks), sys.executable, "-P", "-m", "distmlip", "lammps"]
        options = ["in.copper", "--model", "chgnet", "--types", "Cu", "--dtype", "float64"]
        run = subprocess.run(
            [*command, *options], cwd=tmp_path, env=variables(), capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
    energies = [float(line.split()[1]) for line in (tmp_path / "energies").read_text().splitlines()]
    assert len(energies) == 4
    assert energies == pytest.approx([energies[0]] * 4, abs=1e-8)
    assert energies[0] < -100


def test_scripts_are_cut_behind_the_command_that_makes_the_box() -> None:
    before, after = in_two(SCRIPT)
    assert before.endswith("create_box 1 &\n  box\n")
    assert before + after == SCRIPT
    before, after = in_two(
        "read_data a\nvelocity all create 1 2\nreplicate 1 &\n 2 3\nfix f\nreplicate 1 1 1\n"
    )
    assert after == "fix f\nreplicate 1 1 1\n"
    with pytest.raises(InvalidInputError, match="no create_box, read_data or read_restart"):
        in_two("units metal\n# create_box 1 box\n")
