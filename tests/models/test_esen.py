"""eSEN and UMA over partitions give what undivided fairchem gives, and compute nothing twice."""

from __future__ import annotations

import copy
import functools
import re
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from fairchem.core.datasets.atomic_data import AtomicData
from fairchem.core.models.base import HydraModel
from fairchem.core.models.uma.escn_md import Linear_Energy_Head, MLP_EFS_Head
from support.contract import (
    DTYPES,
    MORE_THAN_ATOMS,
    PARTITIONS,
    ModelContract,
    assert_nothing_is_computed_twice,
    count_inputs,
)
from support.esen_models import (
    DIRECT,
    NARROW,
    assert_same_results,
    build,
    charged,
    narrow,
    published,
    results_of,
)
from support.native_stages import (
    assert_not_native,
    assert_same_bits,
    assert_same_bits_on_threads_and_with_recompute,
    native_results,
)
from support.parity import assert_parity
from support.structures import STRUCTURES, Structure, oxide, oxide_cell, quartz, rattled
from support.torch_globals import torch_globals

from distmlip import DistCalculator, DistModel
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.fairchem.adapter import FAIRChemAdapter, adapt

OMAT = {"task_name": "omat"}
OWN_MODULES = ("shared_experts", "s2_activation", "high_degree")
"""Kinds of models with convolutions that native stages do not know."""


class TestFairchem(ModelContract):
    kinds = tuple(NARROW)
    structures_of_kinds = ("oxide", "two_far_apart_molecules")
    published = ("sm",)
    slow = ("sm",)

    def model(self, kind: str) -> HydraModel:
        return narrow(kind)

    def fresh_model(self) -> HydraModel:
        return build(**NARROW[self.kinds[0]]).train()

    def published_model(self, name: str) -> HydraModel:
        return published(name)

    def options_of(self, name: str) -> dict[str, Any]:
        return OMAT

    def prepare(self, atoms: Atoms) -> Atoms:
        return charged(atoms)

    def reference_structure(self, structure: Structure) -> Atoms:
        """fairchem is right about every boundary."""
        return structure.atoms


class TestNativeFairchem(TestFairchem):
    """Of the kinds whose convolutions native stages know."""

    kernels = "fused"
    kinds = tuple(kind for kind in NARROW if kind not in OWN_MODULES)

    def published_model(self, name: str) -> HydraModel:
        return published(name, torch.float64)


def test_rotations_that_were_rounded_are_left_to_the_model() -> None:
    """A model that has been in float32 changes by it in float64 when everything is turned, so that exact
    rotations are not the original's."""
    model, atoms = build(torch.float32, **NARROW["uma"]), charged(quartz().atoms)
    turned = atoms.copy()
    turned.rotate(37, (1, 2, 3), rotate_cell=True)
    original = adapt(model, torch.float64, **OMAT).original()
    energies = [results_of(original, of)["energy"] for of in (atoms, turned)]
    assert abs(energies[1] - energies[0]) > 1e-11 * abs(energies[0])
    assert_not_native(
        model, atoms, "constants of the model's rotations are rounded to float32", dtype="float64", **OMAT
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("kind", ["uma", "layer_norm_on_a_grid"])
def test_native_stages_give_the_same_bits_on_threads_and_with_recompute(
    kind: str, dtype: torch.dtype
) -> None:
    """With more receivers than a chunk in a partition, and more edges than a block."""
    atoms, names = (
        charged(rattled(oxide_cell() * (3, 3, 1), 0.08)),
        ("energy", "energies", "forces", "stress"),
    )
    assert len(atoms) > 2 * 32
    assert_same_bits_on_threads_and_with_recompute(narrow(kind), atoms, 2, names, dtype=dtype, **OMAT)


def test_native_stages_compute_nothing_twice() -> None:
    """As many rows as the model's own modules, and as many that cross."""
    counted = []
    for kernels in ("original", "fused"):
        used = DistCalculator(narrow("uma"), partitions=4, skin=0.0, kernels=kernels, **OMAT)
        used.calculate(charged(STRUCTURES["oxide"]().atoms))
        total: Counter[str] = Counter()
        for rows in used.counters.values():
            total.update(rows)
        counted.append(total)
    assert counted[0] == counted[1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shared_experts", "radial functions are mixtures of experts"),
        ("s2_activation", r"messages are activated by a \S*SeparableS2Activation_M; native stages know"),
        ("high_degree", "lmax is 5 and mmax 2; native stages are for degrees up to 4 and orders from 1"),
    ],
)
def test_what_native_stages_do_not_know_is_named(kind: str, message: str) -> None:
    assert_not_native(narrow(kind), charged(quartz().atoms), message, **OMAT)


