"""Functions of the length as tables that are as exact as the numbers of a native stage: for any function that
a model's own modules compute of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from distmlip._native import core
from distmlip.models.native import Grid, Matrix, require_small

Function = Callable[[Tensor], Tensor]
"""``lengths (n,) -> (n, n_columns)``, both float64, Å."""

COEFFICIENTS = {torch.float32: 10, torch.float64: 16}
ROUNDING = {torch.float32: 2e-10, torch.float64: 2e-15}
"""Of a function's largest value in a cell, or at the lengths of bonds: the last coefficients of the cell are
below it, errors far below them."""
OF_BONDS = 1 / 4
"""Of the cutoff: from there on are lengths of bonds. What functions are at shorter ones, where some of them
grow very large, says nothing of how exact they have to be elsewhere."""
N_BONDS = 200
"""Lengths of bonds at which functions are looked at."""
SHORTEST_CELL = 1 / 512
"""Of the cutoff: where functions are rough at lengths that no atoms have, cells end up as short as this."""


def length_tables(
    functions: Sequence[Function], cutoff: float, kinks: Sequence[float], dtype: torch.dtype
) -> core.LengthTables:
    """A group of columns for each function. ``kinks``: Å, where a derivative of one may jump.

    Raises:
        NotNativeError: they would be too large.
    """
    found = [_cells_of(function, cutoff, kinks, dtype) for function in functions]
    ends = sorted({end for cells in found for end in cells})
    grid = Grid(tuple(ends), COEFFICIENTS[dtype])
    values = [function(grid.lengths) for function in functions]
    columns = [of.shape[1] for of in values]
    n_bytes = len(grid.lengths) * sum(columns) * dtype.itemsize
    require_small(f"tables of {sum(columns)} functions of the length", n_bytes)
    cells: Matrix = grid.coefficients(torch.cat(values, dim=1))
    return core.LengthTables(ends=ends, columns=columns, cells=list(cells))


def _cells_of(function: Function, cutoff: float, kinks: Sequence[float], dtype: torch.dtype) -> list[float]:
    """Ends of cells, which are halved until the function is a polynomial on each."""
    inner = [kink for kink in kinks if 0 < kink < cutoff]
    accepted, ends = [], sorted({0.0, *inner, cutoff})
    pending = list(pairwise(ends))
    bonds = function(torch.linspace(OF_BONDS * cutoff, cutoff, N_BONDS, dtype=torch.float64))
    scale = float(bonds.abs().max())
    while pending:
        grids = [Grid(cell, COEFFICIENTS[dtype]) for cell in pending]
        values = function(torch.cat([grid.lengths for grid in grids]))
        halves = []
        for (first, last), of in zip(pending, np.abs(grids[0].coefficients(values)), strict=True):
            is_short = last - first <= cutoff * SHORTEST_CELL
            if is_short or of[-2:].max() <= ROUNDING[dtype] * max(scale, of.max()):
                accepted.append(last)
            else:
                middle = (first + last) / 2
                halves += [(first, middle), (middle, last)]
        pending = halves
    return [0.0, *sorted(accepted)]
