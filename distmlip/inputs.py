"""What a user gives, options and structures, and what a model gives back: checked at the border.

Functions that check an option return the value in its final form.

Raises:
    InvalidInputError: the value is out of its range.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

from distmlip._native import core
from distmlip.errors import InvalidInputError, NonFiniteResultError, UnsupportedElementError, type_name

if TYPE_CHECKING:
    from distmlip.models.interface import Adapter

MOST_PARTITIONS = 1_000_000
"""The core's limit."""

METHODS = core.methods

N_NUMBERS = len(chemical_symbols)
"""Of those that ASE knows: 0 is X, a site without an element."""


def checked_partitions(partitions: int | str) -> int | None:
    """The number of partitions; None for ``"auto"``."""
    if isinstance(partitions, str) and partitions == "auto":
        return None
    whole = isinstance(partitions, Integral) and not isinstance(partitions, bool)
    if not whole or not 1 <= int(partitions) <= MOST_PARTITIONS:
        raise InvalidInputError(
            f"partitions={partitions!r}; it must be a whole number between 1 and {MOST_PARTITIONS}, or 'auto'"
        )
    return int(partitions)


def checked_steps(steps: object) -> int:
    """A number of steps: at least one."""
    return checked_count("steps", steps, least=1)


def checked_count(name: str, value: object, least: int) -> int:
    """A whole number from ``least``."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < least:
        raise InvalidInputError(f"{name}={value!r}; it must be a whole number from {least}")
    return int(value)


def checked_choice(name: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """``value``, if it is one of ``choices``."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        raise InvalidInputError(f"{name}={value!r}; it must be one of {', '.join(map(repr, choices))}")
    return value


def checked_recompute(recompute: bool | str) -> core.Recompute:
    """What is computed again; ``"auto"``: nothing, until something is chosen."""
    checked_choice("recompute", recompute, (True, False, "host", "auto"))
    if recompute == "host":
        return core.Recompute.host
    return core.Recompute.stages if recompute is True else core.Recompute.never


def checked_length(name: str, value: object) -> float:
    """A length in Å: finite and not negative."""
    if isinstance(value, str) or not isinstance(value, Real | np.ndarray):
        raise InvalidInputError(f"{name}={value!r}; it must be a number (Ang)")
    length = float(value)
    if not math.isfinite(length) or length < 0:
        raise InvalidInputError(f"{name}={length} Ang; it must be a finite number of at least 0")
    return length


def checked_weights(weights: ArrayLike | None) -> NDArray[np.float64] | None:
    """A copy of the weights, (n_atoms,); :func:`check_weights_fit` compares with a structure."""
    if weights is None:
        return None
    try:
        array = np.array(weights, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidInputError(
            f"weights={weights!r} are not numbers; give one finite number >= 0 per atom"
        ) from None
    if array.ndim != 1:
        raise InvalidInputError(f"weights has the shape {array.shape}; it must be (n_atoms,), one per atom")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidInputError(f"weights[{first}]={array[first]}; it must be a finite number of at least 0")
    return array


def check_weights_fit(weights: NDArray[np.float64] | None, n_atoms: int) -> None:
    """Raise if there are weights, but not one per atom."""
    if weights is not None and len(weights) != n_atoms:
        raise InvalidInputError(f"weights has {len(weights)} entries for {n_atoms} atoms; give one per atom")


def checked_atoms(atoms: object) -> Atoms:
    """``atoms``, if it is one structure of ASE."""
    if isinstance(atoms, Atoms):
        return atoms
    raise InvalidInputError(f"atoms is a {type_name(atoms)}, not an ase.Atoms; {_way_to_atoms(atoms)}")


def _way_to_atoms(structure: object) -> str:
    packages = {base.__module__.partition(".")[0] for base in type(structure).__mro__}
    is_list = isinstance(structure, list | tuple) and len(structure) > 0
    ways = {
        "give one structure at a time": is_list and isinstance(structure[0], Atoms),  # type: ignore[index]
        f"read the file with ase.io.read({str(structure)!r})": isinstance(structure, str | os.PathLike),
        "convert it with pymatgen.io.ase.AseAtomsAdaptor.get_atoms(structure)": "pymatgen" in packages,
        "convert it with ase.Atoms(p.symbols, scaled_positions=p.scaled_positions, cell=p.cell, pbc=True)": (
            "phonopy" in packages
        ),
        "give its .atoms": isinstance(getattr(structure, "atoms", None), Atoms),
        "give its .toatoms()": callable(getattr(structure, "toatoms", None)),
        "make one with ase.Atoms(symbols, positions=..., cell=..., pbc=...)": True,
    }
    return next(way for way, fits in ways.items() if fits)


def checked_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    """The dtype; None for the model's own."""
    if dtype is None or dtype in (torch.float32, torch.float64):
        return dtype
    if dtype in ("float32", "float64"):
        return torch.float32 if dtype == "float32" else torch.float64
    raise InvalidInputError(
        f"dtype={dtype!r}; it must be torch.float32, torch.float64 or None (the model's own)"
    )


OF_MODELS = frozenset(
    {"calc_stresses", "graph_converter", "model", "potential", "predict_graph", "predict_structure"}
)
"""Attributes of the families' models that a torch module does not have."""


def words_for_missing(attribute: str) -> str:
    """Of an AttributeError of a calculator: somebody may have taken it for a model."""
    words = f"'DistCalculator' object has no attribute {attribute!r}"
    if attribute in OF_MODELS or (not attribute.startswith("_") and hasattr(torch.nn.Module, attribute)):
        words += (
            ": it is an ASE calculator, not a model; set atoms.calc = calculator and use ASE's own drivers, "
            "such as FIRE(FrechetCellFilter(atoms)), and where a model is asked for give the model itself"
        )
    return words


def check_atoms(
    atoms: Atoms, adapter: Adapter, weights: NDArray[np.float64] | None
) -> dict[str, torch.Tensor]:
    """What the adapter says of the system. Raise InvalidInputError (of an unknown element:
    UnsupportedElementError) if it cannot be calculated.

    ``weights``: those of the atoms in the cut, or None.
    """
    if len(atoms) == 0:
        raise InvalidInputError("the structure has no atoms; at least 1 is needed")
    finite = np.isfinite(atoms.positions).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise InvalidInputError(
            f"atom {first} is at {atoms.positions[first].tolist()} and {np.count_nonzero(~finite)} atoms "
            "in all have positions that are not finite numbers; check the structure, or the time step"
        )
    unknown = sorted(set(np.unique(atoms.numbers).tolist()) - adapter.supported_numbers)
    if unknown:
        raise UnsupportedElementError(
            f"the model does not know {in_words(unknown)}; "
            f"it knows {symbols(sorted(adapter.supported_numbers))}"
        )
    check_weights_fit(weights, len(atoms))
    return adapter.system(atoms)  # raises if the model reads something that is not there


def check_results(results: Mapping[str, Any]) -> None:
    """Raise if an energy or a force is not a finite number.

    Raises:
        NonFiniteResultError: so it is.
    """
    energies, forces = results["energies"], results["forces"]
    finite = np.isfinite(energies) & np.isfinite(forces).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise NonFiniteResultError(
            f"the model gave energy {energies[first]} eV and force {forces[first].tolist()} eV/Ang for atom "
            f"{first}, and {np.count_nonzero(~finite)} atoms in all are not finite; check for atoms "
            "that are very close, or use dtype='float64'"
        )


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
