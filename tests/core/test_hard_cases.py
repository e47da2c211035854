"""Structures that break existing libraries, through every interface to the graph, against brute force."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import complete_cell
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matscipy.neighbours import neighbour_list as matscipy_neighbour_list
from support import odd_input
from support.brute_force import edge_keys, edges_within, sorted_rows
from support.graph_checks import (
    arrays_of,
    assert_same_arrays,
    check_decomposition,
    check_neighbor_list,
    check_partitioning,
)
from support.hard_cases import ALL_BOUNDARIES, OPEN, PERIODIC, SKEWED, Case, hard_cases, hydrogens, scattered
from support.odd_input import refused
from support.structures_strategy import hard_structures

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.graph.neighbors import neighbor_list
from distmlip.graph.partitioning import partition

CASES = hard_cases()
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def decompose(atoms: Atoms, cutoff: float, count: int, **options: Any) -> core.Decomposition:
    return core.Decomposition(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, count, **options)


def displaced(atoms: Atoms, distance: float, seed: int = 0) -> np.ndarray:
    """(n_atoms, 3) positions, each moved by just less than the distance in some direction."""
    moves = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    rounding = 4 * np.spacing(np.abs(atoms.positions).max(initial=0.0))
    moves *= max(0.0, distance * (1 - 1e-6) - rounding) / np.linalg.norm(moves, axis=1, keepdims=True)
    return np.asarray(atoms.positions + moves)


# --- every case, every interface ---------------------------------------------------------------------------


@each_case
def test_neighbor_list(case: Case) -> None:
    expected = check_neighbor_list(case.atoms, case.cutoff)
    n_selves = len(neighbor_list("i", case.atoms, case.cutoff, self_interaction=True)) - len(expected)
    assert n_selves == len(case.atoms)


@each_case
@pytest.mark.parametrize(("count", "method"), [(3, "slab"), (8, "auto")])
def test_partitions(case: Case, count: int, method: str) -> None:
    bond_cutoff = 0.7 * case.cutoff
    cut = partition(case.atoms, case.cutoff, count, bond_cutoff=bond_cutoff, method=method)
    check_partitioning(case.atoms, case.cutoff, cut, count, bond_cutoff)


@each_case
@pytest.mark.parametrize(("count", "method", "skin"), [(5, "bisection", 0.0), (4, "slab", 0.15)], ids=str)
def test_decompositions(case: Case, count: int, method: str, skin: float) -> None:
    """Where the atoms are, and where they may have moved to before the next rebuild."""
    options = {"bond_cutoff": 0.8 * case.cutoff, "skin": skin * case.cutoff, "method": method}
    cut = decompose(case.atoms, case.cutoff, count, **options)
    check_decomposition(case.atoms, cut)
    if skin > 0:
        check_decomposition(case.atoms, cut, displaced(case.atoms, cut.skin / 2))


@st.composite
def random_cases(draw: st.DrawFn) -> Case:
    """Often with a cutoff that is the distance of a pair, or next to it."""
    atoms = draw(hard_structures())
    cutoff = draw(st.floats(0.3, 5.0))
    cell = complete_cell(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    assume(
        abs(np.linalg.det(cell)) > 1e-8 * np.prod(np.linalg.norm(cell, axis=1))
    )  # flatter ones are refused
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    assume(np.prod(np.where(atoms.pbc, 2 * cutoff / heights + 3, 1)) < 10_000)
    edges = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, cutoff)
    assume(len(edges) < 3000)
    lengths = edges.lengths[edges.lengths > 1e-3]
    if len(lengths) and draw(st.booleans()):
        cutoff = float(lengths[draw(st.integers(0, len(lengths) - 1))])
        cutoff += draw(st.integers(-3, 3)) * math.ulp(cutoff)
    return Case(atoms, cutoff)


@given(random_cases())
def test_neighbor_lists_of_random_cases(case: Case) -> None:
    check_neighbor_list(case.atoms, case.cutoff)


@given(random_cases(), st.sampled_from([1, 2, 3, 4, 8, 15]), st.sampled_from(["auto", "slab", "bisection"]))
def test_partitions_of_random_cases(case: Case, count: int, method: str) -> None:
    cut = partition(case.atoms, case.cutoff, count, bond_cutoff=case.cutoff / 2, method=method)
    check_partitioning(case.atoms, case.cutoff, cut, count, bond_cutoff=case.cutoff / 2)


@given(random_cases(), st.sampled_from([1, 2, 5, 9]), st.floats(0.01, 1.0), st.integers(0, 1000))
def test_decompositions_of_random_cases(case: Case, count: int, skin: float, seed: int) -> None:
    cut = decompose(case.atoms, case.cutoff, count, skin=skin, bond_cutoff=0.6 * case.cutoff)
    check_decomposition(case.atoms, cut)
    check_decomposition(case.atoms, cut, displaced(case.atoms, skin / 2, seed))


@pytest.mark.slow
@settings(max_examples=10_000)
@given(
    random_cases(),
    st.integers(1, 20),
    st.sampled_from(["auto", "slab", "bisection"]),
    st.sampled_from([0.0, 0.0, 0.01, 0.3, 2.0]),
    st.integers(0, 1000),
)
def test_many_random_cases(case: Case, count: int, method: str, skin: float, seed: int) -> None:
    check_neighbor_list(case.atoms, case.cutoff)
    options = {"skin": skin, "bond_cutoff": 0.6 * case.cutoff, "method": method}
    cut = decompose(case.atoms, case.cutoff, count, **options)
    check_decomposition(case.atoms, cut)
    if skin > 0:
        check_decomposition(case.atoms, cut, displaced(case.atoms, skin / 2, seed))


# --- results that are known without a search ---------------------------------------------------------------


@pytest.mark.parametrize("repeat", [1, 2, 5])
@pytest.mark.parametrize(("squared", "neighbours"), [(1, 0), (2, 6), (4, 26), (5, 32), (9, 92), (10, 122)])
def test_shell_exactly_at_the_cutoff_is_out(repeat: int, squared: int, neighbours: int) -> None:
    """Integer lattice: the number of lattice points with 0 < n² < squared; all distances are exact."""
    positions = np.array(list(itertools.product(range(repeat), repeat=3)), dtype=float) * 2
    atoms = hydrogens(positions, 2.0 * repeat, PERIODIC)
    cutoff = 2 * math.sqrt(squared)
    assert len(neighbor_list("i", atoms, cutoff)) == neighbours * repeat**3
    cut = partition(atoms, cutoff, 3)
    assert sum(len(part.senders) for part in cut.parts) == neighbours * repeat**3


@pytest.mark.parametrize("pbc", ALL_BOUNDARIES, ids=str)
def test_boundaries_of_all_kinds_by_counting(pbc: tuple[bool, ...]) -> None:
    """A 3 × 3 × 3 block of a simple cubic lattice: 9 bonds per open face are missing, one each way."""
    positions = np.array(list(itertools.product(range(3), repeat=3)), dtype=float)
    atoms = hydrogens(positions, 3.0, pbc)
    expected = 27 * 6 - 2 * 9 * pbc.count(False)
    assert len(neighbor_list("i", atoms, 1.2)) == expected
    assert sum(len(part.senders) for part in partition(atoms, 1.2, 4).parts) == expected


def test_one_atom_and_its_images() -> None:
    chain = hydrogens(np.zeros((1, 3)), 1.0, (False, False, True))
    i, j, S = neighbor_list("ijS", chain, 3.5)
    assert i.tolist() == j.tolist() == [0] * 6
    assert sorted(S.tolist()) == [[0, 0, k] for k in (-3, -2, -1, 1, 2, 3)]
    cut = partition(chain, 3.5, 4, bond_cutoff=1.5)
    assert sorted(len(part.senders) for part in cut.parts) == [0, 0, 0, 6]
    assert sum(len(part.angles) for part in cut.parts) == 2
    assert all(len(part.halo) == 0 for part in cut.parts)


@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("pbc", [OPEN, PERIODIC], ids=str)
def test_no_atoms(pbc: tuple[bool, ...], count: int) -> None:
    atoms = hydrogens(np.zeros((0, 3)), 3.0, pbc)
    assert [len(array) for array in neighbor_list("ijdDS", atoms, 5.0)] == [0] * 5
    for skin in (0.0, 1.0):
        check_decomposition(atoms, decompose(atoms, 5.0, count, bond_cutoff=3.0, skin=skin))


# --- the same system in other words ------------------------------------------------------------------------


def disordered(n_atoms: int, cutoff: float, cell: np.ndarray, pbc: tuple[bool, ...] = PERIODIC) -> Atoms:
    """Scattered atoms without a pair so close to the cutoff that rounding could decide."""
    for seed in range(100):
        atoms = scattered(n_atoms, cell, pbc, seed)
        lengths = edges_within(atoms.positions, cell, atoms.pbc, cutoff + 0.1).lengths
        if np.abs(lengths - cutoff).min() > 1e-7:
            return atoms
    raise AssertionError("no such system")


def sorted_keys(receivers: np.ndarray, senders: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    keys = edge_keys(receivers, senders, shifts)
    return keys[sorted_rows(keys)]


def partitioned_keys(atoms: Atoms, cutoff: float, count: int) -> np.ndarray:
    cut = partition(atoms, cutoff, count)
    check_partitioning(atoms, cutoff, cut, count)
    rows = [np.concatenate([part.owned, part.halo]) for part in cut.parts]
    keys = [
        edge_keys(row[part.receivers], row[part.senders], part.shifts)
        for row, part in zip(rows, cut.parts, strict=True)
    ]
    together = np.concatenate(keys)
    return together[sorted_rows(together)]


def both_interfaces(atoms: Atoms, cutoff: float) -> Iterator[np.ndarray]:
    """(n_edges, 5) sorted: the edges of the neighbour list, and those of all partitions."""
    yield sorted_keys(*neighbor_list("ijS", atoms, cutoff))
    yield partitioned_keys(atoms, cutoff, 5)


@pytest.mark.parametrize("pbc", ALL_BOUNDARIES, ids=str)
def test_order_of_atoms_changes_nothing(pbc: tuple[bool, ...]) -> None:
    atoms = disordered(200, 3.0, 3 * SKEWED, pbc)
    order = np.random.default_rng(1).permutation(len(atoms))
    place = np.argsort(order)
    for original, shuffled in zip(
        both_interfaces(atoms, 3.0), both_interfaces(atoms[order], 3.0), strict=True
    ):
        expected = sorted_keys(place[original[:, 0]], place[original[:, 1]], original[:, 2:])
        np.testing.assert_array_equal(shuffled, expected)


@pytest.mark.parametrize(
    "offset", [(0.1, 0.2, -0.3), (-7.0, 11.0, 1e3), (1e4, 1e4, -1e4), (-12345.6, 0.0, 3e5)], ids=str
)
@pytest.mark.parametrize("pbc", [OPEN, PERIODIC, (True, False, True)], ids=str)
def test_place_in_space_changes_nothing(offset: tuple[float, ...], pbc: tuple[bool, ...]) -> None:
    atoms = disordered(200, 3.0, 3 * SKEWED, pbc)
    moved = atoms.copy()
    moved.translate(offset)
    for original, elsewhere in zip(both_interfaces(atoms, 3.0), both_interfaces(moved, 3.0), strict=True):
        np.testing.assert_array_equal(elsewhere, original)


def test_cells_outside_change_shifts_only() -> None:
    atoms = disordered(200, 3.0, 3 * SKEWED)
    jumps = np.random.default_rng(3).integers(-(10**4), 10**4, size=(200, 3))
    far = atoms.copy()
    far.positions += jumps @ atoms.cell.array
    for original, outside in zip(both_interfaces(atoms, 3.0), both_interfaces(far, 3.0), strict=True):
        receivers, senders, shifts = original[:, 0], original[:, 1], original[:, 2:]
        expected = sorted_keys(receivers, senders, shifts - jumps[senders] + jumps[receivers])
        np.testing.assert_array_equal(outside, expected)


OTHER_ROWS = {
    "permuted": [[0, 0, 1], [1, 0, 0], [0, 1, 0]],
    "swapped": [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
    "negative": [[-1, 0, 0], [0, 1, 0], [0, 0, -1]],
    "all negative": [[-1, 0, 0], [0, -1, 0], [0, 0, -1]],
    "negative and permuted": [[0, -1, 0], [0, 0, 1], [-1, 0, 0]],
    "sheared": [[1, 0, 0], [50, 1, 0], [0, -20, 1]],
}


@pytest.mark.parametrize("rows", OTHER_ROWS.values(), ids=OTHER_ROWS)
def test_another_cell_of_the_same_lattice_changes_shifts_only(rows: list[list[int]]) -> None:
    atoms = disordered(60, 3.0, 2 * SKEWED)
    other = atoms.copy()
    other.set_cell(np.array(rows) @ atoms.cell.array)
    for original, renamed in zip(both_interfaces(atoms, 3.0), both_interfaces(other, 3.0), strict=True):
        shifts = np.rint(original[:, 2:] @ np.linalg.inv(np.array(rows))).astype(int)
        np.testing.assert_array_equal(renamed, sorted_keys(original[:, 0], original[:, 1], shifts))


@pytest.mark.parametrize("pbc", ALL_BOUNDARIES, ids=str)
def test_rotation_changes_nothing(pbc: tuple[bool, ...]) -> None:
    atoms = disordered(100, 3.0, 2 * SKEWED, pbc)
    rotated = atoms.copy()
    rotated.rotate(67.3, (1, -2, 3), rotate_cell=True)
    for original, turned in zip(both_interfaces(atoms, 3.0), both_interfaces(rotated, 3.0), strict=True):
        np.testing.assert_array_equal(turned, original)


# --- where partitions are empty or odd ---------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "slab", "bisection"])
@pytest.mark.parametrize("centre", [0.0, 137.0, 500.0, 999.9])
def test_particle_in_a_large_box_fills_all_partitions(method: str, centre: float) -> None:
    particle = bulk("Cu", cubic=True) * 6
    particle.positions -= particle.positions.mean(axis=0)
    particle = particle[np.linalg.norm(particle.positions, axis=1) < 9.0]
    particle.positions += centre
    particle.set_cell([1000.0] * 3)
    particle.pbc = True
    cut = partition(particle, 4.0, 8, bond_cutoff=3.0, method=method)
    check_partitioning(particle, 4.0, cut, 8, bond_cutoff=3.0)
    n_edges = [len(part.senders) for part in cut.parts]
    assert max(n_edges) < 1.3 * np.mean(n_edges)


@pytest.mark.parametrize("method", ["slab", "bisection"])
@pytest.mark.parametrize("count", [7, 16, 33])
def test_clumps_leave_partitions_empty(method: str, count: int) -> None:
    spots = np.repeat([[0.0, 0.0, 0.0], [300.0, 0.0, 0.0]], 2, axis=0)
    atoms = hydrogens(spots, 1000.0, PERIODIC)
    cut = partition(atoms, 3.0, count, bond_cutoff=3.0, method=method)
    check_partitioning(atoms, 3.0, cut, count, bond_cutoff=3.0)
    assert sum(len(part.owned) == 0 for part in cut.parts) >= count - 4


@pytest.mark.parametrize("count", [100, 400])
@pytest.mark.parametrize("method", ["slab", "bisection"])
def test_many_more_partitions_than_atoms(method: str, count: int) -> None:
    atoms = scattered(5, 2 * SKEWED)
    cut = decompose(atoms, 4.0, count, bond_cutoff=3.0, skin=0.5, method=method)
    graphs = check_decomposition(atoms, cut)
    assert sum(len(graph["senders"]) > 0 for graph in graphs) <= 5


def weightings(n_atoms: int) -> dict[str, np.ndarray]:
    one, some = np.zeros(n_atoms), np.zeros(n_atoms)
    one[n_atoms // 2], some[::7] = 1.0, 3.0
    random = np.random.default_rng(0).random(n_atoms)
    return {
        "zero": np.zeros(n_atoms),
        "ones": np.ones(n_atoms),
        "all on one atom": one,
        "all on one atom, huge": one * 1e300,
        "on some atoms": some,
        "huge": np.full(n_atoms, 1e308),
        "huge and zero": some * 3e307,
        "tiny": np.full(n_atoms, 5e-324),
        "of all sizes": 10.0 ** (600 * random - 300),
        "almost all on the first": np.where(np.arange(n_atoms) == 0, 1e16, 1.0),
        "almost all on the last": np.where(np.arange(n_atoms) == n_atoms - 1, 1e16, 1.0),
    }


@pytest.mark.parametrize("name", weightings(1))
@pytest.mark.parametrize("method", ["slab", "bisection"])
def test_any_weights(name: str, method: str) -> None:
    atoms = scattered(60, 2 * SKEWED)
    weights = weightings(len(atoms))[name]
    for count in (2, 7, 30):
        cut = partition(atoms, 2.5, count, bond_cutoff=2.0, method=method, weights=weights)
        check_partitioning(atoms, 2.5, cut, count, bond_cutoff=2.0)


def test_huge_weights_balance_as_small_ones_do() -> None:
    atoms = scattered(400, 4 * SKEWED)
    weights = np.random.default_rng(1).uniform(0.5, 1.0, size=400)
    for method in ("slab", "bisection"):
        small = partition(atoms, 2.5, 4, method=method, weights=weights).owner
        huge = partition(atoms, 2.5, 4, method=method, weights=weights * 1e308).owner
        for owner in (small, huge):
            total = np.bincount(owner, weights=weights, minlength=4)
            assert total.max() < 1.05 * total.mean()


# --- reuse -------------------------------------------------------------------------------------------------


def distant_pairs(lengths: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (2 n, 3) of pairs with these lengths, far from each other in a box of 72 Å, and the unit
    vectors (2 n, 3) from each atom to the other one of its pair."""
    rng = np.random.default_rng(seed)
    centres = np.array(list(itertools.product(range(4), repeat=3)))[: len(lengths)] * 18.0
    centres += rng.random(centres.shape)
    towards = rng.normal(size=centres.shape)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    positions = np.stack([centres, centres + towards * lengths[:, None]], axis=1)
    return positions.reshape(-1, 3), np.stack([towards, -towards], axis=1).reshape(-1, 3)


