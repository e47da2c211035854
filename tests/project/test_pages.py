"""The memory of freed arrays is kept for the next ones, up to a limit."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ase.build import bulk

from distmlip import neighbor_list
from distmlip._native import core

MIB = 2**20
ATOMS = bulk("Cu", cubic=True) * 16  # 16,384 atoms: arrays of 6 to 17 MB for 700,000 pairs


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def make_and_free() -> int:
    """Bytes of the arrays that were made and freed."""
    arrays = neighbor_list("ijdDS", ATOMS, 5.0)
    return sum(array.nbytes for array in arrays)


@pytest.fixture(autouse=True)
def limit_is_as_it_was() -> Iterator[None]:
    _, limit = core.kept_pages()
    yield
    core.keep_at_most(limit)


def test_at_most_the_limit_is_kept() -> None:
    core.keep_at_most(0)
    made = make_and_free()
    assert core.kept_pages() == (0, 0)
    core.keep_at_most(made // 2)
    make_and_free()
    kept, limit = core.kept_pages()
    assert limit == made // 2
    assert made // 4 < kept <= limit  # no array is larger than a quarter


def test_what_is_above_a_new_limit_goes_back_to_the_system() -> None:
    core.keep_at_most(1024 * MIB)
    made = make_and_free()
    kept, _ = core.kept_pages()
    assert kept >= made
    before = resident_bytes()
    core.keep_at_most(kept // 2)
    fewer, _ = core.kept_pages()
    assert 0 < fewer <= kept // 2
    core.keep_at_most(0)
    assert core.kept_pages() == (0, 0)
    assert before - resident_bytes() > 0.8 * made


def test_a_limit_that_is_raised_changes_nothing_that_is_kept() -> None:
    core.keep_at_most(1024 * MIB)
    make_and_free()
    kept, _ = core.kept_pages()
    core.keep_at_most(2048 * MIB)
    assert core.kept_pages() == (kept, 2048 * MIB)


def test_what_is_kept_adds_little_to_the_most_that_is_used() -> None:
    """Arrays of one size after those of another: the one is released for the other."""
    core.keep_at_most(0)
    core.keep_at_most(64 * MIB)
    most = 0
    for repeats in (13, 16, 12, 15, 11, 14):
        arrays = neighbor_list("ijdDS", bulk("Cu", cubic=True) * repeats, 5.0)
        used = sum(array.nbytes for array in arrays)
        most = max(most, used)
        assert used + core.kept_pages()[0] < 1.3 * most + 64 * MIB / 8  # sizes are rounded up
        del arrays


@pytest.mark.parametrize("gib", [None, 16])
def test_default_is_half_of_what_the_process_may_have(gib: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if gib is not None and hard not in (resource.RLIM_INFINITY, -1) and hard < gib * 1024 * MIB:
        pytest.skip("this process may not have so much address space")
    script = "from distmlip._native import core; print(core.kept_pages()[1])"

    def limit() -> None:
        if gib is not None:
            resource.setrlimit(resource.RLIMIT_AS, (gib * 1024 * MIB, hard))

    command = [sys.executable, "-c", script]
    done = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=True)
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = [machine, gib * 1024 * MIB] if gib is not None else [machine]
    assert int(done.stdout) == pytest.approx(min(allowed) / 2, abs=MIB)
