"""Torch's modes are the caller's: what we compute does not depend on them, and leaves them as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

AUTOCAST = ("cpu", "cuda")
"""Kinds of devices that autocast may be on for in any build of torch; the accelerator's besides."""


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """In the block it is torch's default dtype, for all threads of the process: for originals only, whose
    arithmetic may depend on it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def usual_modes() -> Iterator[None]:
    """In the block, on this thread: gradients on, no inference mode, no autocast, the CPU as default device.

    To be entered wherever a user calls us, also as a decorator. The default dtype stays the user's: it is one
    for all threads of the process, so that nobody but the user may change it, and adapters name their dtypes.
    """
    with ExitStack() as modes:
        modes.enter_context(torch.inference_mode(False))  # makes gradients usual, too, but only if it was on
        modes.enter_context(torch.enable_grad())
        accelerator = torch.accelerator.current_accelerator()
        for device in (*AUTOCAST, *([] if accelerator is None else [accelerator.type])):
            if torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        if torch.get_default_device().type != "cpu":  # else every call to torch would cost more
            modes.enter_context(torch.device("cpu"))
        yield
