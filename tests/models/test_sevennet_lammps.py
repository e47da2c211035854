"""SevenNet in LAMMPS; other families: tests/lammps."""

from __future__ import annotations

import pytest
from support.lammps_runs import run_lammps
from support.launching import PASSED


@pytest.mark.parametrize("n_ranks", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 4))])
def test_forces_energies_and_virials(n_ranks: int) -> None:
    ended = run_lammps(n_ranks, "lammps_parity.py", "sevennet", "auto")
    assert ended.output.count(PASSED) == n_ranks, ended.output
    assert ended.code == 0, ended.output
