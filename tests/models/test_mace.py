"""MACE over partitions gives what the undivided MACE gives, and computes nothing twice."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from support.contract import PARTITIONS, ModelContract, assert_nothing_is_computed_twice, number_of
from support.mace_models import (
    NARROW,
    OPTIONS,
    RESIDUAL,
    build_narrow,
    interaction_classes,
    mp0_medium,
    narrow,
)
from support.parity import EXACT, all_results, original
from support.structures import STRUCTURES, Structure, oxide_cell, rattled
from support.torch_globals import torch_globals

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.mace import MACECalculator
from distmlip.models.mace.adapter import adapt

# Of e3nn and opt_einsum_fx, while the models are made.
pytestmark = pytest.mark.filterwarnings("ignore:The TorchScript type system:UserWarning")


class TestMACE(ModelContract):
    kinds = (RESIDUAL, *(kind for kind in NARROW if kind != RESIDUAL))
    structures_of_kinds = ("oxide", "two_far_apart_molecules", "one_atom")
    published = ("MACE-MP-0 medium",)

    def model(self, kind: str) -> Any:
        return narrow(kind)

    def published_model(self, name: str) -> Any:
        return mp0_medium()

    def fresh_model(self) -> Any:
        return build_narrow("zbl_and_agnesi").train()

    def options_of(self, name: str) -> dict[str, Any]:
        return OPTIONS.get(name, {})

    def prepare(self, atoms: Atoms) -> Atoms:
        atoms.info.update(charge=-1.3, spin=3)
        return atoms


@pytest.mark.slow
class TestMACEByItsOwnModules(TestMACE):
    """Native stages run by default."""

    kernels = "original"


def check(model: Any, structure: Structure, partitions: int, **options: Any) -> dict[str, float]:
    return TestMACE().check(model, "", structure, partitions, **options)


def small_oxide() -> Atoms:
    atoms = rattled(oxide_cell(), 0.08)
    atoms.info.update(charge=-1.3, spin=3)
    return atoms


# ---- results


def results_of(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    atoms = atoms.copy()
    calculator.calculate(atoms)
    return all_results(calculator)


def assert_same_results(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert set(ours) >= set(theirs) | {"free_energy", "energies", "stresses"}
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-10, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("kind", [RESIDUAL, "without_scale", "charge_and_spin"])
def test_results_are_those_of_the_original_calculator(kind: str) -> None:
    model, atoms, options = narrow(kind), small_oxide(), {"compute_atomic_stresses": True}
    ours = DistCalculator(model, partitions=3, **options)
    results = results_of(ours, atoms)
    assert_same_results(results, results_of(adapt(model, **options).original(), atoms))
    assert set(results) == set(ours.implemented_properties)


def test_a_committee_gives_means_members_and_variances() -> None:
    models, atoms = [narrow(seed=seed) for seed in range(3)], small_oxide()
    ours = DistCalculator(models, partitions=3)
    results = results_of(ours, atoms)
    theirs = results_of(MACECalculator(models=copy.deepcopy(models), default_dtype="float64"), atoms)
    assert_same_results(results, theirs)
    assert set(results) == set(ours.implemented_properties)
    assert results["forces_comm"].shape == (3, len(atoms), 3)
    check(models, STRUCTURES["two_far_apart_molecules"](), 4)


def test_a_calculator_brings_its_options() -> None:
    model, atoms = build_narrow("two_heads", apply_cutoff=True), small_oxide()
    theirs = MACECalculator(
        models=[model], default_dtype="float64", head="first", compute_atomic_stresses=True
    )
    ours = DistCalculator(theirs, partitions=2)
    assert_same_results(results_of(ours, atoms), results_of(theirs, atoms))
    second = results_of(DistCalculator(theirs, head="second"), atoms)
    assert abs(second["energy"] - ours.results["energy"]) > 1e-3


def test_energy_units() -> None:
    model, atoms = narrow(), small_oxide()
    theirs = results_of(
        MACECalculator(models=[copy.deepcopy(model)], default_dtype="float64", energy_units_to_eV=0.5), atoms
    )
    ours = results_of(DistCalculator(model, energy_units_to_eV=0.5), atoms)
    for name in ("energy", "free_energy", "energies", "forces", "stress"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-10, atol=1e-10, err_msg=name)
    # The original subtracts reference energies in the model's unit here.
    np.testing.assert_allclose(
        ours["node_energy"], results_of(DistCalculator(model), atoms)["node_energy"] / 2
    )


def test_energies_follow_charge_and_spin() -> None:
    atoms = small_oxide()
    atoms.calc = DistCalculator(narrow("charge_and_spin"), partitions=2)
    before = atoms.get_potential_energy()
    atoms.info["charge"] = 2.0
    assert abs(atoms.get_potential_energy() - before) > 1e-6
    del atoms.info["charge"], atoms.info["spin"]
    neutral = atoms.get_potential_energy()
    atoms.info.update(charge=0.0, spin=1)
    assert atoms.get_potential_energy() == neutral  # MACE's defaults


def test_an_embedded_quantity_with_a_name_of_its_own() -> None:
    specs = {"pressure": {"type": "continuous", "per": "graph", "in_dim": 1, "emb_dim": 8}}
    model, atoms = build_narrow(embedding_specs=specs), small_oxide()
    keys = {"info_keys": {"pressure": "p_GPa"}}
    with pytest.raises(InvalidInputError, match="p_GPa"):
        DistCalculator(model, **keys).calculate(atoms)
    atoms.info["p_GPa"] = 0.7
    theirs = results_of(MACECalculator(models=[copy.deepcopy(model)], default_dtype="float64", **keys), atoms)
    assert_same_results(results_of(DistCalculator(model, partitions=2, **keys), atoms), theirs)


@pytest.mark.parametrize("partitions", [1, 3, PARTITIONS[-1]])
def test_quantities_embedded_of_every_atom(partitions: int | str) -> None:
    specs = {
        "site": {"type": "continuous", "per": "atom", "in_dim": 2, "emb_dim": 8},
        "kind": {"type": "categorical", "per": "atom", "num_classes": 4, "emb_dim": 8},
    }
    model, atoms = build_narrow(embedding_specs=specs), small_oxide()
    keys = {"arrays_keys": {"site": "site", "kind": "kind_of_atom"}}
    with pytest.raises(InvalidInputError, match="site"):
        DistCalculator(model, **keys).calculate(atoms)
    random = np.random.default_rng(0)
    atoms.set_array("site", random.normal(size=(len(atoms), 2)))
    atoms.set_array("kind_of_atom", random.integers(0, 4, len(atoms)))
    theirs = results_of(MACECalculator(models=[copy.deepcopy(model)], default_dtype="float64", **keys), atoms)
    calculator = DistCalculator(model, partitions=number_of(partitions, atoms), **keys)
    assert_same_results(results_of(calculator, atoms), theirs)
    atoms.calc = calculator
    before = atoms.get_potential_energy()
    atoms.arrays["site"][3] += 1.0
    assert abs(atoms.get_potential_energy() - before) > 1e-6
    atoms.arrays["site"][3] = np.nan
    with pytest.raises(InvalidInputError, match="finite"):
        atoms.get_potential_energy()


@pytest.mark.parametrize(("structure", "has_stress"), [("oxide", True), ("slab", False), ("molecule", False)])
def test_verify_compares_no_stress_that_the_original_gets_wrong(structure: str, has_stress: bool) -> None:
    atoms = STRUCTURES[structure]().atoms
    for model in (narrow(), [narrow(), narrow()]):
        verification = DistCalculator(model, partitions=2).verify(atoms)
        assert verification.forces <= 1e-9
        assert (verification.stress is not None) == has_stress
        assert verification.stress is None or verification.stress <= 1e-11
        assert max(verification.others.values()) <= 1e-9


# ---- nothing is computed twice

PARTS = re.compile(
    r"(interactions|products)\.\d+\.\w+(\.replaced)?|readouts\.\d+|node_embedding|radial_embedding"
    r"|spherical_harmonics|pair_repulsion_fn|scale_shift"
)
ON_HALO_TOO = re.compile(r"node_embedding|interactions\.0\.linear_(up|down)|.*\.(source|target)_embedding")
"""What depends on species only, and is read at the senders of edges."""


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", [*interaction_classes, "zbl_and_agnesi", "three_layers"])
def test_nothing_is_computed_twice(kind: str, partitions: int | str) -> None:
    model = narrow(kind)
    original = adapt(model).original()

    def expected(name: str, rows: int, calculator: DistCalculator) -> int:
        return rows + sum(calculator.plan().halo) if ON_HALO_TOO.fullmatch(name) else rows

    atoms = STRUCTURES["metal_with_vacancies"]().atoms
    assert_nothing_is_computed_twice(
        model, atoms, partitions, count_rows, (original, original.models[0]), expected
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Count the rows of the first argument in every call of the model's own parts."""

    def counted(name: str) -> Callable[..., None]:
        def hook(_: torch.nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], __: Any) -> None:
            first = arguments[0] if arguments else keywords["node_feats"]
            rows[name.removesuffix(".replaced")] += len(first)

        return hook

    for name, part in module.named_modules():
        if PARTS.fullmatch(name) and type(part).__name__ != "Given":
            part.register_forward_hook(counted(name), with_kwargs=True)