@pytest.mark.parametrize("orders", [(1, 1), (3, 3), (4, 1), (4, 2), (4, 3), (4, 4)], ids=str)
def test_degrees_and_orders_of_native_stages(orders: tuple[int, int]) -> None:
    lmax, mmax = orders
    model = build(lmax=lmax, mmax=mmax, num_layers=1)
    assert_parity(model, charged(quartz().atoms), 2, kernels="fused", **OMAT)


@pytest.mark.parametrize("kind", ["esen", "euler_angles", "balanced"])
def test_tables_of_radial_functions(kind: str) -> None:
    """For each ordered pair of elements: beside exact functions, and in other places than these."""
    atoms = charged(two_phases())
    exact, tables = (
        native_results(narrow(kind), atoms, 2, radial=radial, dtype=torch.float32, **OMAT)
        for radial in ("exact", "table")
    )
    difference = np.abs(exact["forces"] - tables["forces"]).max()
    assert 0 < difference < 1e-5 * np.abs(exact["forces"]).max()


def test_experts_of_native_stages_follow_the_composition() -> None:
    """Back at the first composition, results are those of before to the last bit."""
    atoms = charged(rattled(oxide_cell(), 0.08))
    used = DistCalculator(narrow("uma"), partitions=2, kernels="fused", **OMAT)
    first = results_of(used, atoms)
    atoms.numbers[0] = 25
    assert_same_results(results_of(used, atoms), results_of(adapt(narrow("uma"), **OMAT).original(), atoms))
    atoms.numbers[0] = oxide_cell().numbers[0]
    assert_same_bits(results_of(used, atoms), first, ("energy", "forces", "stress"))


