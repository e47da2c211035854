"""matgl's TensorNet and QET over partitions give what the undivided ones give, and compute nothing twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matgl
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models import MEGNet, SO3Net, TensorNet
from support.contract import PARTITIONS, ModelContract, assert_nothing_is_computed_twice, count_outputs
from support.launching import python_path
from support.matgl_models import (
    ELEMENTS,
    PRETRAINED,
    QETS,
    TENSORNET,
    build_qet,
    build_tensornet,
    pretrained,
    pretrained_tensornet_without_warp,
    qet,
    tensornet,
)
from support.parity import EXACT, all_results, assert_parity
from support.structures import STRUCTURES, Structure, oxide, rattled

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.matgl.adapter import adapt

# Of matgl, when it makes its float32 graphs.
pytestmark = pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning")

TENSORNET_MATPES = PRETRAINED[0]


class TestTensorNet(ModelContract):
    kinds = tuple(TENSORNET)
    published = (TENSORNET_MATPES,)

    def model(self, kind: str) -> Potential:
        return tensornet(kind)

    def published_model(self, name: str) -> Potential:
        return pretrained(name)

    def fresh_model(self) -> Potential:
        return build_tensornet().train()

    def options_of(self, name: str) -> dict[str, Any]:
        # Its forces on the smallest structure are weak.
        return {"strong_forces": False} if name in self.published else {}


@pytest.mark.slow
class TestTensorNetByItsOwnModules(TestTensorNet):
    """Native stages run by default."""

    kernels = "original"


class TestQET(ModelContract):
    kinds = tuple(QETS)

    def model(self, kind: str) -> Potential:
        return qet(kind)

    def fresh_model(self) -> Potential:
        return build_qet().train()

    def prepare(self, atoms: Atoms) -> Atoms:
        atoms.set_initial_charges(np.linspace(-0.3, 0.5, len(atoms)))
        return atoms


@pytest.mark.parametrize("kind", ["torch", "so3"])
@pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
def test_other_kinds_on_any_structure(kind: str, build: Callable[[], Structure]) -> None:
    structure = build()
    assert_parity(tensornet(kind), structure.atoms, 4, reference_atoms=structure.reference)


@pytest.mark.parametrize("partitions", [1, 4])
def test_pretrained_weights_without_warp(partitions: int) -> None:
    model, atoms = pretrained_tensornet_without_warp(), oxide().atoms
    assert_parity(model, atoms, partitions)
    ours = results_of(DistCalculator(model, dtype="float64", partitions=partitions), atoms)
    theirs = results_of(DistCalculator(pretrained(TENSORNET_MATPES), dtype="float64"), atoms)
    np.testing.assert_allclose(ours["forces"], theirs["forces"], atol=1e-5)


# ---- what the original calculator gives


def results_of(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    calculator.calculate(atoms.copy(), ["energy", "forces", "stress"])
    return all_results(calculator)


@pytest.mark.parametrize("name", ["oxide", "metal_with_vacancies", "thin_in_one_direction"])
def test_the_float64_original_is_matgl_itself(name: str) -> None:
    """They differ by the noise of float32 only."""
    model, atoms = pretrained(TENSORNET_MATPES), STRUCTURES[name]().atoms
    exact = results_of(adapt(model).original(torch.float64), atoms)
    theirs = results_of(PESCalculator(model, stress_unit="eV/A3", use_voigt=True), atoms)
    assert abs(exact["energy"] - theirs["energy"]) / len(atoms) < 1e-5
    np.testing.assert_allclose(exact["forces"], theirs["forces"], atol=2e-4)
    np.testing.assert_allclose(exact["stress"], theirs["stress"], atol=1e-5)


@pytest.mark.parametrize("unit", ["GPa", "eV/A3"])
def test_stress_is_in_ase_units_whatever_the_calculator_gives(unit: str) -> None:
    model, atoms = tensornet("warp"), oxide().atoms
    given = PESCalculator(model, stress_unit=unit)
    ours = results_of(DistCalculator(given, partitions=2), atoms)
    theirs = results_of(PESCalculator(model, stress_unit="eV/A3", use_voigt=True), atoms)
    np.testing.assert_allclose(ours["stress"], theirs["stress"], atol=1e-6)
    assert np.abs(ours["stress"]).max() > 0.01
    assert DistCalculator(given).verify(atoms).stress <= EXACT["stress"]


@pytest.mark.parametrize("flag", ["calc_forces", "calc_stresses"])
def test_forces_and_stress_are_there_also_if_the_potential_leaves_them_out(flag: str) -> None:
    model, atoms = build_tensornet(), oxide().atoms
    setattr(model, flag, False)
    calculator = DistCalculator(model, partitions=2)
    assert_parity(model, atoms, 2)
    assert calculator.verify(atoms).stress <= EXACT["stress"]
    assert getattr(model, flag) is False


def test_mean_deviation_and_element_references() -> None:
    atoms = oxide().atoms
    network = tensornet("warp").model
    bare = results_of(DistCalculator(Potential(network).double(), partitions=3), atoms)
    references = np.random.default_rng(1).normal(size=len(ELEMENTS))
    scaled = Potential(network, data_mean=0.5, data_std=20.0, element_refs=references).double()
    results = results_of(DistCalculator(scaled, partitions=3), atoms)
    offsets = torch.tensor(references, dtype=torch.float32).double().numpy()  # as matgl stores a list
    offsets = offsets[[ELEMENTS.index(symbol) for symbol in atoms.get_chemical_symbols()]]
    assert results["energy"] == pytest.approx(20 * bare["energy"] + offsets.sum() + 0.5, abs=1e-9)
    np.testing.assert_allclose(
        results["energies"], 20 * bare["energies"] + offsets + 0.5 / len(atoms), atol=1e-9
    )
    np.testing.assert_allclose(results["forces"], 20 * bare["forces"], atol=1e-12)


def test_a_potential_that_was_called_or_compiled() -> None:
    atoms = oxide().atoms
    called = build_tensornet()
    results_of(PESCalculator(called), atoms)
    assert called.model.feature_dict, "matgl no longer keeps what cannot be copied"
    kept = dict(called.model.feature_dict)
    assert_parity(called, atoms, 2)
    assert called.model.feature_dict == kept
    compiled = Potential(build_tensornet().model, data_std=3.0, compile_model=True).double()
    assert_parity(compiled, atoms, 2, strong_forces=False)


@pytest.mark.parametrize("pbc", [(True, False, False), (False, True, True), (False, False, False)])
def test_partly_periodic_atoms_are_as_in_vacuum(pbc: tuple[bool, bool, bool]) -> None:
    """matgl itself treats them as not periodic in any direction. The cell is oblique, and too small."""
    atoms = rattled(bulk("MnO", "rocksalt", a=4.44) * (2, 2, 2), 0.1)
    atoms.pbc = pbc
    boxed = atoms.copy()
    for axis in np.flatnonzero(~atoms.pbc):
        others = [boxed.cell[other] for other in range(3) if other != axis]
        normal = np.cross(*others)
        boxed.cell[axis] = normal / np.linalg.norm(normal) * 25.0
    boxed.pbc = True
    model = tensornet("warp")
    assert_parity(model, atoms, 3, reference_atoms=boxed)
    calculator = DistCalculator(model, partitions=3)
    verification = calculator.verify(atoms)
    assert verification.forces <= EXACT["forces"]
    assert verification.stress <= EXACT["stress"]
    n_edges = sum(calculator.plan(atoms).edges)
    assert n_edges != sum(calculator.plan(Atoms(atoms, pbc=True)).edges)
    assert any(pbc) == (n_edges != sum(calculator.plan(Atoms(atoms, pbc=False)).edges))


# ---- charges


def test_charges_add_up_to_the_total_charge() -> None:
    model, atoms = qet("warp"), oxide().atoms
    calculator = DistCalculator(model, partitions=3)
    atoms.calc = calculator
    neutral = atoms.get_potential_energy()
    np.testing.assert_allclose(atoms.get_charges().sum(), 0.0, atol=1e-12)
    atoms.set_initial_charges([0.1] * len(atoms))
    assert abs(atoms.get_potential_energy() - neutral) > 1e-3
    np.testing.assert_allclose(atoms.get_charges().sum(), 0.1 * len(atoms), atol=1e-12)


@pytest.mark.parametrize("partitions", [1, 3])
def test_options_of_a_calculator_with_charges(partitions: int) -> None:
    model, atoms = qet("warp"), oxide().atoms
    external = torch.tensor(np.random.default_rng(0).normal(size=len(atoms)))
    given = PESCalculator(
        model, stress_unit="eV/A3", use_voigt=True, total_charge=torch.tensor([2.0]), ext_pot=external
    )
    ours = DistCalculator(given, partitions=partitions)
    assert ours.verify(atoms).forces <= EXACT["forces"]
    theirs = results_of(given, atoms)
    results = results_of(ours, atoms)
    for name in ("energy", "forces", "stress", "charges"):
        np.testing.assert_allclose(results[name], theirs[name], rtol=1e-4, atol=3e-4, err_msg=name)
    np.testing.assert_allclose(results["charges"].sum(), 2.0, atol=1e-12)
    same = DistCalculator(model, total_charge=2.0, ext_pot=external.numpy(), partitions=partitions)
    np.testing.assert_allclose(results_of(same, atoms)["forces"], results["forces"], atol=1e-12)
    plain = DistCalculator(given, ext_pot=0.0, partitions=partitions)
    assert np.abs(results_of(plain, atoms)["charges"] - results["charges"]).max() > 1e-3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("total_charge", [1.0, 2.0]),
        ("total_charge", float("nan")),
        ("total_charge", "neutral"),
        ("ext_pot", [1.0, 2.0, 3.0]),
    ],
)
def test_charge_or_potential_that_does_not_fit(option: str, value: Any) -> None:
    calculator = DistCalculator(qet("warp"), **{option: value})
    with pytest.raises(InvalidInputError, match=option):
        calculator.calculate(oxide().atoms)


# ---- nothing is computed twice

COUNTED = re.compile(
    r"model\.(bond_expansion|tensor_embedding\.(emb|emb2|distance_proj\d?|init_norm|linears_\w+\.\d+)"
    r"|layers\.\d+\.linears_\w+\.\d+|out_norm|linear|final_layer|chi_readout|hardness_readout|qeq|norm)"
)
"""Submodules that compute edges or atoms."""


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("kind", ["warp", "torch", "qet"])
@pytest.mark.parametrize("structure", ["metal_with_vacancies", "thin_in_all_directions"])
def test_nothing_is_computed_twice(structure: str, kind: str, partitions: int | str) -> None:
    model = qet("hardness_of_environments") if kind == "qet" else tensornet(kind)
    original = adapt(model).original()

    def expected(name: str, rows: int, calculator: DistCalculator) -> int:
        halo = sum(calculator.plan().halo)
        return rows + halo if name == "model.tensor_embedding.emb" else rows  # of species only

    assert_nothing_is_computed_twice(
        model,
        STRUCTURES[structure]().atoms,
        partitions,
        count_rows,
        (original, original.potential),
        expected,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Of the submodules that do the work."""
    count_outputs(((n, part) for n, part in module.named_modules() if COUNTED.fullmatch(n)), rows)


