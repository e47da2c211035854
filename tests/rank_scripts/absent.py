"""Ranks that do not come: the others say for whom they wait, and not for ever. Argument: what is tried."""

from __future__ import annotations

import datetime
import os
import sys
import time

import torch.distributed as dist
from ase.build import bulk
from support.launching import PASSED
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, RankError

RANK = int(os.environ["RANK"])


def toy() -> DistCalculator:
    return DistCalculator(ToyAdapter([ToyModel()]), partitions=2, devices="cpu")


def first_call_on_rank_0_only() -> None:
    """As in a training with DDP that evaluates on rank 0."""
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=60))
    calculator = toy()  # waits for nobody
    if RANK == 0:
        for _ in range(2):
            start = time.monotonic()
            try:
                calculator.get_potential_energy(bulk("Cu", cubic=True))
            except RankError as error:
                print(f"after {time.monotonic() - start:.1f} s: {error}", flush=True)
    dist.barrier()


def later_call_on_rank_0_only() -> None:
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=3))
    calculator, atoms = toy(), bulk("Cu", cubic=True)
    calculator.get_potential_energy(atoms)
    atoms.positions[0] += 0.01
    if RANK == 1:
        time.sleep(20)
        return
    start = time.monotonic()
    try:
        calculator.get_potential_energy(atoms)
    except RankError as error:
        print(f"after {time.monotonic() - start:.1f} s: {error}", flush=True)


def alone() -> None:
    """The environment says that there are others, but nobody started them."""
    try:
        toy().get_potential_energy(bulk("Cu", cubic=True))
    except (RankError, InvalidInputError) as error:
        print(f"{type(error).__name__}: {error}", flush=True)


def twice() -> None:
    """A program that a rank starts, which takes itself for the rank."""
    toy().get_potential_energy(bulk("Cu", cubic=True))
    if RANK == 1:
        import subprocess

        command = [sys.executable, __file__, "alone"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        print(done.stdout, done.stderr, flush=True)
    dist.barrier()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print(PASSED, flush=True)
