"""Neighbour lists: ``ase.neighborlist.neighbor_list`` on the compiled core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase.data import atomic_numbers

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.inputs import N_NUMBERS, checked_atoms, checked_length, require_known

if TYPE_CHECKING:
    from ase import Atoms

QUANTITIES = "ijdDS"

PairCutoffs = Mapping[tuple[str | int, str | int], float]


def neighbor_list(
    quantities: str,
    a: Atoms,
    cutoff: float | PairCutoffs | Sequence[float] | np.ndarray,
    self_interaction: bool = False,
    max_nbins: float = 1e6,
) -> np.ndarray | tuple[np.ndarray, ...]:
    """All pairs of atoms that are closer than a cutoff: the same call, conventions and types as ASE's.

    Works for periodic, mixed and open boundaries, for cells thinner than the cutoff (an atom then is a
    neighbour of its own images) and for atoms outside the cell. The list is sorted by ``i``; the order of
    the neighbours of one atom is not specified. Runs on as many threads as torch does
    (``torch.set_num_threads``, ``OMP_NUM_THREADS``).

    Parameters
    ----------
    quantities
        What to return, one letter each, in any order: ``i`` first atom, (n_pairs,) int64; ``j`` second atom,
        (n_pairs,) int64; ``d`` distance in Å, (n_pairs,); ``D`` vector from i to j in Å, (n_pairs, 3);
        ``S`` shift, (n_pairs, 3) int64, with ``D = positions[j] - positions[i] + S @ cell``.
    a
        The structure.
    cutoff
        Pairs have ``d < cutoff``. A number (Å); or a dictionary of cutoffs per pair of elements, given by
        symbol or atomic number, such as ``{("C", "H"): 1.3, (6, 6): 1.85}``, pairs that are not named having
        none; or one radius per atom (n_atoms,), two atoms being neighbours if their radii overlap.
    self_interaction
        Whether every atom is also a neighbour of itself (not only of its periodic images).
    max_nbins
        Accepted for compatibility with ASE; the number of bins is bounded by the number of atoms anyway.

    Returns
    -------
    One new array per letter, as a tuple; the array itself if there is one letter only.

    Raises
    ------
    InvalidInputError
        For something else than an ``ase.Atoms``, unknown letters, cutoffs that are negative or not finite,
        radii that are not one per atom, unknown elements, positions that are not finite, and periodic cells
        without volume.
    UnsupportedElementError
        With cutoffs per pair of elements, for atomic numbers that are no elements.
    """
    checked_atoms(a)
    for letter in quantities:
        if letter not in QUANTITIES:
            raise InvalidInputError(f"quantities has {letter!r}; it may have the letters of {QUANTITIES!r}")
    if not max_nbins >= 1:
        raise InvalidInputError(f"max_nbins is {max_nbins}; it must be at least 1")
    if isinstance(cutoff, Mapping):
        arrays = _with_pair_cutoffs(quantities, a, cutoff, self_interaction)
    elif np.ndim(cutoff) == 0:
        arrays = _within(quantities, a, checked_length("cutoff", cutoff), self_interaction)
    else:
        arrays = _with_radii(quantities, a, cutoff, self_interaction)
    result = tuple(arrays[letter] for letter in quantities)
    return result[0] if len(result) == 1 else result


def _within(quantities: str, a: Atoms, cutoff: float, self_interaction: bool) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = core.neighbor_list(
        quantities=quantities,
        positions=a.positions,
        cell=a.cell.array,
        periodic=[bool(periodic) for periodic in a.pbc],
        cutoff=cutoff,
        self_interaction=bool(self_interaction),
        n_threads=torch.get_num_threads(),
    )
    return arrays


def _with_pair_cutoffs(
    quantities: str, a: Atoms, cutoffs: PairCutoffs, self_interaction: bool
) -> dict[str, np.ndarray]:
    if not cutoffs:
        raise InvalidInputError("cutoff is an empty dictionary; it must have at least one pair of elements")
    lengths = {}
    for pair, value in cutoffs.items():
        if not (isinstance(pair, tuple) and len(pair) == 2):
            raise InvalidInputError(f"cutoff has the key {pair!r}; keys must be pairs of elements")
        lengths[_atomic_number(pair[0]), _atomic_number(pair[1])] = checked_length(f"cutoff[{pair}]", value)
    require_known(a.numbers)
    table = np.zeros((N_NUMBERS, N_NUMBERS))
    for (first, second), length in lengths.items():
        table[first, second] = table[second, first] = length
    arrays = _within(_and("ijd", quantities), a, max(lengths.values()), self_interaction)
    numbers = a.numbers
    return _selected(arrays, arrays["d"] < table[numbers[arrays["i"]], numbers[arrays["j"]]])


def _atomic_number(element: str | int) -> int:
    if isinstance(element, str) and element in atomic_numbers:
        return int(atomic_numbers[element])
    if isinstance(element, int | np.integer) and 0 <= element < N_NUMBERS:
        return int(element)
    raise InvalidInputError(f"cutoff names the element {element!r}; give a symbol or an atomic number")


def _with_radii(
    quantities: str, a: Atoms, radii: float | Sequence[float] | np.ndarray, self_interaction: bool
) -> dict[str, np.ndarray]:
    try:
        values = np.asarray(radii, dtype=float)
    except (TypeError, ValueError):
        raise InvalidInputError("cutoff is a sequence of something else than numbers (Ang)") from None
    if values.shape != (len(a),):
        raise InvalidInputError(
            f"cutoff has the shape {values.shape} for {len(a)} atoms; give one radius per atom, or one number"
        )
    if not np.all(np.isfinite(values) & (values >= 0)):
        raise InvalidInputError(
            f"cutoff has radii from {values.min()} to {values.max()} Ang; "
            "they must be finite and not negative"
        )
    largest = 2 * float(values.max(initial=0.0))
    arrays = _within(_and("ijd", quantities), a, largest, self_interaction)
    return _selected(arrays, arrays["d"] < values[arrays["i"]] + values[arrays["j"]])


def _and(needed: str, quantities: str) -> str:
    return needed + "".join(letter for letter in quantities if letter not in needed)


def _selected(arrays: dict[str, np.ndarray], mask: np.ndarray) -> dict[str, np.ndarray]:
    return {letter: array[mask] for letter, array in arrays.items()}
