"""What the tests that are marked ``cuda`` run on."""

from __future__ import annotations

import os

import pytest
import torch

GPU = torch.device(os.environ.get("DISTMLIP_TEST_GPU", "cuda:0"))
"""The CPU in a rehearsal (``benchmarks/gpu.sh --device cpu``), which stands in for the GPU."""

REHEARSAL = GPU.type == "cpu"

needs_the_hardware = pytest.mark.skipif(REHEARSAL, reason="memory of a GPU, which a rehearsal does not have")

ALONE_AND_BESIDE_THE_CPU = [
    pytest.param([str(GPU)], id="gpu"),
    pytest.param([str(GPU), "cpu"], id="gpu and cpu"),
]
"""Devices of a calculator."""