# ---- the user's model and torch's state


def test_replicas_share_the_weights() -> None:
    model = narrow()
    replica = adapt(model).replicate(0, torch.device("cpu"))
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in replica.parameters()} == theirs
    assert not any(parameter.requires_grad for parameter in replica.parameters())
    converted = adapt(model, torch.float32).replicate(0, torch.device("cpu"))
    assert {tensor.dtype for tensor in converted.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float64}


@pytest.mark.parametrize("default", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_default_dtype_plays_no_role(dtype: torch.dtype, default: torch.dtype) -> None:
    model, atoms = narrow("two_heads"), small_oxide()
    with torch_globals(0, default):
        results = results_of(DistCalculator(model, partitions=2, dtype=dtype, head="second"), atoms)
    exact = original(model, atoms, atoms, torch.float64, {"head": "second"})
    tolerance = EXACT["forces"] if dtype == torch.float64 else 1e-5 * np.abs(exact.forces).max()
    np.testing.assert_allclose(results["forces"], exact.forces, rtol=0, atol=tolerance)


def test_torchscript_stays_optimised_for_everybody_else() -> None:
    DistCalculator(narrow(), partitions=2).calculate(small_oxide())
    assert torch._C._get_graph_executor_optimize()


def test_the_list_of_ase_properties_is_not_extended() -> None:
    before = list(MACECalculator.implemented_properties)
    DistCalculator(narrow()).verify(small_oxide())
    assert list(MACECalculator.implemented_properties) == before


# ---- what is refused


def test_unknown_head() -> None:
    for options in ({"head": "third"}, {}):
        with pytest.raises(InvalidInputError, match="'first', 'second'"):
            DistCalculator(narrow("two_heads"), **options)


def test_the_options_that_exist_are_named() -> None:
    with pytest.raises(InvalidInputError, match=r"on_isolated_atoms.*head, info_keys"):
        DistCalculator(narrow(), on_isolated_atoms="warn")


@pytest.mark.parametrize("changes", [{"r_max": 4.0}, {"atomic_numbers": [1, 3, 8]}])
def test_committee_that_does_not_fit_together(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(changes))):
        DistCalculator([narrow(), build_narrow(**changes)])


