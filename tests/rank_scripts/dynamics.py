"""An ordinary ASE script: nothing in it knows of ranks. Writes the energies of a run to the file named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError
from distmlip.models.interface import Evaluation


class Mine(ToyAdapter):
    """Other ranks cannot import it: the script is not a module."""

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        return {**super().results(atoms, evaluations), "mine": True}


atoms = bulk("Cu", cubic=True) * (2, 2, 2)
calculator = DistCalculator(Mine([ToyModel()]), partitions=5, devices="cpu")
atoms.calc = calculator

broken = atoms.copy()
broken.positions[3] = np.nan
try:
    calculator.get_property("energy", broken)
except InvalidInputError as error:
    assert "atom 3" in str(error)
else:
    raise AssertionError("positions that are not finite were taken")

# Without a seed of its own for each rank, a script on all ranks would drift apart here.
rng = np.random.default_rng(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
dynamics = Langevin(atoms, 2 * units.fs, temperature_K=300, friction=0.01, rng=rng)
energies = []
for _ in range(5):
    dynamics.run(2)
    energies.append(atoms.get_potential_energy())
assert calculator.extras["mine"]
del atoms, dynamics, calculator  # the other ranks' calculators go, too
other = bulk("Ni", cubic=True)
other.calc = DistCalculator(ToyAdapter([ToyModel()]), partitions=4, devices="cpu")
energies.append(other.get_potential_energy())
if sys.argv[1] != "-":
    np.save(sys.argv[1], energies)
print("done", sys.argv[1:])
