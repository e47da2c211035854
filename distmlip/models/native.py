"""Native stages: what they are built for, and whether the weights that they were built from still hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class TableSize:
    """Of piecewise Chebyshev tables of radial functions."""

    cells: int
    """That the distances up to the cutoff are divided into."""
    coefficients: int
    """In each cell."""

    def __str__(self) -> str:
        return f"{self.cells} x {self.coefficients}"


@dataclass(frozen=True)
class NativeChoice:
    """Which native stages are to be built."""

    numbers: tuple[int, ...]
    """Ascending atomic numbers that the stages are built for; other atoms cannot be evaluated."""
    table: TableSize | None
    """Of radial functions; None: exact radial functions."""


class Weights:
    """The parameters and buffers of models, as they were when something was made of their values."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._tensors = [
            tensor
            for model in models
            for tensor in (*model.parameters(), *model.buffers())
            if not tensor.is_inference()  # of which torch does not count changes
        ]
        self._versions = _versions(self._tensors)

    def changed(self) -> bool:
        """Whether one was changed in place since. Torch does not count changes through ``.data``."""
        return _versions(self._tensors) != self._versions


def _versions(tensors: list[Tensor]) -> list[int]:
    return [tensor._version for tensor in tensors]
