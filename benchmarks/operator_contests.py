"""What contests of operators for devices share (bench_operators.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Contestant:
    """Outputs, and gradients of all inputs."""

    compute: Callable[[], Tensors]
    in_their_layout: Callable[..., Tensors] = lambda *tensors: tensors
    """What was computed, as the original has it; this takes no time."""


@dataclass(frozen=True)
class Contest:
    """Who takes turns with an operator, and what is right."""

    n_atoms: int
    exact: Tensors
    """Outputs and gradients in float64."""
    contestants: dict[str, Contestant]


def with_gradients(function: Callable[..., Tensor], inputs: Tensors, seed: Tensor) -> Tensors:
    """The output, and gradients of the inputs, by torch."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    return (output.detach(), *torch.autograd.grad((output * seed).sum(), leaves))
