"""The algorithms for devices: on the CPU everywhere, and the same on a GPU where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from support.brute_force import edge_keys, edges_within, lengths_of, offsets_of, sorted_rows
from support.gpu import GPU
from support.hard_cases import Case, hard_cases, hydrogens, scattered
from support.odd_input import BAD_STRUCTURES
from support.structures_strategy import structures

from distmlip._native import core
from distmlip.errors import InvalidInputError

DEVICES = ["cpu", pytest.param(GPU.type, marks=pytest.mark.cuda, id="gpu")]
on_every_device = pytest.mark.parametrize("device", DEVICES)
counts = st.sampled_from((1, 2, 3, 4, 8, 15))

Arrays = dict[str, np.ndarray]


def system_of(atoms: Atoms, device: str, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    return {
        "positions": torch.tensor(atoms.positions, dtype=dtype, device=device),
        "cell": torch.tensor(atoms.cell.array),
        "periodic": atoms.pbc.tolist(),
    }


def as_arrays(tensors: dict[str, torch.Tensor], device: str) -> Arrays:
    assert {tensor.device.type for tensor in tensors.values()} <= {device}
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def pairs_on(device: str, atoms: Atoms, cutoff: float, self_interaction: bool = False) -> Arrays:
    system = system_of(atoms, device)
    tensors = core.device_neighbor_list("ijdDS", cutoff=cutoff, self_interaction=self_interaction, **system)
    return as_arrays(tensors, device)


def assert_same_pairs(device: str, atoms: Atoms, cutoff: float, self_interaction: bool = False) -> None:
    """Bit for bit and in the same order as on the CPU."""
    expected = core.neighbor_list(
        "ijdDS", atoms.positions, atoms.cell.array, atoms.pbc, cutoff, self_interaction
    )
    found = pairs_on(device, atoms, cutoff, self_interaction)
    for quantity, array in expected.items():
        np.testing.assert_array_equal(found[quantity], array, err_msg=quantity)


@on_every_device
@given(structures(max_atoms=12), st.floats(0.5, 5.5), st.booleans())
def test_same_pairs_as_on_the_cpu(device: str, atoms: Atoms, cutoff: float, self_interaction: bool) -> None:
    assert_same_pairs(device, atoms, cutoff, self_interaction)


@on_every_device
@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in hard_cases().items()])
def test_hard_cases(device: str, case: Case) -> None:
    found = pairs_on(device, case.atoms, case.cutoff)
    atoms = case.atoms
    expected = edges_within(atoms.positions, atoms.cell.array, atoms.pbc, case.cutoff)
    keys = edge_keys(found["i"], found["j"], found["S"])
    order = sorted_rows(keys)
    np.testing.assert_array_equal(keys[order], expected.keys)
    np.testing.assert_array_equal(found["D"][order], expected.vectors)
    assert np.all(np.diff(found["i"]) >= 0)


# Atoms, cutoff and bond cutoff.
MANY = {
    "more candidates than a group keeps": (scattered(2500, np.diag([9.0, 9.0, 9.0]), seed=1), 3.1, 1.2),
    "all within reach": (hydrogens(np.random.default_rng(2).random((1500, 3))), 3.0, 0.15),
    "metal": (bulk("Cu", cubic=True) * 9, 5.0, 3.0),
    "thin": (scattered(900, np.diag([2.0, 30.0, 31.0]), (True, True, False), seed=3), 5.0, 2.1),
}


@on_every_device
@pytest.mark.parametrize("name", MANY)
def test_same_pairs_in_larger_systems(device: str, name: str) -> None:
    atoms, cutoff, _ = MANY[name]
    atoms.rattle(0.05, seed=4)
    assert_same_pairs(device, atoms, cutoff)


@on_every_device
def test_float32_positions_give_float32_vectors(device: str) -> None:
    atoms = scattered(300, np.diag([11.0, 12.0, 13.0]), seed=5)
    system = system_of(atoms, device, torch.float32)
    found = core.device_neighbor_list("ijdDS", cutoff=4.0, **system)
    atoms.positions = system["positions"].cpu().double().numpy()
    exact = pairs_on(device, atoms, 4.0)
    for quantity in "ijS":
        np.testing.assert_array_equal(found[quantity].cpu(), exact[quantity])
    for quantity in "dD":
        assert found[quantity].dtype == torch.float32
        np.testing.assert_array_equal(found[quantity].cpu(), exact[quantity].astype(np.float32))


@on_every_device
@given(structures(max_atoms=12), st.floats(0.5, 5.5))
def test_rows_are_the_same_pairs(device: str, atoms: Atoms, cutoff: float) -> None:
    pairs = pairs_on(device, atoms, cutoff)
    rows = as_arrays(core.device_neighbor_rows(cutoff=cutoff, **system_of(atoms, device)), device)
    receiver = np.repeat(np.arange(len(atoms)), np.diff(rows["row_begin"]))
    np.testing.assert_array_equal(receiver, pairs["i"])
    np.testing.assert_array_equal(rows["sender"], pairs["j"])
    np.testing.assert_array_equal(shifts_of(rows, receiver, rows["sender"]), pairs["S"])
    assert (rows["sender"].dtype, rows["shift_code"].dtype) == (np.int32, np.uint16)


def shifts_of(rows: Arrays, receiver: np.ndarray, sender: np.ndarray) -> np.ndarray:
    """Between atoms where they are; `receiver` and `sender` are atoms."""
    return rows["shifts"][rows["shift_code"]] - rows["wrap"][sender] + rows["wrap"][receiver]


@on_every_device
@pytest.mark.parametrize("quantities", ["", "D", "Sj"])
def test_only_what_is_asked_for(device: str, quantities: str) -> None:
    system = system_of(bulk("Cu", cubic=True), device)
    assert set(core.device_neighbor_list(quantities, cutoff=3.0, **system)) == set(quantities)


@on_every_device
@pytest.mark.parametrize("pbc", [True, False])
def test_no_atoms_no_pairs(device: str, pbc: bool) -> None:
    system = system_of(Atoms(cell=np.eye(3), pbc=pbc), device)
    found = core.device_neighbor_list("ijdDS", cutoff=3.0, self_interaction=True, **system)
    assert {quantity: len(tensor) for quantity, tensor in found.items()} == dict.fromkeys("ijdDS", 0)
    assert core.device_neighbor_rows(cutoff=3.0, **system)["row_begin"].tolist() == [0]


@on_every_device
@pytest.mark.parametrize(("atoms", "message"), BAD_STRUCTURES.values(), ids=BAD_STRUCTURES)
def test_bad_structures_are_refused(device: str, atoms: Atoms, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        core.device_neighbor_list("ij", cutoff=3.0, **system_of(atoms, device))


BAD = {
    "letter": ({"quantities": "ix"}, "'x'.*'ijdDS'"),
    "negative cutoff": ({"cutoff": -1.0}, "-1 Ang"),
    "cutoff not a number": ({"cutoff": float("nan")}, "nan Ang"),
    "flat positions": ({"positions": torch.zeros(12)}, r"\(n_atoms, 3\)"),
    "whole positions": ({"positions": torch.zeros(4, 3, dtype=torch.int64)}, "Long.*float32 or float64"),
    "flat cell": ({"cell": torch.ones(3)}, r"\(3, 3\)"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD.values(), ids=BAD)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"quantities": "ij", "cutoff": 3.0, **system_of(bulk("Cu", cubic=True), "cpu"), **arguments}
    with pytest.raises(InvalidInputError, match=message):
        core.device_neighbor_list(**call)


# --- the graph of one partition -----------------------------------------------------------------------------


def assert_same_local_graphs(device: str, atoms: Atoms, cutoff: float, skin: float, count: int) -> None:
    """The rows of every partition, and its candidates once they are filtered, as the CPU has them."""
    system = (atoms.positions, atoms.cell.array, atoms.pbc)
    cut = core.Decomposition(*system, cutoff=cutoff, skin=skin, n_partitions=count)
    for p in range(count):
        tensors = core.device_candidates(
            radius=cutoff + skin,
            owner=torch.from_numpy(cut.owner),
            n_partitions=count,
            partition=p,
            **system_of(atoms, device),
        )
        found = as_arrays(tensors, device)
        np.testing.assert_array_equal(found["owned"], cut.owned(p))
        np.testing.assert_array_equal(found["halo"], cut.halo(p))
        assert_same_edges(atoms, cutoff, found, cut.step(p, atoms.positions))


def assert_same_edges(atoms: Atoms, cutoff: float, found: Arrays, expected: Arrays) -> None:
    receivers = np.repeat(np.arange(len(found["owned"])), np.diff(found["row_begin"]))
    rows = np.concatenate([found["owned"], found["halo"]])
    senders = found["sender"]
    shifts = shifts_of(found, rows[receivers], rows[senders])
    offsets = offsets_of(shifts, np.where(atoms.pbc[:, None], atoms.cell.array, 0.0))
    vectors = (atoms.positions[rows[senders]] - atoms.positions[rows[receivers]]) + offsets
    edges = lengths_of(vectors) < cutoff
    np.testing.assert_array_equal(senders[edges], expected["senders"])
    np.testing.assert_array_equal(receivers[edges], expected["receivers"])
    np.testing.assert_array_equal(shifts[edges], expected["shifts"])
    np.testing.assert_array_equal(vectors[edges], expected["vectors"])


@on_every_device
@given(structures(max_atoms=12), st.floats(0.5, 5.0), st.floats(0.0, 1.0), counts)
def test_same_local_graphs_as_on_the_cpu(
    device: str, atoms: Atoms, cutoff: float, skin: float, count: int
) -> None:
    assert_same_local_graphs(device, atoms, cutoff, skin, count)


@on_every_device
@pytest.mark.parametrize("name", MANY)
def test_same_local_graphs_of_larger_systems(device: str, name: str) -> None:
    atoms, cutoff, _ = MANY[name]
    assert_same_local_graphs(device, atoms, cutoff * 0.8, cutoff * 0.2, 5)


BAD_PARTITIONS = {
    "partition": ({"partition": 2}, "partition is 2; it must be between 0 and 1"),
    "negative partition": ({"partition": -1}, "partition is -1"),
    "radius": ({"radius": 0.0}, "radius is 0 Ang"),
    "owners": ({"owner": torch.zeros(3)}, r"owner must have the shape \(n_atoms,\)"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_PARTITIONS.values(), ids=BAD_PARTITIONS)
def test_bad_partitions_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"radius": 3.0, "owner": torch.zeros(4), "n_partitions": 2, "partition": 0, **arguments}
    with pytest.raises(InvalidInputError, match=message):
        core.device_candidates(**system_of(bulk("Cu", cubic=True), "cpu"), **call)


# --- steps: edges, bonds, forces ----------------------------------------------------------------------------


def steps_of(atoms: Atoms, device: str, dtype: torch.dtype, **options: Any) -> tuple[core.Step, core.Step]:
    """By the kernels for the CPU, and by those for devices."""
    system = (atoms.positions, atoms.cell.array, atoms.pbc)
    steps = []
    for where in (None, torch.device(device)):
        cut = core.Decomposition(*system, **options, device=where)
        steps.append(core.Step(cut, [where or torch.device("cpu")] * cut.n_partitions, dtype))
    return steps[0], steps[1]


NAMES = ("senders", "receivers", "vectors", "edge_bond", "bond_edge", "short_bonds", "angles", "cut")


def assert_same_step(expected: core.Step, found: core.Step, device: str) -> None:
    assert expected.n_owned == found.n_owned
    for sizes in ("n_edges", "n_bonds", "n_angles", "n_cut"):
        assert getattr(expected, sizes) == getattr(found, sizes)
    for host, part in zip(expected.parts, found.parts, strict=True):
        for name in NAMES:
            mine, theirs = getattr(part, name), getattr(host, name)
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert (mine.device.type, mine.dtype) == (device, theirs.dtype)
                np.testing.assert_array_equal(mine.cpu(), theirs, err_msg=name)


def random_gradients(step: core.Step, seed: int) -> list[torch.Tensor | None]:
    """Of every partition's edges; none of the second partition, as if nothing depended on them."""
    generator = torch.Generator().manual_seed(seed)
    gradients: list[torch.Tensor | None] = [
        torch.randn(part.vectors.shape, generator=generator, dtype=part.vectors.dtype) for part in step.parts
    ]
    if len(gradients) > 2:
        gradients[1] = None
    return gradients


