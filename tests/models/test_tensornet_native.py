"""TensorNet's native stages give what the undivided original gives, by exact functions and by tables."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from matgl.apps.pes import Potential
from support.chosen import Chosen
from support.matgl_models import (
    PRETRAINED,
    TENSORNET,
    build_tensornet,
    pretrained,
    pretrained_tensornet_without_warp,
    qet,
    tensornet,
)
from support.parity import assert_forces_and_stress_are_slopes, assert_parity
from support.structures import STRUCTURES, Structure, oxide, oxide_cell, rattled

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models.native import TableSize

pytestmark = pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning")

KINDS = ("warp", "torch", "so3", "so3_torch", "one_layer", "one_layer_torch", "no_layers_silu")
"""That native stages know."""
UNKNOWN = {
    "three_layers": "activation is a .*Tanh",
    "no_layers": "activation is a .*SoftPlus2",
    "with_state": "activation is a .*SoftExp",
}
SMOOTH = {"rbf_type": "SphericalBessel", "use_smooth": True}
FINE = TableSize(64, 14)


@pytest.fixture
def tables(chosen: Chosen) -> Chosen:
    chosen.table = FINE
    return chosen


def model_of(kind: str) -> Potential:
    if kind == "no_layers_silu":
        return build_tensornet(nblocks=0, steepness=1000.0)
    return tensornet(kind)


def check(model: Any, structure: Structure, partitions: int, **options: Any) -> dict[str, float]:
    return assert_parity(
        model, structure.atoms, partitions, reference_atoms=structure.reference, kernels="fused", **options
    )


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_every_kind(kind: str, partitions: int, tables: Chosen) -> None:
    check(model_of(kind), oxide(), partitions)


@pytest.mark.parametrize(
    "changes", [{}, {"use_warp": False}, {"equivariance_invariance_group": "SO(3)"}], ids=str
)
def test_exact_functions(changes: dict[str, Any], chosen: Chosen) -> None:
    model = build_tensornet(**SMOOTH, **changes, steepness=2000.0)
    check(model, oxide(), 1)
    check(model, STRUCTURES["metal_with_vacancies"](), 3, recompute=True)


@pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
def test_any_structure(build: Callable[[], Structure], tables: Chosen) -> None:
    check(tensornet("warp"), build(), 4)


@pytest.mark.parametrize("without_warp", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_pretrained(dtype: torch.dtype, without_warp: bool) -> None:
    """As the comparison with the original chooses."""
    model = pretrained_tensornet_without_warp() if without_warp else pretrained(PRETRAINED[0])
    for partitions in (1, 4):
        check(model, oxide(), partitions, dtype=dtype, strong_forces=False)
    check(model, oxide(), 2, strong_forces=False, radial="exact")


def results_of(model: Potential, atoms: Atoms, partitions: int, **options: Any) -> dict[str, Any]:
    used = DistCalculator(model, devices="cpu", partitions=partitions, **options)
    used.calculate(atoms.copy())
    assert used._evaluator.native is not None
    return copy.deepcopy(used.results)


def assert_same_bits(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    for name in ("energy", "energies", "forces", "stress"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_threads_give_the_same_bits_also_with_recompute(dtype: torch.dtype, tables: Chosen) -> None:
    """With recompute, what a layer is sent is a stage of its own: gradients add up in another order."""
    atoms = rattled(oxide_cell() * (3, 3, 1), 0.08)
    before, tolerance = torch.get_num_threads(), {torch.float64: 1e-13, torch.float32: 2e-5}[dtype]
    try:
        for partitions in (1, 5):
            found = []
            for recompute in (False, True):
                for n_threads in (1, 2):
                    torch.set_num_threads(n_threads)
                    options = {"dtype": dtype, "recompute": recompute}
                    found.append(results_of(tensornet("warp"), atoms, partitions, **options))
                assert_same_bits(*found[-2:])
            assert found[0]["energy"] == found[2]["energy"]
            np.testing.assert_allclose(found[2]["forces"], found[0]["forces"], rtol=0, atol=tolerance)
    finally:
        torch.set_num_threads(before)


def test_instruction_sets_agree(tables: Chosen) -> None:
    before, found = core.simd(), []
    try:
        for level in core.simd_levels:
            core.set_simd(level)
            found.append(results_of(tensornet("so3"), oxide().atoms, 2))
    finally:
        core.set_simd(before)
    for results in found[1:]:
        for name in ("energy", "forces", "stress"):
            np.testing.assert_allclose(results[name], found[0][name], rtol=0, atol=1e-10, err_msg=name)


def test_forces_and_stress_are_slopes_of_the_energy(tables: Chosen) -> None:
    atoms = rattled(oxide_cell(), 0.08)
    atoms.calc = DistCalculator(tensornet("warp"), devices="cpu", partitions=2, skin=0.0)
    assert_forces_and_stress_are_slopes(atoms)


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_nothing_is_computed_twice(partitions: int, tables: Chosen) -> None:
    atoms = oxide().atoms
    counted = []
    for n in (1, partitions):
        used = DistCalculator(tensornet("warp"), devices="cpu", partitions=n)
        used.calculate(atoms.copy())
        counted.append({stage: (of["atoms"], of["edges"]) for stage, of in used.counters.items()})
    assert counted[0] == counted[1]
    assert set(counted[0]) == {"embedding", "layer 0", "layer 1"}
    assert counted[0]["embedding"][0] == len(atoms)


# ---- what native stages do not know


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_part_that_is_not_known_is_named(kind: str) -> None:
    calculator = DistCalculator(tensornet(kind), devices="cpu", kernels="fused")
    with pytest.raises(NotNativeError, match=f"kernels='fused', but {UNKNOWN[kind]}"):
        calculator.get_forces(oxide().atoms)


def test_a_basis_that_exact_functions_do_not_know_is_named() -> None:
    calculator = DistCalculator(tensornet("warp"), devices="cpu", kernels="fused", radial="exact")
    with pytest.raises(NotNativeError, match=r"bond_expansion is a .*GaussianExpansion"):
        calculator.get_forces(oxide().atoms)


def test_other_networks_have_none() -> None:
    calculator = DistCalculator(qet("warp"), devices="cpu", kernels="fused")
    with pytest.raises(NotNativeError, match="no native stages for QET of matgl"):
        calculator.get_forces(oxide().atoms)


def test_all_kinds_are_known_or_named() -> None:
    assert set(TENSORNET) <= {*KINDS, *UNKNOWN, "no_layers_torch"}
