"""A script: two workers of a process need warp's kernels at the same time, none of them compiled yet."""

from __future__ import annotations

import numpy as np
from support.matgl_models import tensornet
from support.structures import oxide

from distmlip import DistCalculator

atoms = oxide().atoms
found = DistCalculator(tensornet("warp"), devices=["cpu"] * 2, partitions=2, dtype="float64")
forces = found.get_forces(atoms)
one = DistCalculator(tensornet("warp"), devices="cpu", partitions=1, dtype="float64")
np.testing.assert_allclose(forces, one.get_forces(atoms), rtol=0, atol=1e-10)
