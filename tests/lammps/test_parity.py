"""A model in LAMMPS gives what the undivided original gives, on any number of MPI ranks."""

from __future__ import annotations

import pytest
from support.lammps_runs import run_lammps
from support.launching import PASSED

SOME = [("chgnet", 3, "7"), ("mace", 2, "auto")]
ALL = [
    (family, n_ranks, partitions)
    for family in ("chgnet", "mace", "tensornet")
    for n_ranks in (1, 2, 3, 4)
    for partitions in ("auto", "7")
]


@pytest.mark.parametrize(
    ("family", "n_ranks", "partitions"),
    [*SOME, *(pytest.param(*case, marks=pytest.mark.slow) for case in ALL if case not in SOME)],
)
def test_forces_energies_and_virials(family: str, n_ranks: int, partitions: str) -> None:
    ended = run_lammps(n_ranks, "lammps_parity.py", family, partitions)
    assert ended.output.count(PASSED) == n_ranks, ended.output
    assert ended.code == 0, ended.output