def assert_same_forces(expected: core.Step, found: core.Step, device: str, seed: int) -> None:
    gradients = random_gradients(expected, seed)
    on_device = [None if gradient is None else gradient.to(device) for gradient in gradients]
    for with_virials in (False, True):
        first, again = found.forces(on_device, with_virials), found.forces(on_device, with_virials)
        for mine, repeated, theirs in zip(
            first, again, expected.forces(gradients, with_virials), strict=True
        ):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
                assert torch.equal(mine, repeated)


@on_every_device
@given(
    structures(max_atoms=12),
    st.floats(0.5, 4.0),
    st.floats(0.0, 1.0),
    st.booleans(),
    st.sampled_from([torch.float32, torch.float64]),
    counts,
    st.integers(0, 1000),
)
def test_same_steps_as_on_the_cpu(
    device: str,
    atoms: Atoms,
    cutoff: float,
    skin: float,
    bonds: bool,
    dtype: torch.dtype,
    count: int,
    seed: int,
) -> None:
    bond_cutoff = 0.7 * cutoff if bonds else 0.0
    options = {"cutoff": cutoff, "bond_cutoff": bond_cutoff, "skin": skin, "n_partitions": count}
    expected, found = steps_of(atoms, device, dtype, **options)
    moves = np.random.default_rng(seed).normal(size=(3, len(atoms), 3))
    moves *= 0.49 * skin / np.linalg.norm(moves, axis=-1, keepdims=True)
    for move in moves:
        for step in (expected, found):
            step.update(atoms.positions + move, atoms.cell.array)
        assert_same_step(expected, found, device)
        assert_same_forces(expected, found, device, seed)


