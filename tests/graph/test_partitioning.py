from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from hypothesis import assume, given
from hypothesis import strategies as st
from support.brute_force import Edge, all_pairs
from support.brute_force import angles as all_angles
from support.structures_strategy import structures

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.graph.partitioning import Part, Partitioning, partition

METHODS = ("auto", "slab", "bisection")
PARTITION_COUNTS = (1, 2, 3, 4, 8, 15)  # the last one is more than any of these structures has atoms

counts = st.sampled_from(PARTITION_COUNTS)
methods = st.sampled_from(METHODS)


def rows_of(part: Part) -> np.ndarray:
    return np.concatenate([part.owned, part.halo])


def edges_of(part: Part) -> list[Edge]:
    rows = rows_of(part)
    receivers, senders = rows[part.receivers].tolist(), rows[part.senders].tolist()
    return list(zip(receivers, senders, map(tuple, part.shifts.tolist()), strict=True))


def reverse(edge: Edge) -> Edge:
    receiver, sender, (a, b, c) = edge
    return sender, receiver, (-a, -b, -c)


@given(structures(), st.floats(0.5, 5.0), counts, methods)
def test_every_edge_is_in_exactly_one_partition(atoms: Atoms, cutoff: float, count: int, method: str) -> None:
    pairs = all_pairs(atoms, cutoff + 0.1)
    assume(not pairs.near(cutoff))
    cut = partition(atoms, cutoff, count, method=method)
    found: Counter[Edge] = Counter()
    for p, part in enumerate(cut.parts):
        edges = edges_of(part)
        assert all(cut.owner[receiver] == p for receiver, _, _ in edges)
        found.update(edges)
    assert found == pairs.within(cutoff)


@given(structures(), st.floats(0.5, 5.0), counts, methods)
def test_plans_match_on_both_sides(atoms: Atoms, cutoff: float, count: int, method: str) -> None:
    assume(not all_pairs(atoms, cutoff + 0.1).near(cutoff, 1e-3))
    cut = partition(atoms, cutoff, count, method=method)
    assert_owners(cut, len(atoms), count)
    for p, part in enumerate(cut.parts):
        n_owned = len(part.owned)
        assert np.all(np.diff(part.receivers) >= 0)
        assert np.all(part.receivers < n_owned)
        assert np.all(np.diff(part.halo_owner) >= 0)
        np.testing.assert_array_equal(cut.owner[part.halo], part.halo_owner)
        # Halo rows are unique atoms, and all of them are read.
        assert len(set(part.halo.tolist())) == len(part.halo)
        assert set(part.senders[part.senders >= n_owned].tolist()) == set(range(n_owned, len(rows_of(part))))
        np.testing.assert_array_equal(np.concatenate(part.recv), n_owned + np.arange(len(part.halo)))
        assert len(part.send[p]) == len(part.recv[p]) == 0
        for q, other in enumerate(cut.parts):
            assert np.all(part.send[q] < n_owned)
            np.testing.assert_array_equal(rows_of(part)[part.send[q]], rows_of(other)[other.recv[p]])


def assert_owners(cut: Partitioning, n_atoms: int, count: int) -> None:
    assert len(cut.parts) == count
    assert cut.owner.shape == (n_atoms,)
    everyone = np.concatenate([part.owned for part in cut.parts])
    assert sorted(everyone.tolist()) == list(range(n_atoms))
    for p, part in enumerate(cut.parts):
        assert np.all(cut.owner[part.owned] == p)


@given(structures(max_atoms=7), st.floats(1.0, 3.5), st.floats(0.3, 1.0), counts, methods)
def test_bonds_and_angles(atoms: Atoms, cutoff: float, ratio: float, count: int, method: str) -> None:
    bond_cutoff = cutoff * ratio
    pairs = all_pairs(atoms, cutoff + 0.1)
    short = pairs.within(bond_cutoff)
    assume(not pairs.near(bond_cutoff) and not pairs.near(cutoff) and len(short) < 300)
    cut = partition(atoms, cutoff, count, bond_cutoff=bond_cutoff, method=method)
    bonds: Counter[Edge] = Counter()
    angles: Counter[tuple[Edge, Edge]] = Counter()
    for part in cut.parts:
        edges = edges_of(part)
        own = [edges[row] for row in part.bonds]
        bonds.update(own)
        angles.update((own[a], own[b]) for a, b in part.angles)
    assert bonds == short
    assert angles == all_angles(short)
    assert_cut_bonds_match(cut)