@pytest.mark.parametrize("cutoff", [2.0, 3.3])
@pytest.mark.parametrize("skin", [0.01, 0.4, 3.0])
@pytest.mark.parametrize("pbc", [OPEN, PERIODIC], ids=str)
def test_pairs_may_close_in_by_the_whole_skin(cutoff: float, skin: float, pbc: tuple[bool, ...]) -> None:
    """Pairs that are as far apart as candidates can be, or nearly, move towards each other."""
    gaps = np.random.default_rng(1).choice([-1e-15, 0.0, 1e-16, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3], size=64)
    positions, towards = distant_pairs((cutoff + skin) * (1 - gaps), seed=0)
    atoms = hydrogens(positions, 72.0, pbc)
    cut = decompose(atoms, cutoff, 6, skin=skin, bond_cutoff=cutoff)
    assert sum(len(graph["senders"]) for graph in check_decomposition(atoms, cut)) == 0
    for shortfall in (0.0, 1e-16, 1e-15, 1e-14, 1e-12, 1e-10):
        moved = positions + towards * (0.5 * skin * (1 - shortfall) - 1e-14 * (shortfall > 0))
        if cut.still_valid(moved, atoms.cell.array, atoms.pbc):
            graphs = check_decomposition(atoms, cut, moved)
            assert sum(len(graph["senders"]) for graph in graphs) > 30
            return
    raise AssertionError("half the skin is too far")


