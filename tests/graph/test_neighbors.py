from __future__ import annotations

import gc
import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list as ase_neighbor_list
from hypothesis import assume, given
from hypothesis import strategies as st
from support.brute_force import Edge, all_pairs
from support.structures_strategy import structures

from distmlip.errors import InvalidInputError, UnsupportedElementError
from distmlip.graph.neighbors import neighbor_list


def edges_of(i: np.ndarray, j: np.ndarray, S: np.ndarray) -> Counter[Edge]:
    return Counter(zip(i.tolist(), j.tolist(), map(tuple, S.tolist()), strict=True))


def assert_same_as_ase(atoms: Atoms, cutoff: Any, self_interaction: bool = False) -> None:
    i, j, d, D, S = neighbor_list("ijdDS", atoms, cutoff, self_interaction)
    i_ase, j_ase, d_ase, D_ase, S_ase = ase_neighbor_list("ijdDS", atoms, cutoff, self_interaction)
    assert np.all(np.diff(i) >= 0)
    assert edges_of(i, j, S) == edges_of(i_ase, j_ase, S_ase)
    ours, theirs = np.lexsort((*S.T, j, i)), np.lexsort((*S_ase.T, j_ase, i_ase))
    np.testing.assert_allclose(d[ours], d_ase[theirs], rtol=0, atol=1e-12)
    np.testing.assert_allclose(D[ours], D_ase[theirs], rtol=0, atol=1e-12)


@given(structures(), st.floats(0.5, 5.5), st.booleans())
def test_all_pairs_and_only_those(atoms: Atoms, cutoff: float, self_interaction: bool) -> None:
    pairs = all_pairs(atoms, cutoff + 0.1)
    assume(not pairs.near(cutoff))
    expected = pairs.within(cutoff)
    if self_interaction:
        expected.update((k, k, (0, 0, 0)) for k in range(len(atoms)))
    i, j, d, D, S = neighbor_list("ijdDS", atoms, cutoff, self_interaction)
    assert edges_of(i, j, S) == expected
    assert np.all(np.diff(i) >= 0)
    assert np.all(d < cutoff)
    a, b, c = atoms.cell.array  # in this order of operations, which a matrix product does not promise
    offset = S[:, :1] * a + S[:, 1:2] * b + S[:, 2:] * c
    np.testing.assert_array_equal(D, (atoms.positions[j] - atoms.positions[i]) + offset)
    np.testing.assert_allclose(d, np.linalg.norm(D, axis=1), rtol=1e-14)


@given(structures(max_atoms=6), st.floats(1.0, 4.0))
def test_reverse_pairs_are_exact_negatives(atoms: Atoms, cutoff: float) -> None:
    i, j, d, D, S = neighbor_list("ijdDS", atoms, cutoff)
    forward, backward = np.lexsort((*S.T, j, i)), np.lexsort((*-S.T, i, j))
    np.testing.assert_array_equal(i[forward], j[backward])
    np.testing.assert_array_equal(D[forward], -D[backward])
    np.testing.assert_array_equal(d[forward], d[backward])


def test_pairs_at_the_cutoff_are_left_out() -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 2]])
    assert len(neighbor_list("i", atoms, 2.0)) == 0
    assert len(neighbor_list("i", atoms, math.nextafter(2.0, 3.0))) == 2


STRUCTURES = {
    "metal": bulk("Cu", cubic=True) * 2,
    "primitive": bulk("Cu"),
    "slab with vacuum": fcc111("Al", (3, 3, 4), vacuum=10.0),
    "molecule": molecule("isobutane"),
    "molecule in a box": molecule("isobutane", vacuum=3.0, pbc=True),
}


