"""Evaluation copies of a user's model: frozen, independent, and without a second set of weights."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def replicate(module: Module, device: torch.device, dtype: torch.dtype) -> Module:
    """Return a frozen copy of ``module`` in eval mode on ``device``, floating-point tensors in ``dtype``.

    Parameters and buffers share storage with the original where device and dtype agree already; the original
    keeps its dtype, device, mode and ``requires_grad``. Tensors inside TorchScript submodules are copied
    (they copy themselves).
    """
    parameters, buffers = list(module.parameters()), list(module.buffers())
    aliases: dict[int, object] = {
        **{id(parameter): nn.Parameter(parameter.detach(), requires_grad=False) for parameter in parameters},
        **{id(buffer): buffer.detach() for buffer in buffers},
    }
    replica = copy.deepcopy(module, aliases)
    # Module.to swaps each parameter's data, so an alias leaves the original's storage when it is converted.
    return replica.to(device=device, dtype=dtype).eval().requires_grad_(False)