DEFORMATIONS = {
    "compression": -np.eye(3),
    "expansion": np.eye(3),
    "compression along x": np.diag([-1.0, 0.0, 0.0]),
    "shear": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -0.5], [0.0, 0.0, 0.0]]),
    "rotation": np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    "all at once": np.array([[-0.4, 0.7, 0.1], [-0.6, 0.3, 0.2], [0.5, -0.3, -0.9]]),
}


def largest_valid(is_valid: Callable[[float], bool]) -> float:
    """The largest number in [0, 1] at which something is valid that is so at 0."""
    low, high = 0.0, 1.0
    if is_valid(high):
        return high
    for _ in range(50):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if is_valid(middle) else (low, middle)
    return low


@pytest.mark.parametrize("deformation", DEFORMATIONS.values(), ids=DEFORMATIONS)
@pytest.mark.parametrize("pbc", [PERIODIC, (True, True, False), (False, False, True)], ids=str)
@pytest.mark.parametrize("approach", [0.0, 0.6, 1.0])
def test_deformed_cells_as_far_as_they_are_valid(
    deformation: np.ndarray, pbc: tuple[bool, ...], approach: float
) -> None:
    """The cell deforms, atoms with it, and the atoms of pairs approach each other in addition."""
    cutoff, skin = 3.0, 0.6
    positions, towards = distant_pairs(np.linspace(cutoff, cutoff + skin * (1 + 1e-12), 64), seed=2)
    atoms = hydrogens(positions + 1e3 * (1 - approach), np.diag([72.0] * 3) + SKEWED, pbc)
    cut = decompose(atoms, cutoff, 5, skin=skin, bond_cutoff=0.9 * cutoff)
    inverse = np.linalg.pinv(np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))

    def deformed(amount: float) -> tuple[np.ndarray, np.ndarray]:
        cell = atoms.cell.array @ (np.eye(3) + 0.3 * amount * deformation)
        rows = np.where(atoms.pbc[:, None], cell - atoms.cell.array, 0.0)
        moved = atoms.positions + (atoms.positions @ inverse) @ rows
        return moved + towards * (0.5 * approach * skin * amount), cell

    def is_valid(amount: float) -> bool:
        return bool(cut.still_valid(*deformed(amount), atoms.pbc))

    amount = largest_valid(is_valid)
    assert amount > 0.01
    for share in (1.0, 0.5):
        if is_valid(share * amount):
            check_decomposition(atoms, cut, *deformed(share * amount))