@pytest.mark.parametrize("atoms", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("self_interaction", [False, True])
@pytest.mark.parametrize("cutoff", [0.0, 1.85, 3.3, 7], ids=str)
def test_same_as_ase_with_one_cutoff(atoms: Atoms, cutoff: float, self_interaction: bool) -> None:
    shaken = atoms.copy()
    shaken.rattle(0.05, seed=3)  # no distance is a cutoff exactly
    assert_same_as_ase(shaken, cutoff, self_interaction)


@pytest.mark.parametrize("self_interaction", [False, True])
@pytest.mark.parametrize(
    "cutoff",
    [
        {("C", "H"): 1.3},
        {("H", "C"): 1.3, ("C", "C"): 1.85},
        {(6, 1): 1.3, (6, 6): 1.85, ("H", "H"): 2.6},
        {("C", "H"): 1.3, ("H", "C"): 2.2},
        {("O", "O"): 3.0},
    ],
    ids=str,
)
def test_same_as_ase_with_cutoffs_per_pair(cutoff: dict[Any, float], self_interaction: bool) -> None:
    for atoms in (molecule("isobutane"), molecule("isobutane", vacuum=1.0, pbc=True)):
        assert_same_as_ase(atoms, cutoff, self_interaction)


@given(structures(), st.booleans(), st.integers(0, 1000))
def test_same_as_ase_with_radii(atoms: Atoms, self_interaction: bool, seed: int) -> None:
    radii = np.random.default_rng(seed).uniform(0.2, 2.0, size=len(atoms))
    for cutoff in (radii, list(radii)):
        i, j, S = neighbor_list("ijS", atoms, cutoff, self_interaction)
        pairs = all_pairs(atoms, 4.1)
        expected = Counter(
            edge
            for edge, length in zip(pairs.edges, pairs.lengths, strict=True)
            if length < radii[edge[0]] + radii[edge[1]]
        )
        if self_interaction:
            expected.update((k, k, (0, 0, 0)) for k in range(len(atoms)))
        assert edges_of(i, j, S) == expected
    assert_same_as_ase(atoms, radii, self_interaction)


@pytest.mark.parametrize("quantities", ["i", "S", "ij", "Sd", "DSdji", "ijdDS", "ii", "dSd", ""])
def test_quantities_come_in_the_order_asked_for(quantities: str) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64) * (2, 1, 1)
    ours, theirs = neighbor_list(quantities, atoms, 3.5), ase_neighbor_list(quantities, atoms, 3.5)
    assert type(ours) is type(theirs)
    for mine, reference in zip(_tuple(ours), _tuple(theirs), strict=True):
        assert mine.dtype == reference.dtype
        assert mine.shape == reference.shape


def _tuple(value: Any) -> tuple[np.ndarray, ...]:
    return value if isinstance(value, tuple) else (value,)


@pytest.mark.parametrize("quantities", ["i", "dSjD", ""])
def test_no_atoms_no_pairs(quantities: str) -> None:
    ours, theirs = neighbor_list(quantities, Atoms(), 3.0), ase_neighbor_list(quantities, Atoms(), 3.0)
    for mine, reference in zip(_tuple(ours), _tuple(theirs), strict=True):
        assert (mine.dtype, mine.shape) == (reference.dtype, reference.shape)


def test_arrays_own_their_memory_and_outlive_everything() -> None:
    atoms = bulk("Cu", cubic=True)
    arrays = neighbor_list("ijdDS", atoms, 4.0)
    copies = [array.copy() for array in arrays]
    del atoms
    gc.collect()
    neighbor_list("ijdDS", bulk("Al", cubic=True), 4.0)
    for array, copy in zip(arrays, copies, strict=True):
        assert array.flags.writeable
        np.testing.assert_array_equal(array, copy)


def test_positions_and_cell_of_other_types_are_understood() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.arrays["positions"] = np.asfortranarray(atoms.positions.astype(np.float32))
    assert len(neighbor_list("i", atoms, 3)) == 4 * 12


