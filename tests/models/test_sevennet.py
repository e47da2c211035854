"""SevenNet over partitions gives what the undivided SevenNet gives, and computes nothing twice."""

from __future__ import annotations

import copy
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import e3nn
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import SumCalculator
from sevenn.calculator import SevenNetCalculator, SevenNetD3Calculator
from sevenn.nn.convolution import IrrepsScatterGatterFusedConvolution
from sevenn.nn.sequential import AtomGraphSequential
from support.contract import PARTITIONS, ModelContract, assert_nothing_is_computed_twice, count_inputs
from support.originals import training_difference
from support.parity import EXACT, all_results
from support.sevennet_models import NARROW, OPTIONS, PLAIN, PUBLISHED, build_narrow, narrow, published
from support.structures import STRUCTURES, Structure, periodic, small_oxide

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.sevennet.adapter import adapt, pretrained

pytestmark = pytest.mark.filterwarnings("ignore:No tensor product accelerator:UserWarning")


@contextmanager
def e3nn_mode(mode: str) -> Iterator[None]:
    before = e3nn.get_optimization_defaults()["jit_mode"]
    e3nn.set_optimization_defaults(jit_mode=mode)
    try:
        yield
    finally:
        e3nn.set_optimization_defaults(jit_mode=before)


class TestSevenNet(ModelContract):
    kinds = tuple(NARROW)
    published = tuple(PUBLISHED)
    slow = tuple(name for name in PUBLISHED if name != "7net-0")

    def model(self, kind: str) -> AtomGraphSequential:
        return narrow(kind)

    def fresh_model(self) -> AtomGraphSequential:
        return build_narrow()

    def published_model(self, name: str) -> AtomGraphSequential:
        return published(name)

    def options_of(self, name: str) -> dict[str, Any]:
        modal = PUBLISHED[name][1] if name in PUBLISHED else None
        return {"modal": modal} if modal else OPTIONS.get(name, {})

    def reference_structure(self, structure: Structure) -> Atoms:
        """SevenNet's calculator is right about every boundary."""
        return structure.atoms

    def check(
        self, model: Any, name: str, structure: Structure, partitions: int | str, **options: Any
    ) -> dict[str, float]:
        """The published weights come with e3nn's constants rounded to float32. So in float64 the model is
        invariant under rotations to rounding in float32 only, and its virial is not quite symmetric: the
        original reads the shear stress from one triangle, we take the mean of both (1e-11 eV/Å^3 apart)."""
        if name in PUBLISHED:
            options["tolerances"] = {**EXACT, "stress": 1e-10}
        return super().check(model, name, structure, partitions, **options)

    @pytest.mark.parametrize("partitions", [pytest.param(1, marks=pytest.mark.slow), 4])
    @pytest.mark.parametrize(
        "dtype", [torch.float64, pytest.param(torch.float32, marks=pytest.mark.slow)], ids=str
    )
    @pytest.mark.parametrize("name", [name for name in PUBLISHED if not name.startswith("7net-0")])
    def test_published_model_on_the_oxide(self, name: str, dtype: torch.dtype, partitions: int) -> None:
        self.check(published(name), name, periodic(small_oxide()), partitions, dtype=dtype)

    @pytest.mark.parametrize("structure", ["oxide", "two_far_apart_molecules", "one_atom"])
    def test_recomputed_stages_of_awkward_structures(self, structure: str) -> None:
        self.check(narrow(), PLAIN, STRUCTURES[structure](), 4, recompute=True)

    def test_torchscript_inside_the_model(self) -> None:
        """What e3nn makes before its version 0.6, and of every model under older versions of torch."""
        with e3nn_mode("script"):
            model = build_narrow("fixed_basis")
        assert any(isinstance(part, torch.jit.ScriptModule) for part in model.modules())
        for structure in ("oxide", "two_far_apart_molecules"):
            self.check(model, "fixed_basis", STRUCTURES[structure](), 3)

    def test_layers_that_are_made_for_native_stages_warn_nobody(self) -> None:
        """As TorchScript, which is what e3nn makes behind a model of NequIP, too."""
        model, atoms = self.fresh_model(), self.prepare(STRUCTURES["oxide"]().atoms)
        with e3nn_mode("script"), warnings.catch_warnings():
            warnings.simplefilter("error")
            assert self.calculator(2, model).verify(atoms).forces < EXACT["forces"]


@pytest.mark.slow
class TestSevenNetByItsOwnModules(TestSevenNet):
    """Native stages run by default."""

    kernels = "original"


# ---- nothing is computed twice