def test_moving_across_faces_needs_no_rebuild() -> None:
    atoms = scattered(80, 2 * SKEWED)
    atoms.positions[::2] = (
        np.round(np.linalg.solve(atoms.cell.array.T, atoms.positions[::2].T).T) @ atoms.cell
    )
    cut = decompose(atoms, 3.0, 6, skin=1.0, bond_cutoff=2.5)
    for seed in range(4):
        check_decomposition(atoms, cut, displaced(atoms, 0.5, seed))
    check_decomposition(atoms, cut)  # and back


def test_graph_does_not_remember_where_atoms_have_been() -> None:
    atoms = scattered(120, 2 * SKEWED)
    cut = decompose(atoms, 3.0, 4, skin=0.8, bond_cutoff=2.5)
    there = displaced(atoms, 0.4)
    before = arrays_of(cut, there)
    for seed in range(1, 4):
        arrays_of(cut, displaced(atoms, 0.4, seed))
    assert_same_arrays(arrays_of(cut, there), before)


@pytest.mark.parametrize("shell", [1 / math.sqrt(2), 1.0, math.sqrt(1.5)])
@pytest.mark.parametrize("offset", [0.0, 0.1234, -57.3])
def test_edges_at_the_cutoff_do_not_depend_on_skin_or_history(shell: float, offset: float) -> None:
    """In a crystal whose shell is at the cutoff rounding decides; it must decide the same in every case, also
    after atoms have crossed faces since the last rebuild."""
    atoms = bulk("Cu", a=3.6, cubic=True) * 3
    atoms.positions += offset
    cutoff = 3.6 * shell
    check_neighbor_list(atoms, cutoff)
    for skin in (0.0, 0.5, 20.0):
        check_decomposition(atoms, decompose(atoms, cutoff, 3, skin=skin))
    before = atoms.copy()
    before.positions = displaced(atoms, 0.25)
    check_decomposition(before, decompose(before, cutoff, 3, skin=0.5), atoms.positions)


