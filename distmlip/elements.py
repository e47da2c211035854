"""Elements in words; numbers that are no elements, too: dummy sites, types of other programs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols

from distmlip.errors import UnsupportedElementError

N_NUMBERS = len(chemical_symbols)
"""Of those that ASE knows: 0 is X, a site without an element."""


def in_words(numbers: Iterable[int]) -> str:
    """Such as ``"Cu (29), X (0, no element), 200 (no element)"``."""
    return ", ".join(map(_in_words, numbers))


def symbols(numbers: Iterable[int]) -> str:
    """Such as ``"Cu X 200"``."""
    return " ".join(chemical_symbols[n] if 0 <= n < N_NUMBERS else str(n) for n in numbers)


def require_known(numbers: np.ndarray) -> None:
    """
    Raises:
        UnsupportedElementError: ASE does not know an atomic number of the structure.
    """
    unknown = np.unique(numbers[(numbers < 0) | (numbers >= N_NUMBERS)]).tolist()
    if unknown:
        raise UnsupportedElementError(
            f"the structure has the atomic numbers {in_words(unknown)}; elements are 1 to {N_NUMBERS - 1}, "
            "and 0 is a site without one: check where the structure comes from"
        )


def _in_words(number: int) -> str:
    if 0 < number < N_NUMBERS:
        return f"{chemical_symbols[number]} ({number})"
    return "X (0, no element)" if number == 0 else f"{number} (no element)"
