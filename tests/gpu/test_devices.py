"""What needs a GPU besides the kernels: several devices, several partitions on one, its memory, NCCL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from ase.build import bulk
from support.gpu import ALONE_AND_BESIDE_THE_CPU, GPU, REHEARSAL, needs_the_hardware
from support.launching import PASSED, run_ranks, succeeded
from support.toy import ToyAdapter, ToyModel, undivided

from distmlip import DistCalculator

pytestmark = pytest.mark.cuda


class OnDevices(ToyAdapter):
    """The toy with a replica on each device."""

    def replicate(self, index: int, device: torch.device) -> torch.nn.Module:
        replica = ToyModel()
        replica.load_state_dict(self.models[index].state_dict())
        return replica.to(device)


@pytest.mark.parametrize("recompute", [False, True, "host"])
@pytest.mark.parametrize("devices", [*ALONE_AND_BESIDE_THE_CPU, ["cpu", str(GPU), "cpu"]])
@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_devices_agree_with_the_undivided_model(
    devices: Sequence[str], partitions: int, recompute: bool | str
) -> None:
    atoms = bulk("Cu", cubic=True) * (3, 2, 2)
    atoms.rattle(0.15, seed=2)
    expected = undivided(ToyModel(), atoms)
    atoms.calc = DistCalculator(
        OnDevices([ToyModel()]), devices=devices, partitions=partitions, recompute=recompute
    )
    for _ in range(2):  # the second step reuses the graph
        assert atoms.get_potential_energy() == pytest.approx(expected["energy"], abs=1e-9)
        np.testing.assert_allclose(atoms.get_forces(), expected["forces"], atol=1e-9)
        atoms.calc.reset()


@needs_the_hardware
def test_what_waits_in_host_memory_takes_none_of_the_gpu() -> None:
    pytest.importorskip("chgnet")
    from support.chgnet_models import published
    from support.structures import oxide

    atoms, peaks = oxide().atoms * 2, {}
    for recompute in (True, "host"):
        calculator = DistCalculator(published("0.3.0"), devices=GPU, partitions=8, recompute=recompute)
        calculator.get_property("forces", atoms)
        torch.cuda.reset_peak_memory_stats()
        calculator.get_property("forces", atoms)
        peaks[recompute] = torch.cuda.max_memory_allocated()
    assert peaks["host"] < peaks[True]


@needs_the_hardware
def test_a_gpu_that_is_full_can_be_used_afterwards() -> None:
    atoms = bulk("Cu", cubic=True) * 3
    calculator = DistCalculator(OnDevices([ToyModel()]), devices=GPU, partitions=2)
    before = calculator.get_property("forces", atoms)
    free, _ = torch.cuda.mem_get_info()
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(2 * free, dtype=torch.uint8, device=GPU)
    calculator.reset()
    # The toy adds messages atomically, in any order.
    np.testing.assert_allclose(calculator.get_property("forces", atoms), before, atol=1e-9)


def test_one_rank_with_a_group_of_its_own() -> None:
    assert PASSED in succeeded(run_ranks(1, "one_rank.py", "gloo" if REHEARSAL else "nccl", str(GPU)))