@pytest.mark.parametrize("skin", [0.0, 1e-9, 0.3])
def test_validity_at_its_limit(skin: float) -> None:
    atoms = scattered(30, SKEWED)
    cut = decompose(atoms, 3.0, 2, skin=skin)
    for axis, sign in itertools.product(range(3), (-1, 1)):
        moved = atoms.positions.copy()
        moved[17, axis] += sign * (skin / 2) * (1 - 1e-6)
        assert cut.still_valid(moved, atoms.cell.array, atoms.pbc)
        moved[17, axis] += sign * (skin * 1e-4 + 1e-12)
        assert not cut.still_valid(moved, atoms.cell.array, atoms.pbc)
    for bad in (math.nan, math.inf, -math.inf):
        moved = atoms.positions.copy()
        moved[29, 2] = bad
        assert not cut.still_valid(moved, atoms.cell.array, atoms.pbc)


# --- threads and instruction sets --------------------------------------------------------------------------

LARGER = {
    "crystal": bulk("Cu", cubic=True) * (10, 10, 11),
    "disorder": scattered(4500, np.diag([31.0, 37.0, 43.0]) + np.array([[0, 3, 0], [0, 0, -4], [2, 0, 0]])),
    "open": scattered(4500, np.eye(3) * 37.0, OPEN),
    "enough for seven threads in every step": scattered(36_000, np.diag([110.0, 130.0, 150.0])),
    "wire": scattered(4500, np.diag([9.0, 9.0, 700.0]), (False, False, True)),
}
each_larger = pytest.mark.parametrize("atoms", LARGER.values(), ids=LARGER)


