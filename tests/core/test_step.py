"""One step through the executor: tensors of the graph, their memory, forces and virials, many partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from support.brute_force import edge_keys, edges_within, sorted_rows
from support.graph_checks import check_decomposition
from support.structures_strategy import structures
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import resolve_devices
from distmlip.models.interface import EagerStage, Evaluation, Stage

DTYPES = [torch.float32, torch.float64]


def decompose(atoms: Atoms, cutoff: float, count: int, **options: Any) -> core.Decomposition:
    return core.Decomposition(atoms.positions, atoms.cell.array, atoms.pbc, cutoff, count, **options)


def step_of(cut: core.Decomposition, dtype: torch.dtype = torch.float64) -> core.Step:
    return core.Step(cut, [torch.device("cpu")] * cut.n_partitions, dtype)


def evaluator(adapter: ToyAdapter, n_partitions: int, skin: float = 0.5) -> Evaluator:
    return Evaluator(
        adapter,
        Settings(resolve_devices("cpu"), n_partitions, "auto", None, core.Recompute.never, skin=skin),
    )


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.15, seed=2)
    return atoms


# --- tensors -----------------------------------------------------------------------------------------------


@given(
    structures(max_atoms=8),
    st.floats(1.0, 3.5),
    st.sampled_from([0.0, 0.6]),
    st.sampled_from([1, 3, 9]),
    st.sampled_from(DTYPES),
)
def test_tensors_are_the_graph(
    atoms: Atoms, cutoff: float, skin: float, count: int, dtype: torch.dtype
) -> None:
    cut = decompose(atoms, cutoff, count, skin=skin, bond_cutoff=0.8 * cutoff)
    graphs = check_decomposition(atoms, cut)
    step = step_of(cut, dtype)
    step.update(atoms.positions, atoms.cell.array)
    for p, (part, graph) in enumerate(zip(step.parts, graphs, strict=True)):
        for name in ("senders", "receivers", "edge_bond", "bond_edge", "angles"):
            tensor = getattr(part, name)
            assert tensor.dtype == torch.int64
            assert tensor.is_contiguous()
            np.testing.assert_array_equal(tensor.numpy(), graph[name])
        np.testing.assert_array_equal(part.cut.numpy(), graph["edge_bond"][graph["cut_edges"]])
        assert part.vectors.dtype == dtype
        rounded = graph["vectors"].astype(part.vectors.numpy().dtype)
        np.testing.assert_array_equal(part.vectors.numpy(), rounded)
        local = np.concatenate([cut.owned(p), cut.halo(p)])
        np.testing.assert_array_equal(step.local_atoms[p].numpy(), local)
    assert step.n_edges == [len(graph["senders"]) for graph in graphs]
    assert step.n_bonds == [len(graph["bond_edge"]) for graph in graphs]
    assert step.n_angles == [len(graph["angles"]) for graph in graphs]
    assert step.n_cut == [len(graph["cut_edges"]) for graph in graphs]


@pytest.mark.parametrize("bond_cutoff", [0.0, 2.9])
def test_tensors_that_somebody_holds_do_not_change(bond_cutoff: float) -> None:
    atoms = copper()
    step = step_of(decompose(atoms, 4.0, 3, skin=1.0, bond_cutoff=bond_cutoff))
    step.update(atoms.positions, atoms.cell.array)
    names = ["senders", "receivers", "vectors"]
    names += ["edge_bond", "bond_edge", "angles", "cut"] if bond_cutoff else []
    held = [getattr(part, name) for part in step.parts for name in names]
    before = [tensor.clone() for tensor in held]
    for seed in range(3):
        atoms.rattle(0.05, seed=seed)
        step.update(atoms.positions, atoms.cell.array)
    for tensor, value in zip(held, before, strict=True):
        assert torch.equal(tensor, value)


def test_memory_that_nobody_holds_is_used_again() -> None:
    atoms = copper()
    step = step_of(decompose(atoms, 4.0, 3, skin=1.0))
    places = set()
    for seed in range(4):
        atoms.rattle(0.02, seed=seed)
        step.update(atoms.positions, atoms.cell.array)
        places.add(tuple(part.vectors.data_ptr() for part in step.parts))
    assert len(places) == 1


def test_a_stage_that_keeps_its_vectors_keeps_them() -> None:
    class Keeping(ToyAdapter):
        def stages(self, module: torch.nn.Module, recompute: bool) -> list[Stage]:
            first, *others = super().stages(module, recompute)

            def function(graph, vectors, inputs):
                kept.append((graph.vectors, graph.vectors.clone()))
                return first.function(graph, vectors, inputs)

            return [EagerStage(**{**vars(first), "function": function}), *others]

    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    atoms, used = copper(), evaluator(Keeping([ToyModel()]), 3)
    for seed in range(3):
        atoms.rattle(0.02, seed=seed)
        used.evaluate(atoms)
    assert len(kept) == 9
    assert all(torch.equal(now, then) for now, then in kept)


@pytest.fixture
def torch_threads() -> Iterator[Any]:
    """Sets torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_number_of_threads_changes_no_bit(torch_threads: Any, count: int) -> None:
    atoms = bulk("Cu", cubic=True) * (9, 9, 10)
    atoms.rattle(0.1, seed=1)
    cut = decompose(atoms, 3.5, count, skin=0.5, bond_cutoff=2.7)
    results = []
    for n_threads in (1, 2, 5):
        torch_threads(n_threads)
        step = step_of(cut, torch.float32)
        step.update(atoms.positions, atoms.cell.array)
        parts = [(part.senders, part.receivers, part.vectors, part.angles, part.cut) for part in step.parts]
        results.append([tensor.clone() for part in parts for tensor in part])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.int64])
