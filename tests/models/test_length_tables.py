"""Tables that are as exact as the numbers of a native stage, for any function of the length."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from distmlip.errors import NotNativeError
from distmlip.models import length_tables as module
from distmlip.models import native
from distmlip.models.length_tables import length_tables
from distmlip.models.native import Grid

CUTOFF = 5.0
KINK = 3.3


def columns(*functions: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda lengths: torch.stack([function(lengths) for function in functions], dim=1)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "ones": columns(torch.ones_like),
    "waves": columns(*(lambda r, k=k: torch.sin(k * math.pi * r / CUTOFF) / r for k in (1, 9, 63))),
    "narrow Gaussians": columns(*(lambda r, c=c: torch.exp(-200 * (r - c) ** 2) for c in (1.0, 2.3, 4.9))),
    "a kink": columns(lambda r: torch.where(r < KINK, (1 - r / KINK) ** 2, 0.0)),
    "steep": columns(lambda r: r**-6),
}


def evaluated(ends: list[float], n: int, function: Callable[[Tensor], Tensor], r: np.ndarray) -> tuple:
    """Values and slopes as the core has them: of Chebyshev polynomials on cells."""
    grid = Grid(tuple(ends), n)
    coefficients = grid.coefficients(function(grid.lengths))
    cell = np.clip(np.searchsorted(ends, r, side="right") - 1, 0, len(ends) - 2)
    first, last = np.array(ends)[cell], np.array(ends)[cell + 1]
    t = 2 * (r - first) / (last - first) - 1
    values, slopes = [], []
    for k, at in zip(cell, t, strict=True):
        values.append(np.polynomial.chebyshev.chebval(at, coefficients[k]))
        slope = np.polynomial.chebyshev.chebval(at, np.polynomial.chebyshev.chebder(coefficients[k]))
        slopes.append(slope * 2 / (ends[k + 1] - ends[k]))
    return np.array(values), np.array(slopes)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_slopes(name: str, dtype: torch.dtype) -> None:
    function = FUNCTIONS[name]
    ends = module._cells_of(function, CUTOFF, [KINK], dtype)
    assert ends == sorted(set(ends))
    assert ends[0] == 0
    assert ends[-1] == CUTOFF
    assert KINK in ends
    lengths = torch.linspace(0.7, CUTOFF, 333, dtype=torch.float64).requires_grad_()
    expected = function(lengths)
    exact_slopes = torch.stack(
        [
            torch.autograd.grad(expected[:, k].sum(), lengths, retain_graph=True, allow_unused=True)[0]
            if expected[:, k].requires_grad
            else torch.zeros_like(lengths)
            for k in range(expected.shape[1])
        ],
        dim=1,
    )
    values, slopes = evaluated(ends, module.COEFFICIENTS[dtype], function, lengths.detach().numpy())
    tolerance = 1e-14 if dtype == torch.float64 else 1e-8
    scale = expected.abs().max().item()
    np.testing.assert_allclose(values, expected.detach().numpy(), rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(
        slopes,
        exact_slopes.numpy(),
        rtol=0,
        atol=200 * tolerance * max(scale, exact_slopes.abs().max().item()),
    )


def test_tables_that_would_be_too_large_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "MOST_TABLE_BYTES", 1000)
    with pytest.raises(NotNativeError, match=r"tables of 4 functions of the length would take 0 MB"):
        length_tables([FUNCTIONS["waves"], FUNCTIONS["ones"]], CUTOFF, [], torch.float32)