@pytest.mark.parametrize("partitions", [pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize("name", ["sm", pytest.param("30M", marks=pytest.mark.slow)])
def test_published_size(name: str, partitions: int) -> None:
    assert_parity(published(name), charged(quartz().atoms), partitions, **OMAT)


# ---- what the whole system decides


def two_phases() -> Atoms:
    """Copper beside manganese oxide: no two partitions have the same composition."""
    atoms = oxide_cell() * (4, 1, 1)
    left = atoms.get_scaled_positions(wrap=True)[:, 0] < 0.4
    atoms.numbers[left] = 29
    return charged(rattled(atoms, 0.08))


@pytest.mark.parametrize("partitions", [2, 5, MORE_THAN_ATOMS])
@pytest.mark.parametrize("kind", ["uma", "broken_extensivity", "shared_experts"])
def test_experts_are_those_of_the_whole_system(kind: str, partitions: int | str) -> None:
    atoms = two_phases()
    n_partitions = len(atoms) + 3 if partitions == MORE_THAN_ATOMS else int(partitions)
    assert_parity(narrow(kind), atoms, n_partitions, **OMAT)
    # The test can tell: experts mixed for one phase alone give other forces.
    calculator = DistCalculator(narrow(kind), partitions=2, devices="cpu", **OMAT)
    whole = results_of(calculator, atoms)["forces"]
    system = calculator._adapter.system
    calculator._adapter.system = lambda _: system(atoms[atoms.numbers == 29])  # type: ignore[method-assign]
    assert np.abs(results_of(calculator, atoms)["forces"] - whole).max() > 1e-3


def test_experts_follow_composition_charge_and_spin() -> None:
    model, atoms = narrow("uma"), charged(rattled(oxide_cell(), 0.08))
    calculator = DistCalculator(model, partitions=3, devices="cpu", **OMAT)
    original = adapt(model, **OMAT).original()
    atoms.calc = calculator
    energies = []
    for change in ("nothing", "composition", "charge", "spin", "info left out", "back"):
        if change == "composition":
            atoms.numbers[0] = 29
        elif change in ("charge", "spin"):
            atoms.info[change] = 3
        elif change == "info left out":
            atoms.info.clear()
        elif change == "back":
            atoms.numbers[0] = oxide_cell().numbers[0]
            charged(atoms)
        energies.append(atoms.get_potential_energy())
        theirs = results_of(original, atoms)
        assert_same_results(calculator.results, theirs)
    assert len({round(energy, 4) for energy in energies}) == 5
    # Stages were made for the elements of the second composition, too.
    assert energies[-1] == pytest.approx(energies[0], abs=1e-12)
    assert atoms.info == {"charge": 1, "spin": 2}


def test_systems_of_two_threads_are_not_mixed_up() -> None:
    model, atoms = narrow("uma"), charged(oxide().atoms)
    other = atoms[:4]
    expected = [adapt(model, **OMAT).system(structure)["experts"] for structure in (atoms, other)]
    assert not torch.equal(*expected)
    adapter, found = adapt(model, **OMAT), {}
    mix = adapter._system._backbone.set_MOLE_coefficients
    thread = threading.Thread(target=lambda: found.update(other=adapter.system(other)["experts"]))

    def interrupted(*arguments: Any) -> None:
        mix(*arguments)
        if thread.ident is None:
            thread.start()
            thread.join(timeout=0.5)  # it has to wait until this one is through

    adapter._system._backbone.set_MOLE_coefficients = interrupted
    found["whole"] = adapter.system(atoms)["experts"]
    thread.join()
    assert torch.equal(found["whole"], expected[0])
    assert torch.equal(found["other"], expected[1])


def test_autocast_of_the_user_changes_nothing() -> None:
    model, atoms = build(torch.float32, **NARROW["uma"]), charged(oxide().atoms)
    expected = results_of(DistCalculator(model, partitions=2, devices="cpu", **OMAT), atoms)
    calculator = DistCalculator(model, partitions=2, devices="cpu", **OMAT)
    with torch.autocast("cpu", torch.bfloat16):
        found = results_of(calculator, atoms)
    np.testing.assert_array_equal(found["forces"], expected["forces"])


def test_the_composition_of_one_generation_is_wrong_on_purpose() -> None:
    """UMA-S-1.2 counts one atom too many in the mean; others do not."""
    atoms = charged(rattled(oxide_cell(), 0.08))
    energies = {}
    for model_id in ("UMA-S-1.2", "UMA-S-1.2.1", "UMA-1.1"):
        model = build(**{**NARROW["uma"], "model_id": model_id})
        ours = results_of(DistCalculator(model, partitions=3, devices="cpu", **OMAT), atoms)
        assert_same_results(ours, results_of(adapt(model, **OMAT).original(), atoms))
        energies[model_id] = ours["energy"]
    assert energies["UMA-S-1.2.1"] == energies["UMA-1.1"]
    assert abs(energies["UMA-S-1.2"] - energies["UMA-1.1"]) > 1e-3


def test_every_dataset_has_its_own_results() -> None:
    model, atoms = narrow("uma"), charged(rattled(oxide_cell(), 0.08))
    energies = []
    for task_name in ("omat", "omol"):
        ours = results_of(DistCalculator(model, partitions=3, devices="cpu", task_name=task_name), atoms)
        assert_same_results(ours, results_of(adapt(model, task_name=task_name).original(), atoms))
        energies.append(ours["energy"])
    assert abs(energies[0] - energies[1]) > 1e-2


@pytest.mark.parametrize("partitions", [2, 5])
def test_balanced_channels_sum_to_charge_and_spin_of_the_whole_system(partitions: int) -> None:
    model, energies = narrow("balanced"), []
    original = adapt(model).original()
    for charge, spin in ((0, 0), (0, 1), (2, 1), (2, 3)):
        atoms = charged(oxide().atoms, charge, spin)
        ours = results_of(DistCalculator(model, partitions=partitions, devices="cpu"), atoms)
        assert_same_results(ours, results_of(original, atoms))
        energies.append(ours["energy"])
    assert len({round(energy, 3) for energy in energies}) == 4


def test_a_model_that_has_been_used_cannot_be_copied_but_distributed() -> None:
    model, atoms = build(**NARROW["uma"]), charged(oxide().atoms)
    before = results_of(DistCalculator(model, partitions=3, devices="cpu", **OMAT), atoms)
    use(model, atoms)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    calculator = DistCalculator(model, partitions=3, devices="cpu", **OMAT)
    np.testing.assert_array_equal(results_of(calculator, atoms)["forces"], before["forces"])
    assert calculator.verify(atoms).forces <= 1e-9


def use(model: HydraModel, atoms: Atoms) -> None:
    """One prediction, after which expert layers hold tensors with a history."""
    data = AtomicData.from_ase(
        atoms, task_name="omat", r_data_keys=["charge", "spin"], target_dtype=torch.float64
    )
    model(data)


# ---- how many neighbours


@pytest.mark.parametrize("partitions", [1, 3, 8])
@pytest.mark.parametrize("structure", ["oxide", "thin_in_all_directions", "outside_the_cell", "slab"])
def test_only_the_nearest_neighbors_of_the_original_count(structure: str, partitions: int) -> None:
    atoms = charged(STRUCTURES[structure]().atoms)
    assert_parity(narrow("few_neighbors"), atoms, partitions)
    limited, unlimited = (results_of(DistCalculator(narrow(k)), atoms) for k in ("few_neighbors", "esen"))
    assert abs(limited["energy"] - unlimited["energy"]) > 1e-3


def test_a_strict_limit_of_neighbors_is_refused_where_it_acts() -> None:
    model = build(max_neighbors=9)
    model.backbone.enforce_max_neighbors_strictly = True
    calculator = DistCalculator(model, partitions=2, devices="cpu")
    with pytest.raises(InvalidInputError, match=r"neighbours within 4.5 Ang.*nearest 9"):
        calculator.calculate(oxide().atoms)
    molecule = charged(STRUCTURES["molecule"]().atoms)
    assert_same_results(results_of(calculator, molecule), results_of(adapt(model).original(), molecule))


# ---- forces that a head predicts


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("structure", ["oxide", "two_far_apart_molecules", "slab", "one_atom"])
def test_direct_forces(structure: str, partitions: int | str) -> None:
    atoms = charged(STRUCTURES[structure]().atoms)
    n_partitions = len(atoms) + 3 if partitions == MORE_THAN_ATOMS else int(partitions)
    for kind in DIRECT:
        assert_parity(direct(kind), atoms, n_partitions, **OMAT)


@pytest.mark.parametrize("partitions", [1, 4])
def test_direct_forces_in_single_precision(partitions: int) -> None:
    assert_parity(direct(), charged(oxide().atoms), partitions, dtype=torch.float32)


@functools.cache
def direct(kind: str = "alone") -> HydraModel:
    return build(**DIRECT[kind])


def test_direct_forces_are_no_derivatives() -> None:
    atoms = charged(oxide().atoms)
    calculator = DistCalculator(direct(), partitions=3, devices="cpu")
    results = results_of(calculator, atoms)
    assert set(results) == {"energy", "free_energy", "energies", "forces", "stress"}
    assert set(calculator.implemented_properties) == set(results)
    assert_same_results(results, results_of(adapt(direct()).original(), atoms))
    np.testing.assert_allclose(results["energies"].sum(), results["energy"], atol=1e-9)
    assert np.abs(results["forces"].sum(axis=0)).max() > 1e-2


# ---- models without tasks


@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("head_type", [MLP_EFS_Head, Linear_Energy_Head])
def test_a_pair_of_backbone_and_head(head_type: Callable[..., torch.nn.Module], reduce: str) -> None:
    backbone = build(tasks=False, dataset_mapping={"omat": "omat"}).backbone
    with torch_globals(0, torch.float64):
        head = head_type(backbone, reduce=reduce)
        with torch.no_grad():
            for weight in head.parameters():
                weight.mul_(3.0)
    pair = (backbone, head)
    for partitions in (1, 3):
        for structure in ("oxide", "two_far_apart_molecules"):
            assert_parity(pair, charged(STRUCTURES[structure]().atoms), partitions, strong_forces=False)
    assert np.abs(results_of(DistCalculator(pair), charged(oxide().atoms))["forces"]).max() > 0.1


@pytest.mark.parametrize("kind", ["uma", "esen"])
def test_a_model_without_tasks_gives_what_its_heads_give(kind: str) -> None:
    model = build(tasks=False, **NARROW[kind])
    assert_parity(model, charged(oxide().atoms), 3, **OMAT)


# ---- nothing is computed twice

PARTS = re.compile(
    r"backbone\.(sphere_embedding|(source|target)_embedding|edge_degree_embedding\.rad_func|distance_expansion|norm"
    r"|blocks\.\d+\.(norm_1|edge_wise\.(so2_conv_1|act|so2_conv_2)|norm_2|atom_wise))|.*(energy_block|\.linear)"
)


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", ["uma", "balanced", "layer_norm_on_a_grid"])
def test_nothing_is_computed_twice(kind: str, partitions: int | str) -> None:
    model, options = narrow(kind), OMAT
    original = adapt(model, **options).original()
    assert_nothing_is_computed_twice(
        model,
        charged(STRUCTURES["metal_with_vacancies"]().atoms),
        partitions,
        count_rows,
        (original, original.predictor.model.module),
        lambda name, rows, calculator: rows,
        **options,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Count the rows of the first argument in every call of the model's own parts."""
    known = ((name, part) for name, part in module.named_modules() if PARTS.fullmatch(name))
    count_inputs((("energy_block" if "energy_block" in name else name, part) for name, part in known), rows)


@pytest.mark.parametrize("kernels", ["original", "fused"])
def test_experts_are_merged_once_for_all_partitions_and_steps(kernels: str) -> None:
    atoms, adapter = charged(oxide().atoms), adapt(narrow("uma"), **OMAT)
    replica: Any = adapter.replicate(0, torch.device("cpu"))
    adapter._replica = lambda *_: replica  # type: ignore[method-assign]
    calculator = DistCalculator(adapter, partitions=3, devices="cpu", recompute=True, kernels=kernels)
    weights = [linear.weight for _, linear in replica.experts._layers]
    assert weights
    calculator.calculate(charged(atoms))  # where kernels are compared with the original
    for n_expected in (0, 1):
        before = [weight._version for weight in weights]
        for moved in (atoms, rattled(atoms, 0.05)):
            calculator.calculate(charged(moved))
        n_written = [weight._version - version for weight, version in zip(weights, before, strict=True)]
        assert set(n_written) == {n_expected}
        atoms.numbers[0] = next(number for number in atoms.numbers if number != atoms.numbers[0])


def test_training_is_refused() -> None:
    """Its embedding of the system is computed outside of the stages: gradients would not reach it."""
    with pytest.raises(UnsupportedModelError, match=r"fairchem model cannot be trained .*outside"):
        DistModel(narrow("uma"), **OMAT)


def test_replicas_have_no_experts() -> None:
    model = narrow("uma")
    replica = adapt(model, **OMAT).replicate(0, torch.device("cpu"))
    n_experts = sum(part.weights.numel() for part in model.backbone.modules() if hasattr(part, "weights"))
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert sum(parameter.numel() for parameter in replica.parameters()) < n_parameters - n_experts // 2


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_replicas_share_the_weights(dtype: torch.dtype) -> None:
    model = narrow("esen")
    adapter: FAIRChemAdapter = adapt(model, dtype)
    replica = adapter.replicate(0, torch.device("cpu"))
    ours = {parameter.data_ptr() for parameter in replica.parameters()}
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    assert bool(ours & theirs) == (dtype == torch.float64)
    assert {tensor.dtype for tensor in replica.parameters()} == {dtype}
    assert not any(parameter.requires_grad for parameter in replica.parameters())
