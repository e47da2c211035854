"""The sweep on devices that tell what is not ordered: toy and narrow models, and callers with own streams."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ordered.device import core as device
from ordered.device import devices_must_be_current, watched
from ordered.toy_runs import calculate, copper, expected
from support import chgnet_models, mace_models, structures
from support.native_toy import NativeToy
from support.toy import ToyModel, ToyOnDevices
from torch import Tensor, nn

from distmlip import DistCalculator, DistModel
from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models.interface import EagerStage, LocalGraph, Stage, Tensors

DEVICES = [
    ["ordered:0"],
    ["ordered:0", "ordered:1"],
    ["ordered:0", "cpu"],
    ["cpu", "ordered:1", "ordered:2", "cpu"],
]
on_all_devices = pytest.mark.parametrize("devices", DEVICES, ids=",".join)
with_and_without_recompute = pytest.mark.parametrize("recompute", [False, True, "host"])


@with_and_without_recompute
@on_all_devices
@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_nothing_is_out_of_order(devices: list[str], partitions: int, recompute: bool | str) -> None:
    with watched() as found:
        calculate(devices, partitions, recompute=recompute)
    assert not found


@pytest.mark.parametrize("build", [chgnet_models.build_narrow, mace_models.build_narrow])
@pytest.mark.parametrize("devices", [["ordered:0"], ["ordered:0", "ordered:1", "cpu"]], ids=",".join)
@pytest.mark.parametrize("has_stream", [False, True])
def test_families(devices: list[str], build: Any, has_stream: bool) -> None:
    atoms = structures.oxide().atoms
    with watched() as found, torch.Stream(device="ordered:0") if has_stream else nullcontext():
        calculator = DistCalculator(build(), devices=devices, partitions=4, dtype="float64")
        difference = calculator.verify(atoms)
    assert difference.energy_per_atom < 1e-9
    assert difference.forces < 1e-8
    assert not found


@on_all_devices
def test_native_stages_are_for_cpus(devices: list[str]) -> None:
    adapter = NativeToy()
    used = DistCalculator(adapter, devices=devices, partitions=4)
    np.testing.assert_allclose(
        used.get_forces(copper()), DistCalculator(NativeToy(), devices="cpu").get_forces(copper()), atol=1e-10
    )
    assert not adapter.built
    other = next(device for device in devices if device != "cpu")
    assert used.plan().kernels == (
        f"the model's own modules: native stages are for CPUs, and {other} is none"
    )
    with pytest.raises(NotNativeError, match=f"kernels='fused', but .* {other} is none"):
        DistCalculator(adapter, devices=devices, kernels="fused").get_forces(copper())


# ---- callers with streams of their own


@with_and_without_recompute
@on_all_devices
def test_a_caller_with_a_stream_of_its_own(devices: list[str], recompute: bool | str) -> None:
    with watched() as found, torch.Stream(device="ordered:0"), torch.Stream(device="ordered:1"):
        calculate(devices, 3, recompute=recompute)
    assert not found


@pytest.mark.parametrize("devices", DEVICES[:2], ids=",".join)
def test_work_on_the_callers_stream_would_be_found(
    devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "DefaultStreams", lambda devices: nullcontext())
    with watched() as found, torch.Stream(device="ordered:0"):
        calculate(devices, 3)
    assert found


def test_a_model_that_the_caller_changes_on_its_stream() -> None:
    with watched() as found, torch.Stream(device="ordered:0"):
        model = ToyModel().to("ordered:0")
        for _ in range(3):
            calculate(["ordered:0"], 2, ToyOnDevices([model]))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(2).div_(2)
    assert not found


def test_streams_and_devices_are_the_callers_afterwards() -> None:
    with torch.ordered.device(3), torch.Stream(device="ordered:1") as stream:
        device.set_device(3)
        calculate(["ordered:1", "ordered:2"], 3)
        assert torch.accelerator.current_device_index() == 3
        assert torch.accelerator.current_stream(1) == stream
        assert torch.accelerator.current_stream(2).stream_id == 0


# ---- the device that is current


class Asking(ToyOnDevices):
    """Its stages make tensors as models do that name a kind of device, but no number."""

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        return [replace(stage, function=_asking(stage)) for stage in super().stages(module, recompute)]

    def replicate(self, index: int, where: torch.device) -> nn.Module:
        assert torch.ones(1, device=where.type).device == where
        return super().replicate(index, where)


def _asking(stage: EagerStage) -> Any:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        zero = torch.zeros((), device=vectors.device.type, dtype=vectors.dtype)
        assert zero.device == vectors.device
        return stage.function(graph, vectors + zero, inputs)

    return function


@with_and_without_recompute
@on_all_devices
def test_the_device_of_a_partition_is_current(devices: list[str], recompute: bool | str) -> None:
    with watched() as found:
        calculate(devices, 5, Asking([ToyModel()]), recompute=recompute)
    assert not found


@on_all_devices
def test_the_device_of_a_partition_is_current_in_training(devices: list[str]) -> None:
    with watched() as found:
        energy, forces, _ = DistModel(Asking([ToyModel()]), devices=devices, partitions=5)(copper())
        energy.backward()
    assert energy.item() == pytest.approx(expected()["energy"], abs=1e-9)
    np.testing.assert_allclose(forces.detach().cpu(), expected()["forces"], atol=1e-9)
    assert not found


@on_all_devices
def test_workers_use_the_device_that_is_current(devices: list[str]) -> None:
    with watched() as found, devices_must_be_current():
        calculate(devices, 5)
    # On the calling thread torch's own operators look after themselves.
    me = str(threading.get_native_id())
    assert not [text for text in found if re.search(r"\[thread (\d+)\]", text)[1] != me]
