"""MatterSim models at random: narrow ones of every kind, and of the published sizes."""

from __future__ import annotations

import functools
from typing import Any

import torch
from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
from support.structures import NUMBERS

PLAIN = "plain"
KINDS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "one block": {"num_blocks": 1},
    "small basis": {"max_n": 2, "max_l": 3},
    "long angles": {"threebody_cutoff": 4.4},
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "1M": {"num_blocks": 3, "units": 128},
    "5M": {"num_blocks": 4, "units": 256},
}
"""The sizes of MatterSim-v1.0.0-1M and -5M, 0.9 and 4.5 million parameters."""


@functools.cache
def narrow(kind: str = PLAIN) -> M3Gnet:
    """A model of a kind that tests do not change."""
    return build_narrow(kind)


def build_narrow(kind: str = PLAIN, **changes: Any) -> M3Gnet:
    """A float64 model with few features, steep enough for forces of the order of 1 eV/Å."""
    sizes = {"num_blocks": 2, "units": 16, "cutoff": 4.5, "threebody_cutoff": 3.2}
    return _built({**sizes, **KINDS[kind], **changes}, scale=2000.0).double()


@functools.cache
def of_published_size(name: str) -> M3Gnet:
    """In float32."""
    return _built({"cutoff": 5.0, "threebody_cutoff": 4.0, **PUBLISHED[name]}, scale=4000.0)


def _built(sizes: dict[str, Any], scale: float) -> M3Gnet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = M3Gnet(**sizes, device="cpu").eval()
        model.normalizer.scale[:] = torch.empty_like(model.normalizer.scale).uniform_(0.7 * scale, scale)
        model.normalizer.shift[:] = torch.empty_like(model.normalizer.shift).uniform_(-6, -2)
    assert model.max_z >= max(NUMBERS)
    return model
