"""Every rank: the toy model, which has every kind of exchange, against its undivided form."""

from __future__ import annotations

import os

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from support.launching import PASSED
from support.toy import ToyAdapter, ToyModel, undivided

from distmlip import DistCalculator


def structures() -> dict[str, Atoms]:
    copper = bulk("Cu", cubic=True) * (2, 2, 2)
    copper.rattle(0.15, seed=2)
    copper.numbers[::3] = 28
    thin = bulk("Cu")  # all neighbours are images; with several ranks all but one own nothing
    return {"copper": copper, "thin": thin, "water": molecule("H2O")}


def moved(atoms: Atoms, by: float) -> Atoms:
    copy = atoms.copy()
    copy.positions += by
    return copy


def main() -> None:
    rank, n_ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    n_partitions = [n_ranks, n_ranks + 1, 3 * n_ranks]
    for name, atoms in structures().items():
        for count in n_partitions:
            for recompute in (False, True):
                elsewhere = atoms.copy()
                elsewhere.calc = DistCalculator(
                    ToyAdapter([ToyModel()]), partitions=count, devices="cpu", recompute=recompute
                )
                elsewhere.get_forces()
                elsewhere.positions += 0.05 * rank + 1e-3  # drifted apart: rank 0's count
                expected = undivided(ToyModel(), moved(atoms, 1e-3))
                case = f"{name}, {count} partitions on {n_ranks} ranks"
                assert abs(elsewhere.get_potential_energy() - expected["energy"]) < 1e-10, case
                assert np.abs(elsewhere.get_forces() - expected["forces"]).max() < 1e-10, case
                if atoms.cell.volume > 0:
                    stress = -expected["virial"] / atoms.cell.volume
                    assert np.abs(elsewhere.get_stress(voigt=False) - stress).max() < 1e-12, case
                    total = elsewhere.get_stresses(voigt=False).sum(axis=0)
                    assert np.abs(total - stress).max() < 1e-12, case
                atoms_of_rank_0 = moved(atoms, 1e-3)
                assert sum(elsewhere.calc.plan(atoms_of_rank_0).owned) == len(atoms), case
                counted = elsewhere.calc.counters["second layer"]
                assert counted["atoms"] == len(atoms), case
                assert counted["edges"] == sum(elsewhere.calc.plan(atoms_of_rank_0).edges), case
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
