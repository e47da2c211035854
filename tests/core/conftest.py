"""Every instruction set that the processor has, in both precisions: for the operators of native stages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.operators import Precision

from distmlip._native import core


@pytest.fixture(params=core.simd_levels)
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = core.simd()
    core.set_simd(request.param)
    yield request.param
    core.set_simd(before)


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def precision(request: pytest.FixtureRequest, level: str) -> Precision:
    return Precision(request.param)
