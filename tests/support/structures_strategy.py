"""Hypothesis strategies for structures that a graph must survive."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms
from hypothesis import strategies as st

CELL_KINDS = ("cubic", "triclinic", "left-handed", "thin", "tiny")


@st.composite
def structures(draw: st.DrawFn, max_atoms: int = 10) -> Atoms:
    """Random cell, boundaries and density; atoms anywhere, sometimes on top of each other or on faces."""
    n_atoms = draw(st.integers(1, max_atoms))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell = _cell(draw(st.sampled_from(CELL_KINDS)), rng)
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    fractional = rng.random((n_atoms, 3))
    if draw(st.booleans()):
        fractional = (fractional - 0.5) * 6  # up to two cells outside
    if draw(st.booleans()):
        fractional = np.round(fractional * 4) / 4  # on faces, and on top of each other
    positions = fractional @ cell + draw(st.sampled_from([0.0, 0.0, -17.3, 250.0]))
    if n_atoms > 1 and draw(st.booleans()):
        positions[-1] = positions[0]
    numbers = rng.choice([1, 6, 29], size=n_atoms)
    # A vector that means nothing must not matter.
    given_cell = np.where(np.array(pbc)[:, None] | draw(st.booleans()), cell, 0.0)
    return Atoms(numbers=numbers, positions=positions, cell=given_cell, pbc=pbc)


def _cell(kind: str, rng: np.random.Generator) -> np.ndarray:
    if kind == "cubic":
        return np.eye(3) * rng.uniform(3.0, 12.0)
    if kind == "thin":
        return np.diag(rng.permutation([rng.uniform(1.0, 2.0), 7.0, 9.0]))
    if kind == "tiny":
        return np.eye(3) * rng.uniform(1.2, 2.0) + rng.uniform(-0.3, 0.3, size=(3, 3))
    cell = np.diag(rng.uniform(3.0, 9.0, size=3)) + rng.uniform(-1.3, 1.3, size=(3, 3))
    if kind == "left-handed":
        cell[[0, 1]] = cell[[1, 0]]
    return cell


PLACES = (0.0, -0.0, 1.0, -1.0, 0.5, 0.25, 1e-17, -1e-17, math.nextafter(1.0, 0.0), math.nextafter(1.0, 2.0))
"""Fractional coordinates that rounding may put on either side of a face."""


@st.composite
def hard_structures(draw: st.DrawFn, max_atoms: int = 12) -> Atoms:
    """Like :func:`structures`, and worse: cells of every shape and handedness, sheared by whole vectors;
    vacuum anywhere; atoms on faces but for the last bit, next to each other but for 1e-12, far outside."""
    n_atoms = draw(st.integers(1, max_atoms))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cell = _cell(draw(st.sampled_from(CELL_KINDS)), rng)
    cell[rng.integers(3)] *= draw(st.sampled_from([1.0, 1.0, 30.0, 1e5]))
    for _ in range(draw(st.integers(0, 2))):
        first, second = rng.permutation(3)[:2]
        cell[first] += rng.integers(-6, 7) * cell[second]
    cell = (cell * rng.choice([-1, 1], size=(3, 1)))[rng.permutation(3)]
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    filled = rng.choice(draw(st.sampled_from([(1.0,), (1.0, 0.3, 0.02)])), size=3)
    fractional = (rng.random((n_atoms, 3)) * filled + rng.random(3)) % 1.0
    on_faces = rng.random((n_atoms, 3)) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    fractional = np.where(on_faces, rng.choice(PLACES, size=(n_atoms, 3)), fractional)
    positions = fractional @ cell
    twins = rng.random(n_atoms) < draw(st.sampled_from([0.0, 0.5]))
    gaps = rng.choice([0.0, 1e-300, 1e-16, 1e-12, 1e-7, 0.1], size=(n_atoms, 1)) * rng.normal(
        size=(n_atoms, 3)
    )
    positions = np.where(twins[:, None], positions[rng.permutation(n_atoms)] + gaps, positions)
    outside = min(draw(st.sampled_from([0, 0, 1, 10**4])), int(1e6 / np.abs(cell).max()))
    positions = positions + rng.integers(-outside, outside + 1, size=(n_atoms, 3)) @ cell
    positions = positions + draw(st.sampled_from([0.0, 0.0, 1e4])) * rng.normal(size=3)
    given_cell = np.where(np.array(pbc)[:, None] | draw(st.booleans()), cell, 0.0)
    return Atoms(numbers=np.ones(n_atoms, dtype=int), positions=positions, cell=given_cell, pbc=pbc)
