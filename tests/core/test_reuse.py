"""Trajectories: candidates are reused while they are valid, and what a step finds never depends on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import assume, given
from hypothesis import strategies as st
from support.brute_force import edges_within
from support.graph_checks import check_decomposition
from support.structures_strategy import structures

from distmlip._native import core


def decompose(atoms: Atoms, cutoff: float, count: int, **options: Any) -> core.Decomposition:
    return core.Decomposition(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, count, **options)


class Follower:
    """Rebuilds when it has to; checks the graph at every step, bit for bit, against brute force."""

    def __init__(self, atoms: Atoms, cutoff: float, count: int, skin: float) -> None:
        self.options = (cutoff, count, skin)
        self.n_builds = 0
        self.rebuild(atoms)

    def rebuild(self, atoms: Atoms) -> None:
        cutoff, count, skin = self.options
        self.start = atoms.copy()
        self.cut = decompose(atoms, cutoff, count, skin=skin, bond_cutoff=0.7 * cutoff)
        self.n_builds += 1

    def follow(self, atoms: Atoms) -> None:
        if not self.cut.still_valid(atoms.positions, atoms.cell.array, atoms.pbc):
            self.rebuild(atoms)
        check_decomposition(self.start, self.cut, atoms.positions, atoms.cell.array)


@st.composite
def cutoffs(draw: st.DrawFn, atoms: Atoms) -> float:
    """Often exactly the distance of a pair."""
    cutoff = draw(st.floats(1.0, 3.5))
    lengths = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, cutoff).lengths
    assume(len(lengths) < 1500)
    near = lengths[lengths > 0.8]
    return float(draw(st.sampled_from(near.tolist()))) if len(near) and draw(st.booleans()) else cutoff


@given(st.data(), structures(max_atoms=8), st.floats(0.05, 1.2), st.sampled_from([1, 2, 5]))
def test_random_walks_of_atoms_and_cells(data: st.DataObject, atoms: Atoms, skin: float, count: int) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    follower = Follower(atoms, data.draw(cutoffs(atoms)), count, skin)
    for _ in range(6):
        atoms = atoms.copy()
        kind = data.draw(st.sampled_from(["atoms", "cell", "cell and atoms", "image", "nothing"]))
        if kind == "atoms":
            atoms.positions += rng.normal(scale=skin / 8, size=(len(atoms), 3))
        if kind.startswith("cell"):
            strain = rng.normal(scale=data.draw(st.sampled_from([1e-9, 1e-3, 2e-2])), size=(3, 3))
            deformed = atoms.cell.array @ (np.eye(3) + strain)
            atoms.set_cell(deformed, scale_atoms=kind != "cell" and abs(np.linalg.det(deformed)) > 1e-3)
        if kind == "image":
            atoms.positions[rng.integers(len(atoms))] += (rng.integers(-1, 2, 3) * atoms.pbc) @ atoms.cell
        follower.follow(atoms)


def test_a_crystal_that_is_stretched_and_heated_is_rarely_searched_again() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 2
    rng = np.random.default_rng(4)
    places = atoms.get_scaled_positions()
    follower = Follower(atoms, 4.0, 5, skin=1.0)
    for step in range(30):
        strain = np.diag([1e-3, -5e-4, 2e-3]) * step
        strain[0, 1] = strain[1, 2] = 1e-3 * np.sin(step)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain / 10))
        atoms.positions = places @ atoms.cell.array + rng.normal(scale=0.03, size=(len(atoms), 3))
        follower.follow(atoms)
    assert follower.n_builds <= 2


def test_a_deformation_may_take_all_of_the_skin_and_no_more() -> None:
    """Pairs that are compressed from just outside cutoff + skin to just inside the cutoff would be missed."""
    cutoff, skin = 3.0, 0.5
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 3.55]], cell=[20, 20, 40], pbc=True)
    cut = decompose(atoms, cutoff, 2, skin=skin)
    least = cutoff / (cutoff + skin)
    for stretch, valid in [(least + 1e-9, True), (least - 1e-9, False), (1.0, True), (3.0, True)]:
        pressed = atoms.copy()
        pressed.set_cell(atoms.cell.array * stretch, scale_atoms=True)
        assert cut.still_valid(pressed.positions, pressed.cell.array, pressed.pbc) == valid
        if valid:
            check_decomposition(atoms, cut, pressed.positions, pressed.cell.array)


def test_bonds_limit_an_expansion() -> None:
    """An expansion gives edges room, but less to the shorter bonds: a pair beyond their candidates must not
    become a bond by moving."""
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 1.6]], cell=[20, 20, 20], pbc=True)
    stretched, moved = atoms.cell.array * 1.1, atoms.positions * 1.1
    way = np.array([[0, 0, 0.4], [0, 0, -0.4]])
    with_bonds = decompose(atoms, 6.0, 2, skin=0.5, bond_cutoff=1.0)
    without = decompose(atoms, 6.0, 2, skin=0.5)
    assert with_bonds.still_valid(moved, stretched, atoms.pbc)
    assert without.still_valid(moved + way, stretched, atoms.pbc)
    assert not with_bonds.still_valid(moved + way, stretched, atoms.pbc)


@pytest.mark.parametrize("skin", [0.0, 0.4])
def test_vectors_of_open_directions_mean_nothing(skin: float) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 1)
    atoms.pbc = (True, True, False)
    cut = decompose(atoms, 3.0, 2, skin=skin)
    for row in ([0, 0, 0], [1, 2, 3], [np.nan, np.inf, 0]):
        cell = atoms.cell.array.copy()
        cell[2] = row
        assert cut.still_valid(atoms.positions, cell, atoms.pbc)
        edges = [cut.step(p, atoms.positions, cell) for p in range(2)]
        for graph, other in zip(edges, (cut.step(p, atoms.positions) for p in range(2)), strict=True):
            np.testing.assert_array_equal(graph["vectors"], other["vectors"])


def test_other_boundaries_numbers_of_atoms_and_broken_input_are_not_valid() -> None:
    atoms = bulk("Cu", cubic=True) * 2
    cut = decompose(atoms, 3.0, 3, skin=0.5)
    cell = atoms.cell.array
    assert cut.still_valid(atoms.positions, cell, atoms.pbc)
    assert not cut.still_valid(atoms.positions, cell, [True, True, False])
    assert not cut.still_valid(atoms.positions[:-1], cell, atoms.pbc)
    for bad in (np.nan, np.inf):
        broken = cell.copy()
        broken[1, 1] = bad
        assert not cut.still_valid(atoms.positions, broken, atoms.pbc)
        moved = atoms.positions.copy()
        moved[-1, 0] = bad
        assert not cut.still_valid(moved, cell, atoms.pbc)
        assert not cut.still_valid(moved, cell * 1.001, atoms.pbc)
    assert not cut.still_valid(atoms.positions, np.zeros((3, 3)), atoms.pbc)
