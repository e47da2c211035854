"""Model packages take dtype and random numbers from torch's global state when they make a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_globals(seed: int, dtype: torch.dtype) -> Iterator[None]:
    """Set both for the block, and put back what was there."""
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
