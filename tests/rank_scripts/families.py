"""Every rank: a model of the family that is named, against the undivided original."""

from __future__ import annotations

import sys

import numpy as np
from support.families import FAMILIES
from support.launching import PASSED
from support.structures import oxide

from distmlip import DistCalculator


def main() -> None:
    family, n_partitions = sys.argv[1], int(sys.argv[2])
    atoms = oxide().atoms
    calculator = DistCalculator(FAMILIES[family](), partitions=n_partitions, devices="cpu", dtype="float64")
    found = calculator.verify(atoms)
    assert found.energy_per_atom < 1e-10, found
    assert found.forces < 1e-9, found
    assert found.stress is not None
    assert found.stress < 1e-11, found
    assert (calculator._evaluator.native is not None) == (family == "mace")
    assert np.abs(calculator.evaluate_shared(atoms, True)["forces"]).max() > 0.1
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