def test_every_layer_matters() -> None:
    """Else the tests would prove little."""
    atoms = oxide().atoms
    forces = results_of(DistCalculator(tensornet("warp")), atoms)["forces"]
    for layer in range(2):
        without = build_tensornet()
        with torch.no_grad():
            for linear in without.model.layers[layer].linears_tensor[3:]:
                linear.weight.zero_()
        change = results_of(DistCalculator(without), atoms)["forces"] - forces
        assert np.abs(change).max() > 0.1 * np.abs(forces).max()


# ---- the state of matgl


@pytest.mark.parametrize("size", [32, 64])
def test_the_default_dtype_of_matgl_plays_no_role_and_stays(size: int) -> None:
    model, atoms = tensornet("warp"), oxide().atoms
    expected = results_of(DistCalculator(model, partitions=2), atoms)["forces"]
    default = torch.get_default_dtype()
    try:
        matgl.set_default_dtype("float", size)
        calculator = DistCalculator(model, partitions=2)
        forces = results_of(calculator, atoms)["forces"]
        assert calculator.verify(atoms).forces <= EXACT["forces"]
        assert matgl.float_th == getattr(torch, f"float{size}")
        assert matgl.float_np == getattr(np, f"float{size}")
        assert matgl.int_th == torch.int32
    finally:
        matgl.set_default_dtype("float", 32)
        torch.set_default_dtype(default)
    np.testing.assert_allclose(forces, expected, atol=1e-12)


