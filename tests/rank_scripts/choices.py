"""Every rank: what is chosen automatically is the same on all, and a profile shows all of them."""

from __future__ import annotations

import os

import numpy as np
from ase.build import bulk
from support.launching import PASSED
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.choice import chooser


def main() -> None:
    rank, n_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    atoms = bulk("Cu", cubic=True) * (4, 4, 5)
    atoms.rattle(0.1, seed=2)
    calculator = DistCalculator(ToyAdapter([ToyModel()]), devices="cpu")
    plan = calculator.plan(atoms)
    assert plan.n_partitions == max(3, n_ranks), plan
    assert list(plan.memory) == [f"rank {r}, cpu" for r in range(n_ranks)], plan
    assert all(memory.expected > 0 for memory in plan.memory.values()), plan
    assert plan.seconds is not None

    if rank == n_ranks - 1:  # a machine with very little memory
        chooser.available_bytes = lambda *_: 1000
    chooser.CHEAP_RECOMPUTE = -1.0
    scarce = DistCalculator(ToyAdapter([ToyModel()]), devices="cpu")
    plan = scarce.plan(atoms)
    assert plan.recompute, plan
    assert "memory" in plan.why, plan
    assert plan.n_partitions > max(3, n_ranks), plan
    expected = DistCalculator(ToyAdapter([ToyModel()]), partitions=1, ranks=False).get_forces(atoms)
    for one in (calculator, scarce):
        assert np.abs(one.get_forces(atoms) - expected).max() < 1e-10

    profile = calculator.profile(atoms, steps=2)
    assert profile.workers == sorted(profile.workers), profile
    assert set(profile.workers) == set(range(n_ranks)), profile
    assert {name.split(",")[0] for name in profile.devices} == {f"rank {r}" for r in range(n_ranks)}
    for stage in profile.stages:
        assert all(seconds > 0 for seconds in stage.forward), profile
        assert all(n_bytes > 0 for n_bytes in stage.bytes_peak), profile
    assert 0 < profile.exchange < profile.total
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