def assert_cut_bonds_match(cut: Partitioning) -> None:
    def cut_bonds(p: int, q: int) -> list[Edge]:
        part = cut.parts[p]
        edges = edges_of(part)
        return [edges[part.bonds[k]] for k in part.bond_halo[q]]

    for p, part in enumerate(cut.parts):
        edges = edges_of(part)
        for q in range(len(cut.parts)):
            here = cut_bonds(p, q)
            assert here == [reverse(edge) for edge in cut_bonds(q, p)]
            expected = [edges[row] for row in part.bonds if p != q and cut.owner[edges[row][1]] == q]
            assert Counter(here) == Counter(expected)


def test_pairs_at_a_cutoff_are_left_out() -> None:
    atoms = Atoms("H2", positions=[[0, 0, 0], [0, 0, 2]])
    beyond = math.nextafter(2.0, 3.0)

    def count(cutoff: float, bond_cutoff: float) -> tuple[int, int]:
        parts = partition(atoms, cutoff, 2, bond_cutoff=bond_cutoff).parts
        return sum(len(part.senders) for part in parts), sum(len(part.bonds) for part in parts)

    assert count(2.0, 1.0) == (0, 0)
    assert count(beyond, 2.0) == (2, 0)
    assert count(beyond, beyond) == (2, 2)


# --- the core: bonds of all edges, skin, reuse -------------------------------------------------------------


def decompose(atoms: Atoms, count: int, **options: Any) -> core.Decomposition:
    return core.Decomposition(atoms.positions, atoms.cell.array, atoms.pbc, n_partitions=count, **options)


def core_edges(cut: core.Decomposition, p: int, graph: dict[str, np.ndarray]) -> list[Edge]:
    rows = np.concatenate([cut.owned(p), cut.halo(p)])
    receivers, senders = rows[graph["receivers"]], rows[graph["senders"]]
    shifts = map(tuple, graph["shifts"].tolist())
    return list(zip(receivers.tolist(), senders.tolist(), shifts, strict=True))


@given(structures(max_atoms=7), st.floats(1.0, 4.0), counts)
def test_an_edge_and_its_reverse_are_one_bond(atoms: Atoms, cutoff: float, count: int) -> None:
    cut = decompose(atoms, count, cutoff=cutoff, bond_cutoff=cutoff / 2)
    for p in range(count):
        graph = cut.step(p, atoms.positions)
        edges = core_edges(cut, p, graph)
        index = {edge: k for k, edge in enumerate(edges)}
        bond_of = graph["edge_bond"]
        n_edges_of_bond = Counter(bond_of.tolist())
        for edge, k in index.items():
            assert (reverse(edge) in index) == (cut.owner[edge[1]] == p)
            if reverse(edge) in index:
                assert bond_of[k] == bond_of[index[reverse(edge)]]
                assert n_edges_of_bond[bond_of[k]] == 2
            else:
                assert n_edges_of_bond[bond_of[k]] == 1
        first_edges = np.unique(bond_of, return_index=True)[1] if edges else np.zeros(0, int)
        np.testing.assert_array_equal(graph["bond_edge"], first_edges)


@given(structures(max_atoms=7), st.floats(1.0, 4.0), counts)
def test_vectors_are_bitwise_the_same_in_every_partition(atoms: Atoms, cutoff: float, count: int) -> None:
    cut = decompose(atoms, count, cutoff=cutoff)
    vectors: dict[Edge, np.ndarray] = {}
    for p in range(count):
        graph = cut.step(p, atoms.positions)
        vectors.update(zip(core_edges(cut, p, graph), graph["vectors"], strict=True))
    for edge, vector in vectors.items():
        receiver, sender, shift = edge
        exact = atoms.positions[sender] - atoms.positions[receiver] + shift @ atoms.cell.array
        np.testing.assert_allclose(vector, exact, atol=1e-12)
        np.testing.assert_array_equal(vector, -vectors[reverse(edge)])