def test_committee_of_two_dtypes() -> None:
    with pytest.raises(InvalidInputError, match=r"float64.*float32"):
        DistCalculator([narrow(), build_narrow().float()])


def test_model_with_a_forward_of_its_own() -> None:
    class Dipoles(type(narrow())):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    model = build_narrow()
    model.__class__ = Dipoles
    with pytest.raises(UnsupportedModelError, match="Dipoles"):
        DistCalculator(model)


def test_model_with_a_block_that_is_not_known() -> None:
    model = build_narrow()
    model.readouts[1] = torch.nn.Identity()
    with pytest.raises(UnsupportedModelError, match=r"readouts\.1.*Identity"):
        DistCalculator(model)


def test_compiled_models() -> None:
    with pytest.raises(UnsupportedModelError, match="_orig_mod"):
        DistCalculator(torch.compile(build_narrow()))
    with pytest.raises(UnsupportedModelError, match="TorchScript"):
        DistCalculator([torch.jit.script(torch.nn.Linear(1, 1))])


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("use_compile", True), ("model_type", "DipoleMACE"), ("length_units_to_A", 0.529)],
)
def test_calculator_that_does_something_else(attribute: str, value: Any) -> None:
    calculator = MACECalculator(models=[build_narrow()], default_dtype="float64")
    setattr(calculator, attribute, value)
    with pytest.raises(UnsupportedModelError, match=attribute if attribute != "use_compile" else "compile"):
        DistCalculator(calculator)


def test_committee_in_other_units() -> None:
    with pytest.raises(UnsupportedModelError, match="energy_units_to_eV"):
        DistCalculator([narrow(), narrow(seed=1)], energy_units_to_eV=27.2)


@pytest.mark.parametrize("value", ["two", [1.0, 2.0], float("nan")])
def test_charge_that_is_no_number(value: Any) -> None:
    atoms = small_oxide()
    atoms.info["charge"] = value
    calculator = DistCalculator(narrow("charge_and_spin"))
    with pytest.raises(InvalidInputError, match="charge"):
        calculator.get_property("energy", atoms)
    atoms.info["charge"] = 0.0
    assert np.isfinite(calculator.get_property("energy", atoms))


# ---- accelerated models


@pytest.mark.parametrize(
    "kind",
    [
        kind
        if kind in ("RealAgnosticResidualInteractionBlock", "RealAgnosticDensityInteractionBlock")
        else pytest.param(kind, marks=pytest.mark.slow)
        for kind in interaction_classes
    ],
)
def test_cuequivariance(kind: str) -> None:
    pytest.importorskip("cuequivariance_torch", reason="needs cuequivariance and cuequivariance-torch")
    from mace.cli.convert_e3nn_cueq import run as convert

    # Small, because on a CPU cuequivariance takes minutes to build products of higher correlation.
    model = build_narrow(kind, correlation=2, max_ell=2)
    with torch_globals(0, torch.float64):
        accelerated = convert(copy.deepcopy(model), device="cpu")
    check(accelerated, STRUCTURES["oxide"](), 3)
    atoms = small_oxide()
    plain = results_of(DistCalculator(model), atoms)
    np.testing.assert_allclose(
        results_of(DistCalculator(accelerated), atoms)["forces"], plain["forces"], atol=1e-9
    )
