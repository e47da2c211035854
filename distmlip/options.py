"""The options of a calculator, checked: each function returns the value in its final form or raises.

Raises:
    InvalidInputError: the value is out of its range.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from distmlip.errors import InvalidInputError

METHODS = ("auto", "slab", "bisection")


def checked_partitions(partitions: int | str) -> int | None:
    """The number of partitions; None for ``"auto"``."""
    if partitions == "auto":
        return None
    if isinstance(partitions, bool) or not isinstance(partitions, Integral) or int(partitions) < 1:
        raise InvalidInputError(
            f"partitions={partitions!r}; it must be a whole number of at least 1, or 'auto'"
        )
    return int(partitions)


def checked_choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """``value``, if it is one of ``choices``."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise InvalidInputError(f"{name}={value!r}; it must be one of {', '.join(map(repr, choices))}")
    return value


def checked_skin(skin: float) -> float:
    """The skin in Å."""
    if not isinstance(skin, Real) or not math.isfinite(skin) or skin < 0:
        raise InvalidInputError(f"skin={skin!r} Å; it must be a finite number of at least 0")
    return float(skin)


def checked_weights(weights: ArrayLike | None) -> NDArray[np.float64] | None:
    """A copy of the weights, (n_atoms,)."""
    if weights is None:
        return None
    try:
        array = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"weights={weights!r} are not numbers; give one finite number >= 0 per atom"
        ) from None
    if array.ndim != 1 or not np.isfinite(array).all() or (array < 0).any() or not array.sum() > 0:
        raise InvalidInputError(
            f"weights of shape {array.shape} must be one finite number >= 0 per atom, and not all of them 0"
        )
    return array


def checked_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """The dtype; None for the model's own."""
    if dtype is None or dtype in (torch.float32, torch.float64):
        return dtype
    if dtype in ("float32", "float64"):
        return torch.float32 if dtype == "float32" else torch.float64
    raise InvalidInputError(
        f"dtype={dtype!r}; it must be torch.float32, torch.float64 or None (the model's own)"
    )
