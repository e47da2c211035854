"""Small clusters of a structure's elements, on which native stages are compared with the original."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

MOST_ATOMS = 8
"""Of a cluster."""
NEAREST = (0.6, 1.6)
"""Å: of two clusters, so that forces of atoms that nearly touch do not hide errors of all others."""
SMALLEST_RADIUS = (1.5, 3.0)
"""Å: of the balls that hold them."""
REACH = 0.7
"""Of the cutoff: the radius of the wider ball, so that some pairs are just within, and some beyond."""
TURNS = 8
"""Of a cluster, before a difference is more than noise."""


def clusters(atoms: Atoms, cutoff: float) -> Iterator[Atoms]:
    """Of at most 8 atoms, with all elements of the structure: atoms that nearly touch, and atoms as far apart
    as in matter and up to beyond the cutoff."""
    elements = np.unique(atoms.numbers)
    for first in range(0, len(elements), MOST_ATOMS):
        chosen = _some_of(atoms, elements[first : first + MOST_ATOMS])
        for nearest, radius in zip(
            NEAREST, (SMALLEST_RADIUS[0], max(SMALLEST_RADIUS[1], REACH * cutoff)), strict=True
        ):
            cluster = atoms[chosen]
            cluster.set_constraint()
            cluster.positions = _places(len(chosen), nearest, radius)
            cluster.cell[:] = 0
            cluster.pbc = False
            yield cluster


def _some_of(atoms: Atoms, elements: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of 8 atoms of these elements, by turns; of a structure with fewer, some of them twice."""
    of_elements = [np.flatnonzero(atoms.numbers == number)[:MOST_ATOMS] for number in elements]
    rounds = [divmod(k, len(elements)) for k in range(MOST_ATOMS)]
    return np.array([of_elements[e][turn % len(of_elements[e])] for turn, e in rounds])


def _places(n_atoms: int, nearest: float, radius: float) -> NDArray[np.float64]:
    """(n_atoms, 3) at random in a ball, denser in its middle, none nearer than this and the first two just so
    far apart."""
    random = np.random.default_rng(0)
    places = np.zeros((1, 3))
    while len(places) < n_atoms:
        direction = random.normal(size=3)
        away = nearest if len(places) == 1 else random.uniform(0, radius)
        place = direction * (away / np.linalg.norm(direction))
        if len(places) == 1 or np.linalg.norm(places - place, axis=1).min() >= nearest:
            places = np.vstack([places, place])
    return places


def turns() -> list[NDArray[np.float64]]:
    """(3, 3) orthogonal matrices, the first of which turns nothing."""
    random = np.random.default_rng(0)
    return [np.eye(3), *(np.linalg.qr(random.normal(size=(3, 3)))[0] for _ in range(TURNS))]


def distances(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_pairs,) of all pairs."""
    first, second = np.triu_indices(len(positions), k=1)
    return np.asarray(np.linalg.norm(positions[first] - positions[second], axis=1))
