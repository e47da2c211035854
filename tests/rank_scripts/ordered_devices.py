"""Every rank: the toy model, with partitions on an ordered device of the rank's own."""

from __future__ import annotations

import os

import numpy as np
import torch
from ase.build import bulk
from ordered.device import watched
from support.launching import PASSED
from support.toy import ToyModel, ToyOnDevices, undivided

from distmlip import DistCalculator


def main() -> None:
    rank = int(os.environ["RANK"])
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.rattle(0.15, seed=2)
    expected = undivided(ToyModel(), atoms)
    for recompute in (False, True):
        with watched() as found, torch.Stream(device=f"ordered:{rank}"):
            atoms.calc = DistCalculator(
                ToyOnDevices([ToyModel()]), devices=f"ordered:{rank}", partitions=4, recompute=recompute
            )
            for _ in range(2):
                assert abs(atoms.get_potential_energy() - expected["energy"]) < 1e-9
                assert np.abs(atoms.get_forces() - expected["forces"]).max() < 1e-9
                atoms.calc.reset()
        assert not found, found
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
