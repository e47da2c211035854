"""What goes into a calculation and what comes out of it, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from distmlip.elements import in_words, symbols
from distmlip.errors import InvalidInputError, NonFiniteResultError, UnsupportedElementError
from distmlip.models.interface import Adapter
from distmlip.options import check_weights_fit

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
