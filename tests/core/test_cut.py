"""Where systems are cut: balance, borders, and what the cuts must not depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from distmlip._native import core

METHODS = ("auto", "slab", "bisection")
CUTOFF = 5.0

methods = st.sampled_from(METHODS)


def decompose(atoms: Atoms, count: int, cutoff: float = CUTOFF, **options: Any) -> core.Decomposition:
    cell, periodic = atoms.cell.array, [bool(axis) for axis in atoms.pbc]
    return core.Decomposition(atoms.positions, cell, periodic, cutoff, count, **options)


def owners(atoms: Atoms, count: int, **options: Any) -> np.ndarray:
    return decompose(atoms, count, **options).owner


def n_halo(cut: core.Decomposition) -> int:
    return sum(len(cut.halo(p)) for p in range(cut.n_partitions))


def n_halo_of(atoms: Atoms, owner: np.ndarray, cutoff: float = CUTOFF) -> int:
    """From the neighbour list: pairs of an atom and another partition that has an atom within the cutoff."""
    periodic = [bool(axis) for axis in atoms.pbc]
    pairs = core.neighbor_list("ij", atoms.positions, atoms.cell.array, periodic, cutoff, False)
    i, j = pairs["i"], pairs["j"]
    crossing = owner[i] != owner[j]
    return len(np.unique(owner[i][crossing] * len(atoms) + j[crossing]))


def imbalance(owner: np.ndarray, count: int, weights: np.ndarray | None = None) -> float:
    loads = np.bincount(owner, weights, minlength=count)
    return float(loads.max() / loads.mean())


def water(shape: tuple[int, int, int], seed: int = 0) -> Atoms:
    """Molecules with about the density of water, each near a point of a grid."""
    rng = np.random.default_rng(seed)
    oxygen = (np.indices(shape).reshape(3, -1).T + rng.uniform(-0.2, 0.2, (math.prod(shape), 3))) * 3.1
    directions = rng.normal(size=(len(oxygen), 2, 3))
    hydrogen = oxygen[:, None] + 0.96 * directions / np.linalg.norm(directions, axis=2, keepdims=True)
    positions = np.concatenate([oxygen[:, None], hydrogen], axis=1).reshape(-1, 3)
    return Atoms("OH2" * len(oxygen), positions, cell=np.array(shape) * 3.1, pbc=True)


@pytest.fixture(scope="module")
def box() -> Atoms:
    return water((20, 20, 20))


# --- balance ------------------------------------------------------------------------------------------------


@st.composite
def large_structures(draw: st.DrawFn) -> Atoms:
    """Thousands of atoms: even, in clumps, with holes, in layers, all on top of each other."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    places = rng.random((draw(st.integers(300, 3000)), 3))
    kind = draw(st.sampled_from(["even", "clumps", "holes", "layers", "flat", "coincident"]))
    if kind == "clumps":
        places = rng.random((5, 3))[rng.integers(5, size=len(places))] + 0.02 * places
    elif kind == "holes":
        places = places[np.linalg.norm(places - 0.5, axis=1) > 0.4]
    elif kind == "layers":
        places[:, 2] = np.round(places[:, 2] * 6) / 6
    elif kind == "flat":
        places[:, draw(st.integers(0, 2))] = 0.5
    elif kind == "coincident":
        places[:] = places[0]
    cell = np.diag(rng.uniform(0.5, 1.5, size=3)) + rng.uniform(-0.6, 0.6, size=(3, 3))
    cell *= np.cbrt(len(places) / 0.05 / abs(np.linalg.det(cell)))
    if draw(st.booleans()):
        cell[draw(st.integers(0, 2))] *= 20
    pbc = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
    return Atoms(numbers=np.ones(len(places)), positions=places @ cell, cell=cell, pbc=pbc)