def test_other_dtypes_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="float32 or float64"):
        step_of(decompose(copper(), 3.0, 2), dtype)


# --- many partitions ---------------------------------------------------------------------------------------


def crowd(n_atoms: int) -> Atoms:
    rng = np.random.default_rng(3)
    cell = np.diag([14.0, 15.0, 16.0]) + rng.uniform(-2, 2, (3, 3))
    return Atoms(numbers=np.full(n_atoms, 6), scaled_positions=rng.random((n_atoms, 3)), cell=cell, pbc=True)


@pytest.mark.parametrize("method", ["slab", "bisection"])
def test_five_thousand_partitions_of_three_hundred_atoms(method: str) -> None:
    atoms = crowd(300)
    cut = decompose(atoms, 3.0, 5000, skin=0.4, bond_cutoff=2.0, method=method)
    step = step_of(cut)
    step.update(atoms.positions, atoms.cell.array)
    owner = cut.owner
    keys, n_angles = [], 0
    for p in range(5000):
        owned, halo, (owners, begin) = cut.owned(p), cut.halo(p), cut.halo_groups(p)
        np.testing.assert_array_equal(np.flatnonzero(owner == p), np.sort(owned))
        np.testing.assert_array_equal(owner[halo], np.repeat(owners, np.diff(begin)))
        for q, first, last in zip(owners, begin[:-1], begin[1:], strict=True):
            readers, send_begin = cut.send_groups(q)
            group = np.searchsorted(readers, p)
            assert readers[group] == p
            rows = cut.send(q)[send_begin[group] : send_begin[group + 1]]
            np.testing.assert_array_equal(cut.owned(q)[rows], halo[first:last])
        if len(owned):
            graph = cut.step(p, atoms.positions)
            rows = np.concatenate([owned, halo])
            keys.append(edge_keys(rows[graph["receivers"]], rows[graph["senders"]], graph["shifts"]))
            n_angles += len(graph["angles"])
    found = np.concatenate(keys)
    expected = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, 3.0)
    np.testing.assert_array_equal(found[sorted_rows(found)], expected.keys)
    short = np.bincount(expected.within(2.0).receivers)
    assert sum(step.n_angles) == n_angles == np.sum(short * (short - 1))
    assert sum(step.n_edges) == len(expected)


def test_a_partition_for_each_atom_and_many_more_give_the_same_forces() -> None:
    atoms, model = copper(), ToyModel()
    (expected,) = evaluator(ToyAdapter([model]), 1).evaluate(atoms)
    for count in (len(atoms), 3000):
        (result,) = evaluator(ToyAdapter([model]), count).evaluate(atoms)
        scale = np.abs(expected.forces).max()
        np.testing.assert_allclose(result.forces, expected.forces, atol=1e-11 * scale)
        np.testing.assert_allclose(result.virials, expected.virials, atol=1e-11 * scale)


# --- forces and virials ------------------------------------------------------------------------------------


def energy_of(used: Evaluator, atoms: Atoms) -> float:
    return float(used.evaluate(atoms)[0].atoms["energy"].sum())


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 4]))
def test_forces_and_virial_are_derivatives_of_the_energy(seed: int, count: int) -> None:
    """By central differences, along random directions of all positions and of the strain."""
    rng = np.random.default_rng(seed)
    atoms = bulk("NaCl", "rocksalt", a=4.6) * (2, 1, 1)
    atoms.positions += rng.normal(scale=0.1, size=(len(atoms), 3))
    used = evaluator(ToyAdapter([ToyModel(seed % 3)]), count)
    (result,) = used.evaluate(atoms)
    step = 1e-5

    def slope(displaced: Any) -> float:
        return (energy_of(used, displaced(step)) - energy_of(used, displaced(-step))) / (2 * step)

    direction = rng.normal(size=(len(atoms), 3))

    def moved(amount: float) -> Atoms:
        return Atoms(atoms.numbers, atoms.positions + amount * direction, cell=atoms.cell, pbc=True)

    scale = max(1.0, np.abs(result.forces).max())
    assert slope(moved) == pytest.approx(-np.sum(direction * result.forces), abs=1e-5 * scale)
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / 2

    def strained(amount: float) -> Atoms:
        other = atoms.copy()
        other.set_cell(atoms.cell.array @ (np.eye(3) + amount * strain), scale_atoms=True)
        return other

    scale = max(1.0, np.abs(result.virial).max())
    assert slope(strained) == pytest.approx(-np.sum(strain * result.virial), abs=1e-5 * scale)


