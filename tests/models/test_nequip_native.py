"""NequIP's layers in C++ give what its modules give, and name the part that they do not know."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from nequip.nn.nonlinearities import ShiftedSoftplus
from support.expanded import watched
from support.native_stages import FINE, assert_close, assert_exact, evaluator_of
from support.nequip_models import ALLEGRO, NARROW, PLAIN, SYMBOLS, build_narrow, narrow
from support.structures import STRUCTURES, oxide_cell, rattled

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.choice.kernels import numbers_of
from distmlip.choice.suspect import mismatch, suspect
from distmlip.errors import NotNativeError
from distmlip.models import e3nn_native
from distmlip.models.interface import Adapter
from distmlip.models.native import NativeChoice, TableSize
from distmlip.models.nequip.adapter import adapt

OXIDE = STRUCTURES["oxide"]().atoms
SYMMETRIC = {first: {second: 3.4 if first != second else 4.1 for second in SYMBOLS} for first in SYMBOLS}
"""Å: cutoffs by types that are the same for both orders of a pair."""


def model_of(kind: str) -> Adapter:
    return adapt(narrow(kind), torch.float64)


def exact_choice(table: TableSize | None = None) -> NativeChoice:
    return NativeChoice(numbers_of(OXIDE), table)


@pytest.mark.parametrize(("partitions", "recompute"), [(1, core.Recompute.never), (3, core.Recompute.stages)])
@pytest.mark.parametrize("kind", NARROW)
def test_every_kind_of_model(kind: str, partitions: int, recompute: core.Recompute) -> None:
    assert_exact(model_of(kind), OXIDE, partitions, recompute)


@pytest.mark.parametrize("structure", ["metal_with_vacancies", "two_far_apart_molecules", "one_atom"])
def test_structures_with_empty_partitions_and_lonely_atoms(structure: str) -> None:
    assert_exact(model_of("like_the_preset_m"), STRUCTURES[structure]().atoms, 8, core.Recompute.host)


@pytest.mark.parametrize("kind", ["like_the_preset_m", "residual"])
def test_stages_are_those_of_the_models_own_modules(kind: str) -> None:
    """One by one, with the same inputs and gradients."""
    own = evaluator_of(model_of(kind), 2, None)
    native = evaluator_of(model_of(kind), 2, exact_choice())
    assert mismatch(own.stages(), native.stages()) == ""
    assert suspect(own, native, OXIDE) == ""


@pytest.mark.parametrize("kind", NARROW)
def test_tables(kind: str) -> None:
    found = evaluator_of(model_of(kind), 2, exact_choice(FINE)).evaluate(OXIDE)[0]
    assert_close(found, evaluator_of(model_of(kind), 2, None).evaluate(OXIDE)[0], 1e-10)


@pytest.mark.parametrize("table", [None, FINE], ids=["exact", "tables"])
def test_first_layers_are_expanded_for_few_elements_only(
    table: TableSize | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(monkeypatch)
    few = evaluator_of(model_of(PLAIN), 2, exact_choice(table)).evaluate(OXIDE)[0]
    monkeypatch.setattr(e3nn_native, "MOST_EXPANDED", 1)
    many = evaluator_of(model_of(PLAIN), 2, exact_choice(table)).evaluate(OXIDE)[0]
    assert found == [True, False]
    assert_close(few, many, 1e-12 if table is None else 1e-10)


def test_cutoffs_by_types() -> None:
    """Tables know them where both orders of a pair have the same."""
    adapter = adapt(build_narrow(PLAIN, per_edge_type_cutoff=SYMMETRIC), torch.float64)
    found = evaluator_of(adapter, 2, exact_choice(TableSize(400, 12))).evaluate(OXIDE)[0]
    assert_close(found, evaluator_of(adapter, 2, None).evaluate(OXIDE)[0], 1e-7)
    with pytest.raises(NotNativeError, match="cutoffs by types"):
        adapter.native_stages(0, exact_choice(), recompute=False)
    first, second = sorted(set(OXIDE.get_chemical_symbols()))[:2]
    other = adapt(build_narrow(PLAIN, per_edge_type_cutoff={first: {second: 3.0}}), torch.float64)
    with pytest.raises(NotNativeError, match="which atom of a pair receives"):
        other.native_stages(0, exact_choice(FINE), recompute=False)


def test_a_calculation_in_single_precision_uses_tables() -> None:
    atoms = rattled(oxide_cell() * (2, 1, 1), 0.08)
    model = build_narrow("like_the_preset_m", model_dtype="float32")
    native = DistCalculator(model, devices="cpu", partitions=2)
    native.calculate(atoms)
    assert native.plan(atoms).kernels.startswith("native stages")
    assert "tables" in native.plan(atoms).kernels
    exact = evaluator_of(adapt(model, torch.float64), 1, None).evaluate(atoms)[0].forces
    own = evaluator_of(adapt(model), 1, None).evaluate(atoms)[0].forces
    errors = [np.abs(forces - exact).max() for forces in (native.results["forces"], own)]
    assert errors[0] <= max(2 * errors[1], 1.5e-6 * max(1.0, np.abs(exact).max()))


# ---- what is not known


def test_models_with_the_same_weights_and_other_parts_are_compared_by_themselves() -> None:
    """What was found out of one is not looked up for the other."""
    atoms, kernels = rattled(oxide_cell(), 0.08), {}
    for activation in ("silu", "gelu", "silu"):
        model = build_narrow("deep_readout", readout_mlp_nonlinearity=activation)
        calculator = DistCalculator(model, partitions=2)
        assert calculator.verify(atoms).forces < 1e-9
        kernels[activation] = calculator.plan(atoms).kernels
    assert kernels["silu"].startswith("native stages")
    assert "GELU" in kernels["gelu"]


def test_allegro_has_no_native_stages() -> None:
    with pytest.raises(NotNativeError, match="no native stages for Allegro"):
        model_of(ALLEGRO).native_stages(0, exact_choice(), recompute=False)


def biased(model: Any) -> None:
    layer = model.model.func.layer1_convnet.conv.edge_mlp.mlp[0]
    layer.bias = torch.nn.Parameter(torch.zeros(layer.out_features))


def softened(model: Any) -> None:
    model.model.func.per_atom_energy_readout.mlp_module.mlp[1] = ShiftedSoftplus()


def bent(model: Any) -> None:
    model.model.func.bessel_encode.cutoff.p = 5.5


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (PLAIN, biased, r"layer1_convnet\.conv\.edge_mlp has biases"),
        ("deep_readout", softened, "activation .*ShiftedSoftplus"),
        (PLAIN, bent, r"bessel_encode\.cutoff .*natural power"),
    ],
)
def test_parts_that_are_not_known(kind: str, change: Any, message: str) -> None:
    model = build_narrow(kind)
    change(model)
    with pytest.raises(NotNativeError, match=message):
        adapt(model, torch.float64).native_stages(0, exact_choice(), recompute=False)
    calculator = DistCalculator(model, partitions=2, dtype="float64")
    assert calculator.verify(OXIDE).forces < 1e-9
    assert re.search(message, calculator.plan(OXIDE).kernels)