@settings(max_examples=50)
@given(large_structures(), st.integers(2, 14), methods, st.booleans())
def test_partitions_are_balanced(atoms: Atoms, count: int, method: str, uneven: bool) -> None:
    rng = np.random.default_rng(count)
    weights = rng.uniform(0.5, 1.5, size=len(atoms)) if uneven else np.ones(len(atoms))
    owner = owners(atoms, count, cutoff=0.5, method=method, weights=weights)
    assert owner.min() >= 0
    assert owner.max() < count
    loads = np.bincount(owner, weights, minlength=count)
    # Atoms cannot be cut: each cut on the way to a partition may miss by one.
    assert loads.max() <= 1.03 * loads.mean() + weights.max() * math.ceil(math.log2(count))
    assert loads.min() > 0


@pytest.mark.parametrize("count", [3, 7, 8, 12, 16, 64, 100])
@pytest.mark.parametrize("method", ["auto", "slab", "bisection"])
def test_edges_are_balanced(box: Atoms, count: int, method: str) -> None:
    assert imbalance(owners(box, count, method=method, weights=np.ones(len(box))), count) <= 1.03


def test_estimated_work_is_balanced_where_density_differs() -> None:
    dense, thin = bulk("Cu", cubic=True) * 12, bulk("Cu", a=5.0, cubic=True) * (9, 9, 9)
    thin.positions[:, 0] += dense.cell[0, 0] + 30.0
    atoms = dense + thin
    atoms.pbc = False
    cut = decompose(atoms, 8)
    n_edges = [len(cut.step(p, atoms.positions)["senders"]) for p in range(8)]
    # Estimated from bins that reach over the surface.
    assert max(n_edges) <= 1.1 * np.mean(n_edges)


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_are_all_zero_are_equal(box: Atoms, method: str) -> None:
    zero, one = (owners(box, 6, method=method, weights=np.full(len(box), value)) for value in (0.0, 1.0))
    np.testing.assert_array_equal(zero, one)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [2.0**-40, 2.0**60])
def test_only_ratios_of_weights_matter(box: Atoms, method: str, factor: float) -> None:
    weights = np.random.default_rng(3).uniform(size=len(box))
    owner = owners(box, 9, method=method, weights=weights)
    np.testing.assert_array_equal(owners(box, 9, method=method, weights=factor * weights), owner)
    assert imbalance(owner, 9, weights) <= 1.03


@pytest.mark.parametrize("method", METHODS)
def test_a_heavy_atom_counts_as_many(method: str) -> None:
    atoms = bulk("Cu", cubic=True) * 8
    weights = np.ones(len(atoms))
    weights[1000] = 500.0
    loads = np.bincount(owners(atoms, 4, method=method, weights=weights), weights, minlength=4)
    # Slabs have no choice of what is in order with the heavy atom.
    assert loads.max() <= 1.03 * loads.mean() + (0 if method == "bisection" else weights[1000])
    # All work in one atom: whoever has it, everybody else may have nothing.
    weights[1000] = 1e12
    assert len(owners(atoms, 4, method=method, weights=weights)) == len(atoms)


@pytest.mark.parametrize("method", METHODS)
def test_coincident_atoms_are_split_in_their_order(method: str) -> None:
    atoms = Atoms("H100", positions=np.full((100, 3), 1.5), cell=[9.0] * 3, pbc=True)
    np.testing.assert_array_equal(owners(atoms, 4, cutoff=1.0, method=method), np.repeat(np.arange(4), 25))


@pytest.mark.parametrize("method", METHODS)
def test_more_partitions_than_atoms(method: str) -> None:
    atoms = bulk("Cu", cubic=True) * 2
    assert len(set(owners(atoms, 20_000, cutoff=3.0, method=method).tolist())) == len(atoms)


# --- borders ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [(2, 2, 2), (2, 2, 4), (4, 4, 4)])
def test_borders_are_shorter_than_those_of_equal_blocks(box: Atoms, blocks: tuple[int, int, int]) -> None:
    count = math.prod(blocks)
    index = (box.get_scaled_positions() * blocks).astype(int)
    of_blocks = n_halo_of(box, np.ravel_multi_index(tuple(index.T), blocks))
    cut = decompose(box, count)
    assert cut.method == "bisection"
    assert n_halo(cut) == n_halo_of(box, cut.owner)
    assert n_halo(cut) < 0.96 * of_blocks


