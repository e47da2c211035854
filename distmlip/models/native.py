"""Native stages: what they are built for, and whether the weights that they were built from still hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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

PADDING = 16
"""Channels of rows in the core are padded to a multiple of it (csrc/kernels/irreps/operators.h)."""
MOST_TABLE_BYTES = 64_000_000
"""Of the tables of a stage: larger ones are slower than exact functions."""
SHORTEST = 1e-4
"""Å; where functions of the length are taken for those at zero."""
PROBED_CELLS, PROBED_COEFFICIENTS = 40, 8
"""Of tables that show where functions are rough."""
ROUNDING = 1e-14
"""Below it, relative to the largest one, coefficients say nothing."""


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
            graph.n_owned,
            graph.numbers,
            graph.senders,
            graph.receivers,
            graph.vectors,
            inputs,
            keep,
            graph.bonds,
        )


Builder = core.StageBuilder32 | core.StageBuilder64


@dataclass(frozen=True)
class Grid:
    """Where functions of the length are tabulated: piece by piece, at Chebyshev's points."""

    ends: tuple[float, ...]
    """Å: of the cells, from the first one's beginning to the last one's end."""
    n_coefficients: int
    """In each cell."""

    @property
    def cells(self) -> core.Cells:
        """What the core has to know of them."""
        return core.Cells(self.ends)

    @property
    def lengths(self) -> Tensor:
        """(n_cells · n_coefficients,) float64, Å: Chebyshev's points of each cell, its ends among them, so
        that tables are continuous."""
        ends = np.array(self.ends)
        first, last = ends[:-1, None], ends[1:, None]
        points = np.maximum(first + (last - first) * (self._points + 1) / 2, SHORTEST)
        return torch.as_tensor(points.ravel())

    def coefficients(self, values: Tensor) -> Matrix:
        """(n_cells, n_coefficients, n_functions), from values (n_cells · n_coefficients, n_functions)."""
        n = self.n_coefficients
        to_coefficients = np.linalg.inv(np.polynomial.chebyshev.chebvander(self._points, n - 1))
        of_cells = values.detach().numpy().reshape(-1, n, values.shape[1])
        coefficients: Matrix = np.einsum("dk,nkc->ndc", to_coefficients, of_cells)
        return coefficients

    @property
    def _points(self) -> Matrix:
        n = self.n_coefficients
        return -np.cos(np.pi * np.arange(n) / (n - 1))


def fitted(
    size: TableSize, cutoff: float, kink: float | None, functions: Iterable[Callable[[Tensor], Tensor]]
) -> Grid:
    """Cells that are the shorter the rougher some of the functions are, for errors that are about the same in
    all of them. ``kink``: Å, where the second derivative jumps; cells end there."""
    probe = Grid(tuple(np.linspace(0, cutoff, PROBED_CELLS + 1)), PROBED_COEFFICIENTS)
    largest, last = 0.0, np.zeros(PROBED_CELLS)
    for of in functions:
        coefficients = np.abs(probe.coefficients(of(probe.lengths)))
        largest = max(largest, float(coefficients.max()))
        # The last ones fall like the error of a table of so many, which goes with their power of the length.
        last = np.maximum(last, coefficients[:, -2:].max(axis=(1, 2)))
    last = last / largest + ROUNDING
    roughness = np.lib.stride_tricks.sliding_window_view(np.pad(last, 1, "edge"), 3).max(axis=1)
    place = np.concatenate([[0.0], np.cumsum(roughness ** (1 / PROBED_COEFFICIENTS))])
    stretches = [(0.0, place[-1], size.cells)]
    if kink is not None:
        middle = float(np.interp(kink, probe.ends, place))
        below = int(np.clip(round(size.cells * middle / place[-1]), 1, size.cells - 1))
        stretches = [(0.0, middle, below), (middle, place[-1], size.cells - below)]
    ends = [np.linspace(*stretch[:2], stretch[2] + 1)[1:] for stretch in stretches]
    return Grid((0.0, *np.interp(np.concatenate(ends), place, probe.ends).tolist()), size.coefficients)


Functions = Callable[[Tensor, int, int], Tensor]
"""``(lengths (n,), receiver's species, sender's) -> (n, n_functions)``, float64."""


class StageMaker:
    """Makes the native stages of a model: what all of them share."""

    def __init__(
        self, choice: NativeChoice, dtype: torch.dtype, cutoff: float, sign: int, kink: float | None = None
    ) -> None:
        self.choice = choice
        self._dtype = dtype
        self._cutoff = cutoff
        self._sign = sign
        self._kink = kink
        self._grid: Grid | None = None

    def fit(self, functions: Functions, by_species: bool) -> None:
        """Choose cells for tables, by functions that are as rough as those that will be in them."""
        assert self.choice.table is not None
        of_pairs = (
            (lambda lengths, pair=pair: functions(lengths, *pair)) for pair in self._distinct(by_species)
        )
        self._grid = fitted(self.choice.table, self._cutoff, self._kink, of_pairs)

    @property
    def n_species(self) -> int:
        """Elements that the stages are made for."""
        return len(self.choice.numbers)

    def builder(self) -> Builder:
        """Of another stage."""
        kind = core.StageBuilder32 if self._dtype == torch.float32 else core.StageBuilder64
        grid = self._grid or Grid((0.0, self._cutoff), 2)  # without tables nobody reads it
        return kind(list(self.choice.numbers), self._sign, grid.cells)

    def species_pairs(self) -> list[tuple[int, int]]:
        """Receiver's and sender's species, in the core's order."""
        return [(r, s) for r in range(self.n_species) for s in range(self.n_species)]

    def tables(self, builder: Builder, functions: Functions, columns: list[int], by_species: bool) -> int:
        """Tables of functions that are the same for both orders of a species pair.

        Raises:
            NotNativeError: they would be too large.
        """
        assert self._grid is not None, "fit() has to choose the cells before a builder is made"
        distinct = self._distinct(by_species)
        n_bytes = len(distinct) * self._grid.lengths.numel() * sum(columns) * self._dtype.itemsize
        require_small(f"tables of radial functions for {len(distinct)} pairs of elements", n_bytes)
        cells: list[Matrix] = []
        for receiver, sender in distinct:
            cells += list(self._grid.coefficients(functions(self._grid.lengths, receiver, sender)))
        of_pair = [distinct.index(_ascending(pair)) for pair in self.species_pairs()] if by_species else [0]
        return builder.tables(self._grid.n_coefficients, columns, of_pair, cells)

    def _distinct(self, by_species: bool) -> list[tuple[int, int]]:
        """Species pairs whose functions may differ."""
        return sorted({_ascending(pair) for pair in self.species_pairs()}) if by_species else [(0, 0)]


def require_small(tables: str, n_bytes: int) -> None:
    """
    Raises:
        NotNativeError: these tables of a stage would be too large.
    """
    if n_bytes > MOST_TABLE_BYTES:
        raise NotNativeError(
            f"{tables} would take {n_bytes / 1e6:.0f} MB; at most {MOST_TABLE_BYTES / 1e6:.0f} MB are made"
        )


def padded(channels: int) -> int:
    """As the core has them."""
    return -(-channels // PADDING) * PADDING


def _ascending(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)
