"""Native stages: what they are built for, and whether the weights that they were built from still hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models.local_graph import LocalGraph
from distmlip.models.stages import Pullback, Stage, Tensors

Irreps = list[tuple[int, int]]
"""(degree, channels) of every irrep of a row."""
Matrix = NDArray[np.float64]

MOST_TABLE_BYTES = 64_000_000
"""Of the tables of a stage: larger ones are slower than exact functions."""
SHORTEST = 1e-4
"""Å; where functions of the length are taken for those at zero."""


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


@dataclass(frozen=True)
class NativeStage(Stage):
    """A :class:`Stage` that runs in C++, without Python and on several threads."""

    _: KW_ONLY
    compiled: core.NativeStage

    @property
    def native(self) -> core.NativeStage:
        """What the executor runs instead of :meth:`run`."""
        return self.compiled

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        """See :class:`Stage`; on one thread."""
        return self.compiled.run(
            graph.n_owned, graph.numbers, graph.senders, graph.receivers, graph.vectors, inputs, keep
        )


Builder = core.StageBuilder32 | core.StageBuilder64


@dataclass(frozen=True)
class Grid:
    """Where functions of the length are tabulated: cells that are half as long below half of the cutoff, as
    radial functions are steep there."""

    cutoff: float
    size: TableSize
    kink: float | None = None
    """Å: where the second derivative jumps; cells end there."""

    @property
    def cells(self) -> core.Cells:
        """What the core has to know of them."""
        n_inner, n_outer = self._counts
        return core.Cells(0.0, self._middle, self.cutoff, n_inner, n_outer)

    @property
    def lengths(self) -> Tensor:
        """(n_cells · n_coefficients,) float64, Å: Chebyshev's points of each cell, its ends among them, so
        that tables are continuous."""
        n_inner, n_outer = self._counts
        ends = np.concatenate(
            [
                np.linspace(0, self._middle, n_inner, endpoint=False),
                np.linspace(self._middle, self.cutoff, n_outer + 1),
            ]
        )
        first, last = ends[:-1, None], ends[1:, None]
        points = np.maximum(first + (last - first) * (self._points + 1) / 2, SHORTEST)
        return torch.as_tensor(points.ravel())

    def coefficients(self, values: Tensor) -> list[Matrix]:
        """Of each cell (n_coefficients, n_functions), from values (n_cells · n_coefficients, n_functions)."""
        n = self.size.coefficients
        to_coefficients = np.linalg.inv(np.polynomial.chebyshev.chebvander(self._points, n - 1))
        of_cells = values.detach().numpy().reshape(-1, n, values.shape[1])
        return list(np.einsum("dk,nkc->ndc", to_coefficients, of_cells))

    @property
    def _counts(self) -> tuple[int, int]:
        n_inner = max(1, round(self.size.cells * 2 / 3))
        return n_inner, max(1, self.size.cells - n_inner)

    @property
    def _middle(self) -> float:
        """Å: where the longer cells begin, about half of the cutoff."""
        if self.kink is None:
            return self.cutoff / 2
        n_outer, rest = self._counts[1], self.cutoff - self.kink
        beyond = max(1, round(n_outer * rest / (self.cutoff / 2)))
        middle = self.cutoff - n_outer * rest / beyond
        return middle if 0 < middle < self.kink else self.kink

    @property
    def _points(self) -> Matrix:
        n = self.size.coefficients
        return -np.cos(np.pi * np.arange(n) / (n - 1))


Functions = Callable[[Tensor, int, int], Tensor]
"""``(lengths (n,), receiver's species, sender's) -> (n, n_functions)``, float64."""


class StageMaker:
    """Makes the native stages of a model: what all of them share."""

    def __init__(
        self,
        choice: NativeChoice,
        dtype: torch.dtype,
        cutoff: float,
        sign: int,
        kink: float | None = None,
    ) -> None:
        self.choice = choice
        self._dtype = dtype
        self._sign = sign
        self._grid = Grid(cutoff, choice.table or TableSize(2, 2), kink)

    @property
    def n_species(self) -> int:
        """Elements that the stages are made for."""
        return len(self.choice.numbers)

    def builder(self) -> Builder:
        """Of another stage."""
        kind = core.StageBuilder32 if self._dtype == torch.float32 else core.StageBuilder64
        return kind(list(self.choice.numbers), self._sign, self._grid.cells)

    def species_pairs(self) -> list[tuple[int, int]]:
        """Receiver's and sender's species, in the core's order."""
        return [(r, s) for r in range(self.n_species) for s in range(self.n_species)]

    def tables(self, builder: Builder, functions: Functions, columns: list[int], by_species: bool) -> int:
        """Tables of functions that are the same for both orders of a species pair.

        Raises:
            NotNativeError: they would be too large.
        """
        pairs = self.species_pairs() if by_species else [(0, 0)]
        distinct = sorted({tuple(sorted(pair)) for pair in pairs})
        n_bytes = len(distinct) * self._grid.lengths.numel() * sum(columns) * self._dtype.itemsize
        if n_bytes > MOST_TABLE_BYTES:
            raise NotNativeError(
                f"tables of radial functions for {len(distinct)} pairs of elements would take "
                f"{n_bytes / 1e6:.0f} MB; at most {MOST_TABLE_BYTES / 1e6:.0f} MB are made"
            )
        cells: list[Matrix] = []
        for receiver, sender in distinct:
            cells += self._grid.coefficients(functions(self._grid.lengths, receiver, sender))
        of_pair = [distinct.index(tuple(sorted(pair))) for pair in pairs]
        return builder.tables(self._grid.size.coefficients, columns, of_pair, cells)