@pytest.mark.parametrize("shift", [0.0, 0.9, 20.3])
@pytest.mark.parametrize("method", METHODS)
def test_planes_cut_between_the_layers_of_a_crystal(shift: float, method: str) -> None:
    atoms = bulk("Cu", cubic=True) * (18, 3, 3)
    atoms.rattle(0.02, seed=1)
    atoms.positions[:, 0] += shift  # without a shift a layer lies on the face of the cell
    per_layer = 2 * 3 * 3
    # Only neighbouring layers are within 2.4 Å of each other: two borders, a layer on either side.
    assert n_halo(decompose(atoms, 2, cutoff=2.9, method=method)) == 4 * per_layer


@pytest.mark.parametrize("method", METHODS)
def test_cuts_go_through_gaps(method: str) -> None:
    cluster = bulk("Cu", cubic=True) * 3
    atoms = Atoms(cell=[200.0, 50.0, 50.0], pbc=True)
    for k in range(6):
        atoms += Atoms(cluster.numbers, cluster.positions + np.array([200.0 / 6 * k + 195.0, 0.0, 0.0]))
    cut = decompose(atoms, 6, method=method, weights=np.ones(len(atoms)))
    assert n_halo(cut) == 0
    assert imbalance(cut.owner, 6) == 1.0


def test_clusters_at_corners_are_not_cut() -> None:
    cluster = bulk("Cu", cubic=True) * 3
    atoms = Atoms(cell=[60.0] * 3, pbc=True)
    for corner in np.ndindex(2, 2, 2):
        atoms += Atoms(cluster.numbers, cluster.positions + 30.0 * np.array(corner))
    assert n_halo(decompose(atoms, 8, method="bisection")) == 0
    assert n_halo(decompose(atoms, 4)) == 0


@pytest.mark.parametrize("count", [4, 16])
def test_vacuum_does_not_change_a_cut(count: int) -> None:
    atoms = bulk("Cu", cubic=True) * (12, 12, 4)
    atoms.rattle(0.05, seed=2)
    atoms.pbc = (True, True, False)
    bare = decompose(atoms, count)
    wide = atoms.copy()
    wide.cell[2, 2] = 1000.0
    np.testing.assert_array_equal(decompose(wide, count).owner, bare.owner)
    wide.positions[:, 2] += 990.0
    wide.pbc = True  # across the face of the cell, with vacuum in its middle
    across = decompose(wide, count)
    assert imbalance(across.owner, count) <= 1.04
    assert n_halo(across) <= 1.1 * n_halo(bare)


def test_slabs_while_they_are_thick() -> None:
    assert decompose(water((24, 6, 6)), 12).method == "slab"
    assert decompose(water((24, 6, 6)), 20).method == "bisection"
    assert decompose(water((10, 10, 10)), 4).method == "slab"
    assert decompose(water((10, 10, 10)), 6).method == "bisection"


@pytest.mark.parametrize("count", [2, 8, 20])
def test_the_choice_of_cell_vectors_does_not_matter(count: int) -> None:
    atoms = water((14, 14, 14))
    sheared = atoms.copy()
    sheared.set_cell(np.array([[1, 0, 0], [2, 1, 0], [-3, 4, 1]]) @ atoms.cell.array)
    assert n_halo(decompose(sheared, count)) < 1.08 * n_halo(decompose(atoms, count))


# --- what results do not depend on --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 8, 300])
@pytest.mark.parametrize("method", METHODS)
def test_owners_do_not_depend_on_the_number_of_threads(box: Atoms, count: int, method: str) -> None:
    one, two, five = (owners(box, count, method=method, n_threads=n) for n in (1, 2, 5))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, five)


def test_owners_do_not_depend_on_the_images_of_atoms(box: Atoms) -> None:
    jumps = np.random.default_rng(4).integers(-2, 3, size=(len(box), 3))
    elsewhere = box.copy()
    elsewhere.positions += jumps @ box.cell.array
    # Rounding may move an atom on a border.
    assert np.mean(owners(elsewhere, 8) != owners(box, 8)) < 1e-3