@on_every_device
@pytest.mark.parametrize("name", MANY)
def test_same_steps_of_larger_systems(device: str, name: str) -> None:
    atoms, cutoff, bond_cutoff = MANY[name]
    options = {"cutoff": cutoff, "bond_cutoff": bond_cutoff, "skin": 0.3, "n_partitions": 4}
    expected, found = steps_of(atoms, device, torch.float64, **options)
    for step in (expected, found):
        step.update(atoms.positions, atoms.cell.array)
    assert_same_step(expected, found, device)
    assert_same_forces(expected, found, device, seed=0)


# --- rows that cross partitions -----------------------------------------------------------------------------

DTYPES = (torch.float32, torch.float64, torch.bfloat16)


@on_every_device
@given(
    st.sampled_from((*DTYPES, torch.int8)),
    st.integers(0, 20),
    st.integers(1, 30),
    st.integers(0, 3),
    st.integers(0, 1000),
)
def test_gathered_rows(
    device: str, dtype: torch.dtype, width: int, n_rows: int, skipped: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Skipped rows move the first one away from where memory is aligned.
    source = (100 * torch.randn(n_rows + skipped, width, generator=generator)).to(dtype).to(device)[skipped:]
    rows = torch.randint(0, n_rows, (2 * n_rows,), generator=generator).to(device)
    assert torch.equal(core.device_gather_rows(source, rows), source[rows])


@on_every_device
@given(
    st.sampled_from(DTYPES), st.integers(0, 20), st.integers(1, 30), st.integers(0, 3), st.integers(0, 1000)
)
def test_added_rows(
    device: str, dtype: torch.dtype, width: int, n_rows: int, skipped: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = (100 * torch.randn(n_rows + skipped, width, generator=generator)).to(dtype).to(device)[skipped:]
    rows = torch.randperm(n_rows, generator=generator)[: (n_rows + 1) // 2].to(device)
    values = torch.randn(len(rows), width, generator=generator).to(dtype).to(device)
    expected = target.clone()
    expected[rows] += values
    core.device_add_rows(target, rows, values)
    assert torch.equal(target, expected)


def test_sums_that_are_not_numbers_stay_so_in_bfloat16() -> None:
    target = torch.tensor([[np.nan, np.inf, -np.inf, 3e38]], dtype=torch.bfloat16)
    core.device_add_rows(target, torch.tensor([0]), torch.tensor([[1.0, -np.inf, 1.0, 3e38]]).bfloat16())
    assert target.isnan().tolist() == [[True, True, False, False]]
    assert target.isinf().tolist() == [[False, False, True, True]]


BAD_ROWS = {
    "beyond the end": ({"rows": torch.tensor([4])}, "rows reach from 4 to 4, but there are 4"),
    "before the start": ({"rows": torch.tensor([-1])}, "rows reach from -1"),
    "not whole": ({"rows": torch.tensor([1.0])}, "int64"),
    "not contiguous": ({"target": torch.zeros(2, 4).T}, "contiguous"),
    "narrow values": ({"values": torch.zeros(1, 1)}, r"\(n_rows, width\)"),
    "other type": ({"values": torch.zeros(1, 2).double()}, "type"),
    "whole numbers": ({"target": torch.zeros(4, 2).int(), "values": torch.zeros(1, 2).int()}, "Int"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_rows_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"target": torch.zeros(4, 2), "rows": torch.tensor([1]), "values": torch.zeros(1, 2), **arguments}
    with pytest.raises(InvalidInputError, match=message):
        core.device_add_rows(**call)
