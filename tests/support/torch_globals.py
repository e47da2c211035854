"""Torch's global state: model packages take dtype and random numbers from it, users set modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "device_context": lambda: torch.device("meta"),
    "default_device": lambda: default_device("meta"),  # where nothing can be computed
}
"""What users may have switched on around a call of ours, on their thread."""


def modes() -> tuple[Any, ...]:
    """That are on."""
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.get_default_device(),
        torch.get_default_dtype(),
    )


@contextmanager
def default_device(device: str) -> Iterator[None]:
    """For the block, as ``torch.set_default_device`` sets it for good."""
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


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
