"""What a family's ``adapt`` is given besides a model: checked in the same way for all families."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from distmlip.errors import InvalidInputError

DTYPES = (torch.float32, torch.float64)


def refuse_unknown(given: Iterable[str], known: Sequence[str], model: str) -> None:
    """Raise InvalidInputError if there are options that such models do not have.

    ``model``: what messages call them.
    """
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InvalidInputError(f"options {unknown} are unknown; {model} has {', '.join(known) or 'none'}")


def chosen_dtype(
    given: torch.dtype | None, own: torch.dtype, model: str, supported: Sequence[torch.dtype] = DTYPES
) -> torch.dtype:
    """The dtype that a model is evaluated in: the given one, or else its own.

    Raises:
        InvalidInputError: it is none of those that are supported.
    """
    dtype = given or own
    if dtype not in supported:
        raise InvalidInputError(f"dtype={dtype}; {model} is evaluated in {' or '.join(map(str, supported))}")
    return dtype
