"""Volumes, and cells with vacuum."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.geometry import get_distances

from distmlip.cell import volume_of, with_vacuum

DIRECTIONS = [(True, False, False), (False, True, True), (True, True, True), (False, False, False)]


@pytest.mark.parametrize(
    ("cell", "volume"),
    [
        ([2, 3, 4], 24),
        ([[0, 3, 0], [2, 0, 0], [0, 0, 4]], 24),  # left-handed
        ([[1e-5, 0, 0], [0, 1e-5, 0], [0, 0, 1e-5]], 1e-15),  # small is not flat
        ([[1, 0, 0], [0, 1, 0], [1, 1, 0]], 0),
        ([[0.1, 0.2, 0.3], [0.2, 0.4, 0.6], [0, 0, 7e5]], 0),  # coplanar but for rounding
        ([0, 0, 0], 0),
        ([5, 5, 0], 0),
    ],
)
def test_volume(cell: list, volume: float) -> None:
    assert volume_of(Atoms(cell=cell)) == pytest.approx(volume, rel=1e-12)


@pytest.mark.parametrize("directions", DIRECTIONS, ids=str)
def test_vacuum_separates_images_and_nothing_else_changes(directions: tuple[bool, ...]) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.6) * (2, 2, 2)  # no two cell vectors are normal to each other
    atoms.rattle(0.1, seed=0)
    before, margin, chosen = atoms.copy(), 9.0, np.array(directions)
    boxed = with_vacuum(atoms, chosen, margin)
    assert atoms == before
    np.testing.assert_array_equal(boxed.positions, atoms.positions)
    np.testing.assert_array_equal(boxed.cell.array[~chosen], atoms.cell.array[~chosen])
    assert volume_of(boxed) > 0
    for axis in np.flatnonzero(chosen):
        vector = boxed.cell.array[axis]
        np.testing.assert_allclose(np.delete(boxed.cell.array, axis, axis=0) @ vector, 0, atol=1e-9)
        _, distances = get_distances(boxed.positions, boxed.positions + vector)
        assert distances.min() >= margin - 1e-9
        along = boxed.positions @ vector / np.linalg.norm(vector)
        assert np.linalg.norm(vector) == pytest.approx(np.ptp(along) + margin)


def test_a_molecule_without_a_cell_gets_one() -> None:
    water = molecule("H2O")
    boxed = with_vacuum(water, ~water.pbc, 6.0)
    np.testing.assert_allclose(boxed.cell.lengths(), np.ptp(water.positions, axis=0) + 6.0)