def test_replicas_share_the_weights() -> None:
    model = tensornet("warp")
    replica = adapt(model).replicate(0, torch.device("cpu"))
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in replica.parameters()} == theirs
    assert not any(parameter.requires_grad for parameter in replica.parameters())


# ---- what is refused


def flagged(flag: str) -> Callable[[], Potential]:
    def build() -> Potential:
        model = build_tensornet()
        setattr(model, flag, True)
        return model

    return build


class Subclass(Potential):
    pass


class TensorNetOfMyOwn(TensorNet):
    pass


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "intensive": (lambda: build_tensornet(is_intensive=True), "TensorNet with is_intensive=True"),
    "two targets": (lambda: build_tensornet(ntargets=2), "ntargets=2"),
    "SO3Net": (lambda: Potential(SO3Net(is_intensive=False)), "SO3Net of matgl.*TensorNet"),
    "no potential": (lambda: build_tensornet().model, "TensorNet is not a potential"),
    "MEGNet": (MEGNet, "MEGNet is not a potential"),
    "list": (lambda: [build_tensornet()] * 2, "no committees"),
    "subclass": (lambda: Subclass(build_tensornet().model), "Subclass"),
    "network of a subclass": (lambda: Potential(TensorNetOfMyOwn()), "TensorNetOfMyOwn of matgl"),
    "repulsion": (flagged("calc_repuls"), "calc_repuls=True"),
    "hessian": (flagged("calc_hessian"), "calc_hessian=True"),
    "gradients": (flagged("debug_mode"), "debug_mode=True"),
    "magmoms": (flagged("calc_magmom"), "TensorNet has no magmoms"),
    "charges": (flagged("calc_charge"), "TensorNet has no charges"),
    "means": (lambda: Potential(build_tensornet().model, data_mean=torch.zeros(2)), r"data_mean.*\(2,\)"),
    "states": (
        lambda: Potential(build_tensornet().model, element_refs=np.zeros((2, len(ELEMENTS)))),
        "element_refs",
    ),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_distributed_is_refused_by_name(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        DistCalculator(build())


def test_options_that_the_network_does_not_read() -> None:
    with pytest.raises(InvalidInputError, match=r"total_charge.*TensorNet of matgl has none"):
        DistCalculator(tensornet("warp"), total_charge=1.0)
    with pytest.raises(InvalidInputError, match=r"head.*QET of matgl has total_charge, ext_pot"):
        DistCalculator(qet("warp"), head="default")


@pytest.mark.slow
def test_workers_may_compile_kernels_at_the_same_time(tmp_path: Path) -> None:
    """Warp makes a kernel when it is first launched, by whichever thread that is."""
    environment = {**os.environ, "PYTHONPATH": python_path(), "WARP_CACHE_PATH": str(tmp_path)}
    command = [sys.executable, "-m", "support.cold_kernels"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "(compiled)" in done.stdout + done.stderr
