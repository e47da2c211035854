"""Training on devices that tell what is not ordered, by callers with and without streams of their own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from ordered.device import watched
from support import chgnet_models, mace_models, structures
from support.originals import loss_of
from torch import Tensor, nn

from distmlip import DistModel
from distmlip._native import core

DEVICES = [["ordered:0"], ["ordered:0", "ordered:1"], ["ordered:1", "cpu"]]


def gradients(model: nn.Module, devices: Any) -> list[Tensor]:
    """Of a loss, after two steps: the second reuses the memory of the first."""
    dist = DistModel(model, partitions=3, devices=devices, dtype="float64")
    for _ in range(2):
        model.zero_grad()
        loss_of(dist(structures.oxide().atoms)).backward()
    return [parameter.grad.cpu() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("build", [chgnet_models.build_narrow, mace_models.build_narrow])
@pytest.mark.parametrize("devices", DEVICES, ids=",".join)
@pytest.mark.parametrize("has_stream", [False, True])
def test_gradients(devices: list[str], build: Any, has_stream: bool) -> None:
    expected = gradients(build().double(), "cpu")
    with watched() as found, torch.Stream(device="ordered:0") if has_stream else nullcontext():
        seen = gradients(build().double(), devices)
    for mine, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
    assert not found


def test_a_model_on_the_device() -> None:
    expected = gradients(chgnet_models.build_narrow().double(), "cpu")
    with watched() as found, torch.Stream(device="ordered:0"):
        seen = gradients(chgnet_models.build_narrow().double().to("ordered:0"), None)
    for mine, theirs in zip(seen, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-10)
    assert not found


def test_work_on_the_callers_stream_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "DefaultStreams", lambda devices: nullcontext())
    with watched() as found, torch.Stream(device="ordered:0"):
        gradients(chgnet_models.build_narrow().double(), ["ordered:0", "ordered:1"])
    assert found