def test_vacuum_costs_nothing() -> None:
    cluster = bulk("Cu", cubic=True) * 3
    far = cluster.copy()
    far.translate([1e7, -1e6, 3e5])
    both = cluster + far
    both.pbc = False
    n_pairs = len(neighbor_list("i", both, 4.0))
    cluster.pbc = False
    assert n_pairs == 2 * len(neighbor_list("i", cluster, 4.0))


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)), ids=str)
def test_large_systems_in_every_boundary(pbc: tuple[bool, bool, bool]) -> None:
    atoms = bulk("Cu", cubic=True) * (5, 6, 7)
    atoms.set_cell(atoms.cell.array @ np.array([[1, 0.2, 0], [0, 1, -0.3], [0.1, 0, 1]]), scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    atoms.translate([3.0, -40.0, 11.0])
    atoms.pbc = pbc
    assert_same_as_ase(atoms, 5.1)


BAD = {
    "unknown letter": ({"quantities": "ijx"}, "'x'.*'ijdDS'"),
    "negative cutoff": ({"cutoff": -1.0}, "-1.0 Ang"),
    "cutoff not a number": ({"cutoff": math.nan}, "nan"),
    "infinite cutoff": ({"cutoff": math.inf}, "inf"),
    "cutoff of a wrong type": ({"cutoff": "far"}, "'far'"),
    "empty dictionary": ({"cutoff": {}}, "empty"),
    "dictionary without pairs": ({"cutoff": {"Cu": 3.0}}, "'Cu'"),
    "unknown element": ({"cutoff": {("Cu", "Qq"): 3.0}}, "'Qq'"),
    "negative pair cutoff": ({"cutoff": {("Cu", "Cu"): -3.0}}, "-3.0"),
    "too few radii": ({"cutoff": [1.0]}, r"\(1,\) for 4 atoms"),
    "negative radius": ({"cutoff": [1.0, 1.0, 1.0, -1.0]}, "-1.0"),
    "radii that are not numbers": ({"cutoff": ["a", "b", "c", "d"]}, "numbers"),
    "no bins": ({"max_nbins": 0}, "max_nbins is 0"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"quantities": "ij", "a": bulk("Cu", cubic=True), "cutoff": 3.0, **arguments}
    with pytest.raises(InvalidInputError, match=message):
        neighbor_list(**call)


@pytest.mark.parametrize("number", [119, 200, -1, -119])
def test_atomic_numbers_that_are_no_elements_have_no_cutoffs_per_pair(number: int) -> None:
    atoms = Atoms(numbers=[29, number, 29], positions=[[0, 0, 0], [0, 0, 2], [0, 0, 1]])
    with pytest.raises(UnsupportedElementError, match=f"{number} "):
        neighbor_list("i", atoms, {(29, 29): 3.0, ("Og", "Cu"): 3.0})
    np.testing.assert_array_equal(neighbor_list("i", atoms, 1.5), [0, 1, 2, 2])  # which need no elements


def test_a_site_without_an_element_has_cutoffs_as_in_ase() -> None:
    atoms = Atoms("CuXCu", positions=[[0, 0, 0], [0, 0, 2], [0, 0, 1]])
    for cutoff in ({("Cu", "Cu"): 3.0}, {("X", "Cu"): 3.0}, {(0, 29): 1.5, (29, 29): 0.5}):
        assert_same_as_ase(atoms, cutoff)


def broken(**changes: Any) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    if "position" in changes:
        atoms.positions[1, 2] = changes["position"]
    if "cell" in changes:
        atoms.cell[:] = changes["cell"]
    return atoms


BROKEN = {
    "position not a number": (broken(position=math.nan), "atom 1 .*nan"),
    "infinite position": (broken(position=-math.inf), "atom 1 .*inf"),
    "position absurdly far away": (broken(position=1e30), "atom 1 .*1e[+]09"),
    "zero cell": (broken(cell=0.0), "volume"),
    "flat cell": (broken(cell=[[3, 0, 0], [0, 3, 0], [3, 3, 0]]), "volume"),
    "cell not a number": (broken(cell=[[3, 0, 0], [0, math.nan, 0], [0, 0, 3]]), "volume"),
    "too many images": (broken(cell=np.eye(3) * 0.01), "images"),
}


@pytest.mark.parametrize(("atoms", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_structures_are_refused(atoms: Atoms, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        neighbor_list("ij", atoms, 3.0)
