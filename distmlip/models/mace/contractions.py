"""MACE's symmetric contractions as lists of monomials."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distmlip.errors import NotNativeError, type_name
from distmlip.models.native import Irreps, Matrix

MOST_DEGREE = 3
"""Of a monomial: MACE's correlation."""
ZERO = 1e-10
"""Coupling coefficients below it are rounding."""

Monomial = tuple[int, ...]


@dataclass(frozen=True)
class Contraction:
    """``out[output] = Σ coefficient · Π x[i]`` over the monomials, for every channel."""

    irreps: Irreps
    outputs: list[int]
    inputs: list[Monomial]
    coefficients: list[Matrix]
    """Of each species: (n_monomials, channels)."""


def contraction_of(module: Any, elements: Sequence[int], part: str) -> Contraction:
    """Take a ``SymmetricContraction`` apart, for these elements of the model.

    Raises:
        NotNativeError: it is another module, or its correlation is too high.
    """
    if not hasattr(module, "contractions"):
        raise NotNativeError(f"{part} is a {type_name(module)}, which native stages do not know")
    irreps: Irreps = []
    terms: list[tuple[int, Monomial, list[Matrix]]] = []
    n_outputs = 0
    for contraction in module.contractions:
        if contraction.correlation > MOST_DEGREE:
            raise NotNativeError(
                f"{part} has the correlation {contraction.correlation}; "
                f"native stages know up to {MOST_DEGREE}"
            )
        found = _terms(contraction, elements)
        n_components = max(output for output, _, _ in found) + 1 if found else 1
        degree = (_n_components(contraction) - 1) // 2
        irreps.append((degree, contraction.num_features))
        terms += [(n_outputs + output, monomial, of) for output, monomial, of in found]
        n_outputs += max(n_components, 2 * degree + 1)
    terms.sort(key=lambda term: term[:2])
    return Contraction(
        irreps,
        [output for output, _, _ in terms],
        [monomial for _, monomial, _ in terms],
        [np.array([of[species] for _, _, of in terms]) for species in range(len(elements))],
    )


def _n_components(contraction: Any) -> int:
    coupling = contraction.U_tensors(1)
    return 1 if coupling.ndim == 2 else coupling.shape[0]


def _terms(contraction: Any, elements: Sequence[int]) -> list[tuple[int, Monomial, list[Matrix]]]:
    """(output component, monomial, coefficients (channels,) of each species)."""
    terms = []
    for degree in range(1, contraction.correlation + 1):
        coupling = contraction.U_tensors(degree).detach().double().numpy()
        if coupling.ndim == degree + 1:
            coupling = coupling[None]
        highest = degree == contraction.correlation
        weights = (
            contraction.weights_max if highest else contraction.weights[contraction.correlation - 1 - degree]
        )
        weights = weights.detach().double().numpy()
        of_species = [weights[element if len(weights) > 1 else 0] for element in elements]
        n_inputs = coupling.shape[1]
        for output in range(coupling.shape[0]):
            for monomial in itertools.combinations_with_replacement(range(n_inputs), degree):
                orders = set(itertools.permutations(monomial))
                row = np.sum([coupling[(output, *order)] for order in orders], axis=0)
                if np.abs(row).max() > ZERO:
                    terms.append((output, monomial, [row @ of for of in of_species]))
    return terms
