"""Tables of functions of the length, and where their cells are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distmlip.models.native import Grid, TableSize, fitted

CUTOFF = 6.0


def rough(lengths: Tensor) -> Tensor:
    """As radial networks are: of waves that are the higher the shorter the length."""
    waves = torch.sin(lengths[:, None] * torch.arange(1, 11) * torch.pi / CUTOFF) / lengths[:, None]
    return torch.nn.functional.silu(waves)


def error_in_cells(grid: Grid) -> np.ndarray:
    """The largest one of each cell, between the points."""
    coefficients = grid.coefficients(rough(grid.lengths))
    places, errors = np.linspace(-0.97, 0.97, 23), []
    for first, last, of_cell in zip(grid.ends[:-1], grid.ends[1:], coefficients, strict=True):
        lengths = torch.as_tensor(first + (last - first) * (places + 1) / 2)
        values = np.polynomial.chebyshev.chebval(places, of_cell).T
        errors.append(np.abs(values - rough(lengths).numpy()).max())
    return np.array(errors)


@given(
    cells=st.integers(2, 70),
    coefficients=st.integers(2, 16),
    kink=st.none() | st.floats(0.5, 5.5),
    frequency=st.floats(0, 40),
)
def test_cells_cover_all_lengths_once(
    cells: int, coefficients: int, kink: float | None, frequency: float
) -> None:
    size = TableSize(cells, coefficients)
    grid = fitted(size, CUTOFF, kink, [lambda r: torch.cos(frequency * r[:, None]) / (r[:, None] + 0.1)])
    assert len(grid.ends) == cells + 1
    assert grid.ends[0] == 0.0
    assert grid.ends[-1] == pytest.approx(CUTOFF, rel=1e-12)
    assert np.all(np.diff(grid.ends) > 0)
    if kink is not None:
        assert np.abs(np.array(grid.ends) - kink).min() < 1e-9
    assert len(grid.lengths) == cells * coefficients
    grid.cells  # noqa: B018  the core takes them


def test_fitted_cells_have_about_the_same_error() -> None:
    size = TableSize(30, 8)
    equal = error_in_cells(Grid(tuple(np.linspace(0, CUTOFF, size.cells + 1)), size.coefficients))
    fit = error_in_cells(fitted(size, CUTOFF, None, [rough]))
    assert equal.max() > 1e3 * equal.min()
    assert fit.max() < 100 * fit.min()
    assert fit.max() < 0.05 * equal.max()


def test_the_roughest_of_several_functions_decides() -> None:
    size = TableSize(20, 8)
    alone = fitted(size, CUTOFF, None, [rough])
    beside = fitted(size, CUTOFF, None, [lambda r: 1e-3 * r[:, None], rough])
    np.testing.assert_allclose(beside.ends, alone.ends, rtol=1e-9)


def test_constants_get_cells_of_one_length() -> None:
    grid = fitted(TableSize(12, 4), CUTOFF, None, [lambda r: torch.ones(len(r), 1, dtype=torch.float64)])
    np.testing.assert_allclose(grid.ends, np.linspace(0, CUTOFF, 13), atol=1e-9)
