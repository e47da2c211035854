"""Tensors of rank two in plain torch, and the functions of them that our operators know."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

N_NUMBERS = 9
"""I, A01, A02, A12, S00, S01, S02, S11, S12."""
DEGREE_OF = torch.tensor([0, 1, 1, 1, 2, 2, 2, 2, 2])


def squares(flat: Tensor) -> Tensor:
    """(n, channels, 3, 3) of rows of nine numbers."""
    i, a01, a02, a12, s00, s01, s02, s11, s12 = flat.view(len(flat), N_NUMBERS, -1).unbind(1)
    rows = [
        (i + s00, s01 + a01, s02 + a02),
        (s01 - a01, i + s11, s12 + a12),
        (s02 - a02, s12 - a12, i - s00 - s11),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def flat(tensors: Tensor) -> Tensor:
    scalar = tensors.diagonal(dim1=-2, dim2=-1).mean(-1)
    skew, rest = (tensors - tensors.mT) / 2, (tensors + tensors.mT) / 2
    numbers = [scalar, skew[..., 0, 1], skew[..., 0, 2], skew[..., 1, 2], rest[..., 0, 0] - scalar]
    numbers += [rest[..., 0, 1], rest[..., 0, 2], rest[..., 1, 1] - scalar, rest[..., 1, 2]]
    return torch.stack(numbers, dim=1).flatten(1)


def normalised(tensors: Tensor) -> Tensor:
    return tensors / (1 + tensors.square().sum((-2, -1), keepdim=True))


def norms(tensors: Tensor) -> Tensor:
    """Of the three parts, part by part."""
    scalar = tensors.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] * torch.eye(3, dtype=tensors.dtype)
    parts = [scalar, (tensors - tensors.mT) / 2, (tensors + tensors.mT) / 2 - scalar]
    return torch.cat([part.square().sum((-2, -1)) for part in parts], dim=1)


ONE: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "norm": (lambda x: x.square().sum((-2, -1)), 1),
    "norms": (norms, 3),
    "normalised": (lambda x: flat(normalised(x)), 0),
}
"""Functions of tensors, and how many scalars they give; none: tensors."""
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "anticommutator": lambda a, b: normalised(a @ b + b @ a),
    "twice_product": lambda a, b: normalised(2 * a @ b),
    "plus_square": lambda a, b: a + b + b @ b,
}