PARTS = re.compile(
    r"\w+\.linear|\w+\.fc_tensor_product|\w+\.convolution|\w+\.weight_nn|\w+\.gate|\w+\.fcn"
    r"|edge_embedding\.(basis_function|cutoff_function|spherical)"
)
ON_HALO_TOO = ("onehot_to_feature_x.linear", "0_self_interaction_1.linear")
"""What depends on species only, and is read at the senders of edges."""


@pytest.mark.parametrize(
    ("kind", "partitions"),
    [*((PLAIN, partitions) for partitions in PARTITIONS)]
    + [(kind, 3) for kind in ("like_sevennet_0", "network_readout", "multi_modal")],
)
def test_nothing_is_computed_twice(kind: str, partitions: int | str) -> None:
    options = OPTIONS.get(kind, {})
    original = adapt(narrow(kind), **options).original()
    assert_nothing_is_computed_twice(
        narrow(kind),
        STRUCTURES["metal_with_vacancies"]().atoms,
        partitions,
        count_rows,
        (original, original.model),
        expected_rows,
        **options,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Count the rows of the first argument in every call of a part that computes atoms or edges."""
    known = ((name, part) for name, part in module.named_modules() if PARTS.fullmatch(name))
    count_inputs(known, rows)


def expected_rows(name: str, rows: int, calculator: DistCalculator) -> int:
    plan = calculator.plan()
    if name == "0_convolution.convolution":
        assert rows == sum(plan.edges)
    return rows + sum(plan.halo) if name in ON_HALO_TOO else rows


# ---- results


def results_of(calculator: Any, atoms: Atoms) -> dict[str, Any]:
    calculator.calculate(atoms.copy())
    return all_results(calculator)


def assert_same_within_float32(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert set(ours) >= set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    "make",
    [pretrained, lambda: SevenNetCalculator("7net-mf-0", device="cpu", modal="PBE")],
    ids=["7net-0", "7net-mf-0"],
)
def test_results_are_those_of_the_published_calculator(make: Callable[[], SevenNetCalculator]) -> None:
    theirs, atoms = make(), small_oxide()
    expected = results_of(theirs, atoms)
    # Ours takes over the modality. The references are what all other tests compare with.
    for calculator in (
        DistCalculator(theirs, partitions=3),
        adapt(theirs).original(),
        adapt(theirs).original(torch.float64),
    ):
        assert_same_within_float32(results_of(calculator, atoms), expected)


@pytest.mark.parametrize("partitions", [1, 4])
def test_a_dispersion_correction_is_added_as_with_the_original(partitions: int) -> None:
    """SumCalculator is how SevenNet adds D3; any other calculator serves to show it."""
    structure = small_oxide()
    sums = []
    for calculator in (
        DistCalculator(narrow(), partitions=partitions),
        adapt(narrow()).original(),
    ):
        atoms = structure.copy()
        atoms.calc = SumCalculator([calculator, LennardJones(epsilon=0.05, sigma=1.7, rc=5.0)])
        sums.append((atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()))
        alone = results_of(calculator, structure)
        assert np.abs(atoms.get_forces() - alone["forces"]).max() > 0.05
    for ours, theirs in zip(*sums, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-11)


# ---- modalities


def test_modality_of_a_calculator_and_of_the_option() -> None:
    atoms, model = small_oxide(), narrow("multi_modal")
    energies = {
        modal: results_of(DistCalculator(model, modal=modal), atoms)["energy"] for modal in model.modal_map
    }
    assert len(set(energies.values())) == len(energies) == 3
    calculator = SevenNetCalculator(copy.deepcopy(model), "model_instance", device="cpu", modal="PBE")
    assert results_of(DistCalculator(calculator), atoms)["energy"] == energies["PBE"]
    assert results_of(DistCalculator(calculator, modal="b3lyp"), atoms)["energy"] == energies["b3lyp"]


@pytest.mark.parametrize("options", [{}, {"modal": None}, {"modal": "pbe"}, {"modal": 1}], ids=str)
def test_modality_that_the_model_does_not_have(options: dict[str, Any]) -> None:
    given = re.escape(f"modal={options.get('modal')!r}")
    with pytest.raises(InvalidInputError, match=rf"{given}.*'PBE', 'R2SCAN', 'b3lyp'"):
        DistCalculator(narrow("multi_modal"), **options)


def test_modality_of_a_model_without() -> None:
    with pytest.raises(InvalidInputError, match=r"modal='PBE'.*no modalities"):
        DistCalculator(narrow(), modal="PBE")


# ---- the user's model


def test_the_model_keeps_its_flags_and_gets_no_hooks() -> None:
    model = build_narrow("multi_modal").train()
    DistCalculator(model, partitions=3, modal="PBE").verify(small_oxide())
    assert model.is_batch_data
    assert all(getattr(part, "_is_batch_data", True) for part in model)
    assert all(part.training and not part._forward_hooks for part in model.modules())
    assert "force_output" in dict(model.named_children())


def test_replicas_share_the_weights() -> None:
    model = narrow("fixed_basis")
    replica = adapt(model).replicate(0, torch.device("cpu"))
    theirs = {parameter.data_ptr() for parameter in model.parameters()}
    assert {parameter.data_ptr() for parameter in replica.parameters()} == theirs
    assert not any(parameter.requires_grad for parameter in replica.parameters())
    converted = adapt(model, torch.float32).replicate(0, torch.device("cpu"))
    assert {tensor.dtype for tensor in converted.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float64}


# ---- what is refused


def test_calculator_with_dispersion() -> None:
    # Its own constructor, and that of the correction, need a GPU.
    calculator = SevenNetD3Calculator.__new__(SevenNetD3Calculator)
    parts = [SevenNetCalculator(build_narrow(), "model_instance", device="cpu"), LennardJones()]
    SumCalculator.__init__(calculator, parts)
    remedy = re.escape("SumCalculator([DistCalculator(calcs[0]), calcs[1]])")
    with pytest.raises(UnsupportedModelError, match=f"SevenNetD3Calculator.*mixer.calcs, {remedy}"):
        DistCalculator(calculator)


def test_calculator_with_virials_of_its_own() -> None:
    calculator = SevenNetCalculator(build_narrow(), "model_instance", device="cpu")
    calculator.compute_atomic_virial = True
    with pytest.raises(UnsupportedModelError, match=r"compute_atomic_virial=True.*eV/Ang\^3"):
        DistCalculator(calculator)


def test_model_with_a_forward_of_its_own() -> None:
    class Charges(AtomGraphSequential):
        def forward(self, *args: Any) -> Any:
            return super().forward(*args)

    model = build_narrow()
    model.__class__ = Charges
    with pytest.raises(UnsupportedModelError, match="Charges"):
        DistCalculator(model)


def test_several_models() -> None:
    with pytest.raises(UnsupportedModelError, match="list"):
        DistCalculator([narrow(), narrow()])


def test_model_with_a_part_that_is_not_known() -> None:
    model = build_narrow()
    model.replace_module("1_equivariant_gate", torch.nn.Identity())
    with pytest.raises(UnsupportedModelError, match=r"1_equivariant_gate.*Identity"):
        DistCalculator(model)


def test_model_without_its_convolution() -> None:
    model = build_narrow("one_layer")
    model.delete_module_by_key("0_convolution")
    with pytest.raises(UnsupportedModelError, match="convolution"):
        DistCalculator(model)


@pytest.mark.parametrize("kind", [PLAIN, pytest.param("multi_modal", marks=pytest.mark.slow)])
def test_training(kind: str) -> None:
    """Parameter gradients of a loss of energy, forces and stress are the undivided model's."""
    model = copy.deepcopy(narrow(kind)).double()
    assert training_difference(model, small_oxide(), partitions=3, **OPTIONS.get(kind, {})) <= 1e-9


def test_accelerated_models() -> None:
    fused, patched = build_narrow(), build_narrow()
    for name in ("0_convolution", "1_convolution"):
        plain = fused._modules[name]
        fused.replace_module(name, IrrepsScatterGatterFusedConvolution.from_irreps_convolution(plain))
    patched._modules["1_convolution"].convolution = torch.nn.Identity()
    for model, name in ((fused, "0_convolution"), (patched, "1_convolution")):
        with pytest.raises(UnsupportedModelError, match=rf"{name}.*enable_cueq, enable_flash"):
            DistCalculator(model)


def test_model_that_scales_its_total() -> None:
    model = build_narrow()
    model._modules["reduce_total_enegy"].constant = 2.0
    with pytest.raises(UnsupportedModelError, match=r"reduce_total_enegy.*2\.0"):
        DistCalculator(model)


def test_models_for_lammps() -> None:
    model = build_narrow()
    model._modules["0_convolution"].is_parallel = True
    with pytest.raises(UnsupportedModelError, match=r"0_convolution.*parallel=True"):
        DistCalculator(model)


def test_compiled_models() -> None:
    scripted = torch.jit.script(torch.nn.Linear(1, 1))
    calculator = SevenNetCalculator(build_narrow(), "model_instance", device="cpu")
    calculator.model = scripted
    for model in (scripted, calculator):
        with pytest.raises(UnsupportedModelError, match="TorchScript"):
            DistCalculator(model)


@pytest.mark.parametrize(("attribute", "value"), [("type_map", None), ("cutoff", 0.0)])
def test_model_that_no_calculator_takes(attribute: str, value: Any) -> None:
    model = build_narrow()
    setattr(model, attribute, value)
    with pytest.raises(UnsupportedModelError, match=f"{attribute}={value}"):
        DistCalculator(model)
