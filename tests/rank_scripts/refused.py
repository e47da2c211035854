"""Every rank: what is wrong with the input all find alike, and can go on."""

from __future__ import annotations

import pytest
from ase.build import bulk
from support.launching import PASSED
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError

atoms = bulk("Cu", cubic=True)
too_few = DistCalculator(ToyAdapter([ToyModel()]), partitions=1, devices="cpu")
with pytest.raises(InvalidInputError, match="partitions=1 for 2 ranks"):
    too_few.get_property("energy", atoms)

calculator = DistCalculator(ToyAdapter([ToyModel()]), partitions=2, devices="cpu")
flat = atoms.copy()
flat.cell[2] = flat.cell[1]
with pytest.raises(InvalidInputError, match=r"volume|cell"):
    calculator.get_property("energy", flat)
assert calculator.get_property("energy", atoms) != 0

with pytest.raises(InvalidInputError, match="one device"):
    DistCalculator(ToyAdapter([ToyModel()]), partitions=2, devices=["cpu", "cpu"])
print(PASSED, flush=True)