@given(structures(max_atoms=7), st.floats(1.0, 3.0), st.floats(0.05, 1.5), counts, st.integers(0, 1000))
def test_results_do_not_depend_on_the_skin(
    atoms: Atoms, cutoff: float, skin: float, count: int, seed: int
) -> None:
    cut = decompose(atoms, count, cutoff=cutoff, bond_cutoff=0.8 * cutoff, skin=skin)
    moves = np.random.default_rng(seed).normal(size=(len(atoms), 3))
    moves *= 0.499 * skin / np.linalg.norm(moves, axis=1, keepdims=True)
    moved = atoms.copy()
    moved.positions += moves
    assert cut.still_valid(moved.positions, moved.cell.array, moved.pbc)
    pairs = all_pairs(moved, cutoff + 0.1)
    assume(not pairs.near(cutoff) and not pairs.near(0.8 * cutoff))
    short = pairs.within(0.8 * cutoff)
    assume(len(short) < 200)
    graphs = [cut.step(p, moved.positions) for p in range(count)]
    edges = [core_edges(cut, p, graph) for p, graph in enumerate(graphs)]
    assert sum(map(Counter, edges), Counter()) == pairs.within(cutoff)
    found: Counter[tuple[Edge, Edge]] = Counter()
    for graph, own in zip(graphs, edges, strict=True):
        found.update((own[a], own[b]) for a, b in graph["angles"])
    assert found == all_angles(short)
    assert_cut_rows_match(cut, graphs, edges, short)


def assert_cut_rows_match(
    cut: core.Decomposition,
    graphs: list[dict[str, np.ndarray]],
    edges: list[list[Edge]],
    short: Counter[Edge],
) -> None:
    def cut_edges(p: int, q: int) -> list[Edge]:
        partners, begin = graphs[p]["cut_groups"]
        group = np.searchsorted(partners, q)
        if group == len(partners) or partners[group] != q:
            return []
        return [edges[p][edge] for edge in graphs[p]["cut_edges"][begin[group] : begin[group + 1]]]

    for p in range(cut.n_partitions):
        assert np.all(np.diff(graphs[p]["cut_groups"][0]) > 0)
        for q in range(cut.n_partitions):
            here = cut_edges(p, q)
            assert here == [reverse(edge) for edge in cut_edges(q, p)]
            owners = [(cut.owner[receiver], cut.owner[sender]) for receiver, sender, _ in short]
            assert len(here) == (0 if p == q else owners.count((p, q)))


def test_a_decomposition_is_valid_until_an_atom_has_moved_half_the_skin() -> None:
    atoms = bulk("Cu", cubic=True)
    cell, pbc = atoms.cell.array, atoms.pbc
    cut = decompose(atoms, 2, cutoff=4.0, skin=0.5)
    moved = atoms.positions.copy()
    moved[2, 1] += 0.2499
    assert cut.still_valid(moved, cell, pbc)
    moved[2, 1] += 0.0002
    assert not cut.still_valid(moved, cell, pbc)
    assert not cut.still_valid(np.where(moved == moved[0], math.nan, moved), cell, pbc)
    assert not cut.still_valid(atoms.positions[:3], cell, pbc)
    assert not cut.still_valid(atoms.positions, cell * 0.9, pbc)
    assert not cut.still_valid(atoms.positions, cell, [True, True, False])


def test_without_a_skin_only_the_same_positions_are_valid() -> None:
    atoms = bulk("Cu", cubic=True)
    cut = decompose(atoms, 2, cutoff=4.0)
    assert cut.still_valid(atoms.positions, atoms.cell.array, atoms.pbc)
    moved = atoms.positions.copy()
    moved[0, 0] += 1e-9
    assert not cut.still_valid(moved, atoms.cell.array, atoms.pbc)


def test_no_atoms_give_empty_partitions() -> None:
    cut = decompose(Atoms(pbc=True, cell=[3, 3, 3]), 3, cutoff=2.0, bond_cutoff=1.0)
    for p in range(3):
        graph = cut.step(p, np.zeros((0, 3)))
        assert all(len(graph[name]) == 0 for name in ("senders", "edge_bond", "angles", "cut_edges"))
        assert [array.tolist() for array in graph["cut_groups"]] == [[], [0]]


def test_number_of_threads_changes_nothing() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 5
    one, many = (decompose(atoms, 6, cutoff=5.0, bond_cutoff=3.0, n_threads=n) for n in (1, 3))
    for p in range(6):
        first, second = one.step(p, atoms.positions), many.step(p, atoms.positions)
        assert first.keys() == second.keys()
        for name, value in first.items():
            pairs = zip(value, second[name], strict=True) if name == "cut_groups" else [(value, second[name])]
            for array, other in pairs:
                np.testing.assert_array_equal(array, other)


