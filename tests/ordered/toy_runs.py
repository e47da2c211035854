"""Steps of the toy model on the devices of these tests, which have to be right."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from support.toy import ToyModel, ToyOnDevices, undivided

from distmlip import DistCalculator


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.rattle(0.15, seed=2)
    return atoms


@functools.cache
def expected() -> dict[str, Any]:
    return undivided(ToyModel(), copper())


def calculate(devices: Sequence[str], partitions: int, adapter: Any = None, **options: Any) -> None:
    """Two steps."""
    atoms = copper()
    adapter = adapter or ToyOnDevices([ToyModel()])
    atoms.calc = DistCalculator(adapter, devices=devices, partitions=partitions, **options)
    for _ in range(2):
        assert atoms.get_potential_energy() == pytest.approx(expected()["energy"], abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), expected()["forces"], atol=1e-9)
        atoms.calc.reset()