@each_larger
@pytest.mark.parametrize("count", [1, 6])
def test_number_of_threads_changes_no_bit(atoms: Atoms, count: int) -> None:
    def arrays(n_threads: int) -> dict[str, np.ndarray]:
        cut = decompose(atoms, 4.0, count, n_threads=n_threads, bond_cutoff=3.0, skin=0.4)
        return arrays_of(cut, displaced(atoms, 0.2), n_threads) | core.neighbor_list(
            "ijdDS", atoms.positions, atoms.cell.array, atoms.pbc, 4.0, False, n_threads
        )

    alone = arrays(1)
    for n_threads in (2, 7):
        assert_same_arrays(arrays(n_threads), alone)


@pytest.mark.parametrize("n_threads", [-1, 0, 2, 7, 1000])
def test_fewer_edges_than_threads(n_threads: int) -> None:
    for n_atoms in (1, 2, 3):
        atoms = hydrogens(np.outer(np.arange(n_atoms), [1.0, 0.0, 0.0]), 50.0, PERIODIC)
        for count in (1, 2, 9):
            cut = decompose(atoms, 1.5, count, n_threads=n_threads, bond_cutoff=1.5, skin=0.2)
            check_decomposition(atoms, cut)


def test_callers_in_several_threads_do_not_disturb_each_other() -> None:
    shared = decompose(LARGER["disorder"], 4.0, 6, bond_cutoff=3.0, skin=0.4)
    moved = displaced(LARGER["disorder"], 0.2)
    expected = arrays_of(shared, moved)
    names = [name for name in CASES if name.startswith(("boundaries", "on faces", "clumps"))]

    def work(seed: int) -> None:
        assert_same_arrays(arrays_of(shared, moved), expected)
        for name in np.random.default_rng(seed).choice(names, size=8):
            case = CASES[name]
            check_neighbor_list(case.atoms, case.cutoff)
            check_decomposition(case.atoms, decompose(case.atoms, case.cutoff, 3, n_threads=2))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, seed) for seed in range(8)]:
            done.result(timeout=120)


