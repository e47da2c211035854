"""Training on devices that tell what is not ordered, by callers with and without streams of their own."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from ordered.device import watched
from support import chgnet_models, mace_models, structures
from torch import Tensor, nn

from distmlip import DistModel


def gradients(model: nn.Module, devices: Any) -> list[Tensor]:
    """Of a loss, in the second step: it uses the memory of the first."""
    dist = DistModel(model, partitions=3, devices=devices, dtype="float64")
    for _ in range(2):
        model.zero_grad()
        energy, forces, stress = dist(structures.oxide().atoms)
        (energy.square() / 1000 + forces.square().sum() + stress.square().sum()).backward()
    return [parameter.grad.cpu() for parameter in model.parameters() if parameter.grad is not None]


@functools.cache
def expected(build: Any) -> list[Tensor]:
    return gradients(build().double(), "cpu")


def assert_expected(build: Any, seen: list[Tensor]) -> None:
    for mine, theirs in zip(seen, expected(build), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("build", "devices", "has_stream"),
    [
        (chgnet_models.build_narrow, "ordered:0", False),
        (chgnet_models.build_narrow, "ordered:0", True),
        (chgnet_models.build_narrow, ("ordered:0", "ordered:1"), False),
        (chgnet_models.build_narrow, ("ordered:1", "cpu"), False),
        (chgnet_models.build_narrow, ("ordered:1", "cpu"), True),
        (mace_models.build_narrow, ("ordered:0", "ordered:1"), True),
    ],
)
def test_gradients(build: Any, devices: Any, has_stream: bool) -> None:
    expected(build)
    with watched() as found, torch.Stream(device="ordered:0") if has_stream else nullcontext():
        seen = gradients(build().double(), devices)
    assert_expected(build, seen)
    assert not found


def test_a_model_on_the_device() -> None:
    with watched() as found, torch.Stream(device="ordered:0"):
        seen = gradients(chgnet_models.build_narrow().double().to("ordered:0"), None)
    assert_expected(chgnet_models.build_narrow, seen)
    assert not found
