"""Every rank: what ranks calculate together has to be the same on all, or all are told."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from support.launching import PASSED
from support.toy import ToyAdapter, ToyModel, undivided

from distmlip import DistCalculator, DistModel
from distmlip.errors import InvalidInputError

RANK = int(os.environ["RANK"])
WORDS: list[str] = []


class Listening(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        WORDS.append(record.getMessage())


def toy(**options: object) -> DistCalculator:
    return DistCalculator(ToyAdapter([ToyModel()]), devices="cpu", **{"partitions": 2, **options})


def refused(calculator: DistCalculator, atoms: Atoms, message: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"{message}.*on rank 1 than on rank 0.*ranks=False"):
        calculator.get_property("energy", atoms)
    assert calculator.results == {}


def check_screening() -> None:
    """A structure for each rank."""
    mine = [bulk("Cu", cubic=True), bulk("Al", cubic=True) * (2, 1, 1)][RANK]
    refused(toy(), mine, "number of atoms")
    alone = toy(ranks=False)
    assert abs(alone.get_potential_energy(mine) - undivided(ToyModel(), mine)["energy"]) < 1e-10


def check_atoms() -> None:
    copper = bulk("Cu", cubic=True)
    calculator = toy()
    other = copper.copy()
    other.positions += 1e-3 * RANK
    refused(calculator, other, "differ by 0.001 Ang")
    refused(calculator, other, "differ by 0.001 Ang")  # nothing was calculated: it is still the first
    energy = calculator.get_potential_energy(copper)
    other.rattle(0.01, seed=RANK)
    drifted = calculator.get_property("energy", other)
    assert drifted != energy
    first = copper.copy()
    first.rattle(0.01, seed=0)
    assert abs(drifted - undivided(ToyModel(), first)["energy"]) < 1e-10
    other.rattle(0.01, seed=RANK)
    calculator.get_property("forces", other)
    assert sum("drifted" in word for word in WORDS) == RANK, WORDS  # one warning, where it is so
    far = copper.copy()
    far.positions[2] += 0.5 * RANK
    refused(calculator, far, "differ by 0.5 Ang")
    assert calculator.get_potential_energy(copper) == energy


def check_models_and_calls() -> None:
    copper = bulk("Cu", cubic=True)
    refused(DistCalculator(ToyAdapter([ToyModel(seed=RANK)]), partitions=2, devices="cpu"), copper, "model")
    refused(toy(partitions=2 + RANK), copper, "options")
    toy()  # who calculates nothing does not count
    calculators = [toy(), toy()]
    for calculator in calculators:
        calculator.get_potential_energy(copper)
    moved = copper.copy()
    moved.positions[0] += 0.01
    refused(calculators[RANK], moved, "another calculator")
    with pytest.raises(InvalidInputError, match=r"another call, a plan instead of an evaluation|ranks=False"):
        calculators[0].plan(moved) if RANK else calculators[0].get_property("energy", moved)
    assert np.isfinite(calculators[0].get_potential_energy(moved))


def check_training() -> None:
    model = DistModel(ToyAdapter([ToyModel(seed=RANK)]), partitions=2, devices="cpu")
    copper = bulk("Cu", cubic=True)
    shaken = copper.copy()
    shaken.rattle(0.01, seed=RANK)
    with pytest.raises(InvalidInputError, match=r"differ by .* on rank 1 than on rank 0.*ranks=False"):
        model(shaken)
    energy = model(copper).energy.item()  # with the parameters of rank 0
    assert abs(energy - undivided(ToyModel(seed=0), copper)["energy"]) < 1e-10


if __name__ == "__main__":
    logging.getLogger("distmlip").addHandler(Listening())
    check_screening()
    check_atoms()
    check_models_and_calls()
    check_training()
    print(PASSED, flush=True)