# --- where the cuts are ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 7, 16])
@pytest.mark.parametrize("method", ["slab", "bisection"])
def test_partitions_are_balanced(count: int, method: str) -> None:
    atoms = bulk("Cu", cubic=True) * 8
    atoms.rattle(0.1, seed=0)
    n_edges = [len(part.senders) for part in partition(atoms, 4.0, count, method=method).parts]
    assert max(n_edges) < 1.05 * np.mean(n_edges)


def test_vacuum_and_density_do_not_unbalance() -> None:
    dense, thin = bulk("Cu", cubic=True) * (8, 4, 4), bulk("Cu", a=7.2, cubic=True) * (4, 2, 2)
    thin.translate([40.0, 0.0, 0.0])
    atoms = dense + thin
    atoms.set_cell([300.0, 14.4, 14.4])
    atoms.pbc = True
    n_edges = [len(part.senders) for part in partition(atoms, 5.5, 4, method="slab").parts]
    assert max(n_edges) < 1.15 * np.mean(n_edges)


def test_an_atom_that_has_left_costs_nothing() -> None:
    atoms = bulk("Cu", cubic=True) * 8
    atoms.pbc = False
    n_edges = len(partition(atoms, 3.0, 1).parts[0].senders)
    atoms.append("Cu")
    atoms.positions[-1] = [1e5, 1e5, -1e5]
    parts = partition(atoms, 3.0, 3).parts
    assert sum(len(part.senders) for part in parts) == n_edges


def test_vacuum_is_not_an_axis_to_cut() -> None:
    atoms = fcc111("Al", (12, 4, 3), vacuum=60.0)
    atoms.pbc = True
    centres = [atoms.positions[part.owned].mean(axis=0) for part in partition(atoms, 4.0, 3).parts]
    assert np.ptp([centre[0] for centre in centres]) > 10.0
    assert np.ptp([centre[2] for centre in centres]) < 2.0


def test_weights_decide_the_balance() -> None:
    atoms = bulk("Cu", cubic=True) * (10, 1, 1)
    weights = np.where(atoms.positions[:, 0] < 0.5 * atoms.cell[0, 0], 9.0, 1.0)
    parts = partition(atoms, 3.0, 2, weights=weights).parts
    assert [weights[part.owned].sum() for part in parts] == pytest.approx([100.0, 100.0], rel=0.1)
    unweighted = partition(atoms, 3.0, 2, weights=np.zeros(len(atoms))).parts
    assert [len(part.owned) for part in unweighted] == [20, 20]


def test_auto_slices_what_is_long_and_bisects_what_is_not() -> None:
    wire, cube = bulk("Cu", cubic=True) * (16, 2, 2), bulk("Cu", cubic=True) * 4
    assert partition(wire, 3.0, 16).method == "slab"
    assert partition(cube, 3.0, 4).method == "slab"
    assert partition(cube, 3.0, 16).method == "bisection"
    assert partition(cube, 3.0, 16, method="slab").method == "slab"


@pytest.mark.parametrize("method", ["slab", "bisection"])
def test_owners_do_not_depend_on_where_the_cell_is_or_on_the_order_of_atoms(method: str) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * 3
    atoms.rattle(0.2, seed=5)
    atoms.wrap()
    owner = partition(atoms, 4.0, 5, method=method).owner
    elsewhere = atoms.copy()
    jumps = np.random.default_rng(2).integers(-3, 4, size=(len(atoms), 3))
    elsewhere.positions += jumps @ atoms.cell.array
    np.testing.assert_array_equal(partition(elsewhere, 4.0, 5, method=method).owner, owner)
    order = np.random.default_rng(1).permutation(len(atoms))
    same = np.ones(len(atoms))  # the estimate looks at some atoms only, and at others in another order
    owner = partition(atoms, 4.0, 5, method=method, weights=same).owner
    permuted = partition(atoms[order], 4.0, 5, method=method, weights=same).owner
    np.testing.assert_array_equal(permuted, owner[order])