LEVELS = core.simd_levels


@pytest.fixture
def use_level() -> Iterator[Callable[[str], None]]:
    """Chooses an instruction set; the best one is back after the test."""
    yield core.set_simd
    core.set_simd(LEVELS[0])


@pytest.mark.parametrize("level", LEVELS)
def test_instruction_set_changes_no_bit(level: str, use_level: Callable[[str], None]) -> None:
    systems = {**CASES, **{name: Case(atoms, 4.0) for name, atoms in LARGER.items()}}
    for name, case in systems.items():
        results = []
        for chosen in (LEVELS[0], level):
            use_level(chosen)
            lists = neighbor_list("ijdDS", case.atoms, case.cutoff)
            cut = decompose(case.atoms, case.cutoff, 3, skin=0.1 * case.cutoff, bond_cutoff=0.5 * case.cutoff)
            everything = arrays_of(cut, displaced(case.atoms, cut.skin / 2))
            results.append({**everything, **dict(zip("ijdDS", lists, strict=True))})
        assert results[0].keys() == results[1].keys(), name
        for array, first in results[0].items():
            assert first.tobytes() == results[1][array].tobytes(), f"{array} of {name}"


@pytest.mark.parametrize("level", LEVELS)
def test_every_instruction_set_finds_all_pairs(level: str, use_level: Callable[[str], None]) -> None:
    use_level(level)
    for case in itertools.islice(CASES.values(), 0, None, 4):
        check_neighbor_list(case.atoms, case.cutoff)
        check_decomposition(case.atoms, decompose(case.atoms, case.cutoff, 3))