class Pairs(ToyAdapter):
    """Half of (distance - 4)³ on every edge: virials of atoms are then known."""

    bond_cutoff = None

    def stages(self, module: torch.nn.Module, recompute: bool) -> list[Stage]:
        def function(graph, vectors, inputs):
            of_edges = 0.5 * (4.0 - torch.linalg.vector_norm(vectors, dim=1)) ** 3
            energy = vectors.new_zeros(graph.n_owned).index_add(0, graph.receivers, of_edges)
            return {"energy": energy.double()}

        return [EagerStage("pairs", function, results=("energy",), computes=("edges",))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 4, 40])
def test_virials_of_atoms_are_half_of_each_edge(count: int, dtype: torch.dtype) -> None:
    atoms = copper()
    (result,) = evaluator(Pairs([ToyModel()], dtype), count).evaluate(atoms)
    edges = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, 4.0)
    slopes = -1.5 * (4.0 - edges.lengths) ** 2
    gradients = slopes[:, None] * edges.vectors / edges.lengths[:, None]
    shares = -0.5 * edges.vectors[:, :, None] * gradients[:, None, :]
    virials, forces = np.zeros((len(atoms), 3, 3)), np.zeros((len(atoms), 3))
    for ends, sign in ((edges.receivers, 1), (edges.senders, -1)):
        np.add.at(virials, ends, shares)
        np.add.at(forces, ends, sign * gradients)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-4
    np.testing.assert_allclose(result.forces, forces, atol=tolerance * np.abs(gradients).max())
    np.testing.assert_allclose(result.virials, virials, atol=tolerance * np.abs(virials).max())
    np.testing.assert_allclose(result.virial, virials.sum(axis=0), atol=tolerance * np.abs(virials).sum())
    np.testing.assert_array_equal(result.virial, result.virial.T)


def test_virials_of_atoms_only_if_they_are_asked_for() -> None:
    atoms, used = copper(), evaluator(ToyAdapter([ToyModel()]), 3)
    (without,) = used.evaluate(atoms, with_virials=False)
    (with_virials,) = used.evaluate(atoms)
    assert without.virials is None
    np.testing.assert_array_equal(without.virial, with_virials.virial)
    np.testing.assert_allclose(with_virials.virials.sum(axis=0), without.virial, atol=1e-9)
    atoms.calc = DistCalculator(ToyAdapter([ToyModel()]), partitions=3)
    atoms.get_forces()
    assert "stresses" not in atoms.calc.results
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), atol=1e-12)
    atoms.calc.calculate(atoms)
    assert "stresses" in atoms.calc.results


# --- reuse, through the evaluator --------------------------------------------------------------------------


def assert_same(result: Evaluation, expected: Evaluation) -> None:
    scale = max(1.0, np.abs(expected.forces).max())
    np.testing.assert_allclose(result.forces, expected.forces, atol=1e-10 * scale)
    np.testing.assert_allclose(result.virial, expected.virial, atol=1e-10 * np.abs(expected.virial).max())
    np.testing.assert_allclose(result.atoms["energy"], expected.atoms["energy"], atol=1e-9 * scale)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_a_trajectory_with_a_changing_cell_is_the_same_as_single_steps(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    atoms, model = copper(), ToyModel()
    used = evaluator(ToyAdapter([model]), count, skin=0.8)
    for _ in range(5):
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=2e-3, size=(3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.02, size=(len(atoms), 3))
        (fresh,) = evaluator(ToyAdapter([model]), count, skin=0.0).evaluate(atoms)
        (reused,) = used.evaluate(atoms)
        assert_same(reused, fresh)
    assert used.graphs.native.n_built < 5


def test_the_old_graph_is_gone_before_the_new_one_is_built() -> None:
    atoms, used = copper(), evaluator(ToyAdapter([ToyModel()]), 3)
    used.evaluate(atoms)
    alive = []

    def watching(work: Callable[[], int]) -> int:
        alive.append(used.graphs.native.is_built)
        raise ZeroDivisionError

    atoms.positions += 1.0 * np.arange(len(atoms))[:, None]
    with pytest.raises(ZeroDivisionError):
        used.graphs.native.at(atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers, watching)
    assert alive == [False]
    (fresh,) = evaluator(ToyAdapter([ToyModel()]), 3).evaluate(atoms)
    assert_same(used.evaluate(atoms)[0], fresh)


def test_a_profiler_of_the_caller_sees_what_workers_do() -> None:
    calculator = DistCalculator(ToyAdapter([ToyModel()]), devices=["cpu", "cpu"], partitions=2)
    with torch.profiler.profile() as profiler:
        calculator.calculate(copper())
    assert "aten::tanh" in {event.key for event in profiler.key_averages()}