def test_more_partitions_than_atoms() -> None:
    parts = partition(molecule("H2O"), 2.0, 10, bond_cutoff=1.5).parts
    assert sorted(len(part.owned) for part in parts) == [0] * 7 + [1] * 3
    assert sum(len(part.angles) for part in parts) == 2  # H-O-H, both ways round


def test_result_is_frozen_and_of_int64() -> None:
    cut = partition(bulk("Cu", cubic=True), 3.0, 2, bond_cutoff=2.8)
    with pytest.raises(dataclasses.FrozenInstanceError):
        cut.owner = cut.owner
    for part in cut.parts:
        for field in dataclasses.fields(Part):
            value = getattr(part, field.name)
            for array in value if isinstance(value, Sequence) else (value,):
                assert array.dtype == np.int64, field.name
    assert partition(bulk("Cu"), 3.0, 1).parts[0].bonds is None


BAD = {
    "no partitions": ({"partitions": 0}, "partitions=0"),
    "negative partitions": ({"partitions": -2}, "partitions=-2"),
    "half a partition": ({"partitions": 1.5}, "partitions=1.5"),
    "absurdly many partitions": ({"partitions": 10**7}, "between 1 and 1000000"),
    "negative cutoff": ({"cutoff": -3.0}, "cutoff=-3"),
    "zero cutoff": ({"cutoff": 0}, "cutoff=0"),
    "cutoff not a number": ({"cutoff": math.nan}, "cutoff=nan"),
    "cutoff of a wrong type": ({"cutoff": "3 A"}, "cutoff='3 A'"),
    "bond cutoff above the cutoff": ({"bond_cutoff": 3.5}, "bond_cutoff is 3.5"),
    "negative bond cutoff": ({"bond_cutoff": -1}, "bond_cutoff=-1"),
    "zero bond cutoff": ({"bond_cutoff": 0}, "bond_cutoff=0"),
    "unknown method": ({"method": "metis"}, "'metis'.*'slab'"),
    "too few weights": ({"weights": [1.0]}, "1 entries for 4"),
    "negative weight": ({"weights": [1.0, 1.0, -1.0, 1.0]}, r"weights\[2\]=-1"),
    "weight not a number": ({"weights": [1.0, math.nan, 1.0, 1.0]}, r"weights\[1\]=nan"),
    "weights of a wrong type": ({"weights": ["a", "b", "c", "d"]}, "not numbers"),
    "no atoms": ({"atoms": Atoms()}, "no atoms"),
    "no volume": ({"atoms": Atoms("H", pbc=True)}, "volume"),
    "position not a number": ({"atoms": Atoms("H", positions=[[0, 0, math.nan]])}, "atom 0 .*nan"),
    "too many images": ({"atoms": Atoms("H", pbc=True, cell=[0.01] * 3)}, "images"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"atoms": bulk("Cu", cubic=True), "cutoff": 3.0, "partitions": 2, **arguments}
    with pytest.raises(InvalidInputError, match=message):
        partition(**call)


CORE_BAD = {
    "negative skin": ({"skin": -0.1}, "skin is -0.1"),
    "skin not a number": ({"skin": math.nan}, "skin is nan"),
    "positions of a wrong shape": ({"positions": np.zeros((4, 2))}, "n_atoms, 3"),
    "cell of a wrong shape": ({"cell": np.zeros(3)}, "3, 3"),
    "weights of a wrong shape": ({"weights": np.zeros((4, 1))}, "n_atoms,"),
}


@pytest.mark.parametrize(("arguments", "message"), CORE_BAD.values(), ids=CORE_BAD)
def test_core_refuses_bad_input(arguments: dict[str, Any], message: str) -> None:
    atoms = bulk("Cu", cubic=True)
    call = {"positions": atoms.positions, "cell": atoms.cell.array, "periodic": [True] * 3, "cutoff": 3.0}
    with pytest.raises(ValueError, match=message):
        core.Decomposition(**{**call, "n_partitions": 2, **arguments})


def test_core_refuses_partitions_and_positions_that_do_not_belong() -> None:
    atoms = bulk("Cu", cubic=True)
    cut = decompose(atoms, 2, cutoff=3.0)
    for call in (cut.owned, cut.halo, cut.halo_groups, cut.send, cut.send_groups):
        for p in (-1, 2):
            with pytest.raises(IndexError):
                call(p)
    with pytest.raises(ValueError, match="atoms"):
        cut.step(0, atoms.positions[:2])