def test_unknown_instruction_set_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"'sse'.*portable"):
        core.set_simd("sse")


# --- an independent peer -----------------------------------------------------------------------------------


def matscipy_keys(atoms: Atoms, cutoff: float) -> np.ndarray:
    return sorted_keys(*matscipy_neighbour_list("ijS", atoms, cutoff))


MIDSIZE = {
    "crystal": bulk("Cu", cubic=True) * (14, 13, 12),
    "disorder": scattered(12_000, np.diag([50.0, 55.0, 60.0]) + np.array([[0, 9, 0], [-4, 0, 0], [7, 0, 0]])),
    "slab": scattered(8_000, np.diag([70.0, 70.0, 20.0]), (True, True, False)),
    "wire": scattered(6_000, np.diag([12.0, 500.0, 12.0]), (False, True, False)),
    "particle": scattered(8_000, np.eye(3) * 45.0, OPEN),
}


@pytest.mark.parametrize("atoms", MIDSIZE.values(), ids=MIDSIZE)
def test_same_as_matscipy(atoms: Atoms) -> None:
    cutoff, count = 4.1, 7
    shaken = atoms.copy()
    shaken.rattle(0.05, seed=1)
    shaken.wrap()  # the peer's rule about atoms outside is another one
    theirs = matscipy_keys(shaken, cutoff)
    np.testing.assert_array_equal(sorted_keys(*neighbor_list("ijS", shaken, cutoff)), theirs)
    cut = partition(shaken, cutoff, count)
    rows = [np.concatenate([part.owned, part.halo]) for part in cut.parts]
    ours = [sorted_keys(row[part.receivers], row[part.senders], part.shifts)
            for row, part in zip(rows, cut.parts, strict=True)]  # fmt: skip
    together = np.concatenate(ours)
    np.testing.assert_array_equal(together[sorted_rows(together)], theirs)


# --- input that is refused ---------------------------------------------------------------------------------

REFUSED = refused()


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_refused_with_value_and_remedy(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInputError, match=f"(?s){message}"):
        call()


def test_odd_input_neither_prints_nor_hangs_nor_ends_the_process(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    command = [sys.executable, "-P", "-W", "ignore", odd_input.__file__, str(progress)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"hangs at {progress.read_text()}") from None
    assert (progress.read_text(), done.returncode) == ("done", 0), done.stderr
    assert done.stdout == ""
    assert done.stderr == ""
