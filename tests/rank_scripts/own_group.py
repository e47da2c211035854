"""A script that has made its own process group, with the backends in the argument (none: torch's choice)."""

from __future__ import annotations

import sys

import numpy as np
import torch.distributed as dist
from ase.build import bulk
from support.launching import PASSED
from support.toy import ToyAdapter, ToyModel, undivided
from torch.testing._internal.distributed import fake_pg  # noqa: F401  a backend that stands for NCCL

from distmlip import DistCalculator

dist.init_process_group(None if sys.argv[1] == "none" else sys.argv[1])
atoms = bulk("Cu", cubic=True) * 2
atoms.rattle(0.1, seed=2)
atoms.calc = DistCalculator(ToyAdapter([ToyModel()]), partitions=3, devices="cpu")
np.testing.assert_allclose(atoms.get_forces(), undivided(ToyModel(), atoms)["forces"], rtol=0, atol=1e-10)
print(PASSED, flush=True)
