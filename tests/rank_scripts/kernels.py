"""Every rank: native stages are used by all ranks or by none, as rank 0 has found."""

from __future__ import annotations

import os

import numpy as np
import torch
from ase.build import bulk
from support.launching import PASSED
from support.native_toy import NativeToy, by
from support.toy import ToyModel, undivided

from distmlip import DistCalculator
from distmlip.errors import NotNativeError


def main() -> None:
    rank = int(os.environ["RANK"])
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=2)

    def assert_right(calculator: DistCalculator, model: ToyModel) -> None:
        difference = np.abs(calculator.get_forces(atoms) - undivided(model, atoms)["forces"]).max()
        assert difference < 1e-10, difference

    model = ToyModel()
    adapter = NativeToy(model=model)
    calculator = DistCalculator(adapter, devices="cpu", partitions=4)
    assert_right(calculator, model)
    assert calculator._evaluator.native is not None
    assert adapter.n_originals == (rank == 0)
    with torch.no_grad():
        model.readout.mul_(1.5)
    atoms.rattle(0.01, seed=3)
    assert_right(calculator, model)
    assert calculator._evaluator.native is not None
    assert adapter.n_originals == 2 * (rank == 0)

    wrong = by(1e-3 if rank == 0 else 0.0)  # the others do not look
    calculator = DistCalculator(NativeToy(wrong), devices="cpu", partitions=4)
    assert_right(calculator, ToyModel())
    assert calculator._evaluator.native is None
    assert "differ" in calculator.plan().kernels
    fused = DistCalculator(NativeToy(wrong), devices="cpu", partitions=4, kernels="fused")
    for _ in range(2):
        try:
            fused.get_forces(atoms)
        except NotNativeError as error:
            assert "native stages differ" in str(error), error
        else:
            raise AssertionError("it was calculated")
    assert_right(calculator, ToyModel())
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
