"""CHGNet over partitions gives what the undivided CHGNet gives, and computes nothing twice."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from chgnet.model import CHGNet
from chgnet.model.composition_model import CompositionModel
from chgnet.model.dynamics import CHGNetCalculator
from support.chgnet_models import NARROW, PUBLISHED, build_narrow, narrow, published
from support.contract import PARTITIONS, ModelContract, number_of
from support.parity import original, root_mean_square
from support.structures import STRUCTURES

from distmlip import DistCalculator, partition
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.graph.partitioning import Part
from distmlip.models.chgnet.adapter import CHGNetAdapter, adapt

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")

ACCEPT_ISOLATED = {"on_isolated_atoms": "ignore"}


class TestCHGNet(ModelContract):
    kinds = tuple(NARROW)
    published = PUBLISHED

    def model(self, kind: str) -> CHGNet:
        return narrow(kind)

    def published_model(self, name: str) -> CHGNet:
        return published(name)

    def fresh_model(self) -> CHGNet:
        return build_narrow().train()

    def options_of(self, name: str) -> dict[str, Any]:
        return ACCEPT_ISOLATED


@pytest.mark.slow
class TestCHGNetByItsOwnModules(TestCHGNet):
    """Native stages run by default, where they know the model."""

    kernels = "original"


def test_crystal_features_are_those_of_the_original() -> None:
    model, atoms = narrow("plain"), STRUCTURES["oxide"]().atoms
    theirs, ours = adapt(model).original(torch.float64), DistCalculator(model, partitions=3, dtype="float64")
    for calculator in (theirs, ours):
        calculator.calculate(atoms)
    np.testing.assert_allclose(
        ours.extras["crystal_fea"], theirs.results["crystal_fea"], rtol=1e-11, atol=1e-11
    )


def test_reference_in_float64_is_chgnet_itself() -> None:
    """The float64 original differs from CHGNetCalculator by float32 noise only, and so do its results."""
    model, atoms = published("0.3.0"), STRUCTURES["oxide"]().atoms
    exact = original(model, atoms, atoms, torch.float64, {})
    atoms.calc = CHGNetCalculator(model, use_device="cpu", return_site_energies=True)
    assert abs(atoms.get_potential_energy() / len(atoms) - exact.energy) < 1e-5
    np.testing.assert_allclose(atoms.get_forces(), exact.forces, atol=1e-4)
    np.testing.assert_allclose(atoms.get_stress(), exact.stress, atol=1e-5)
    np.testing.assert_allclose(atoms.calc.results["magmoms"], exact.magmoms, atol=1e-5)
    np.testing.assert_allclose(atoms.calc.results["energies"], exact.energies, atol=1e-4)


ONCE = (
    "twoBody_atom",
    "twoBody_bond",
    "site_wise",
    "readout_norm",
    "angle_embedding",
    "angle_basis_expansion",
)
"""Submodules that compute edges, angles or atoms; so do ``mlp`` and the ``mlp_out`` of atom layers."""
ON_BOTH_SIDES_OF_A_CUT = ("bond_embedding", "bond_weights_ag", "bond_weights_bg")
"""Submodules that compute bonds; so does the ``mlp_out`` of bond layers."""


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("structure", ["oxide", "metal_with_vacancies", "thin_in_all_directions"])
def test_nothing_is_computed_twice(
    structure: str, partitions: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, atoms = narrow("plain"), STRUCTURES[structure]().atoms
    n_partitions = number_of(partitions, atoms)
    theirs, ours = Counter(), Counter()
    original = adapt(model).original(torch.float64)
    count_rows(original.model, theirs)
    replicate = CHGNetAdapter.replicate

    def counted_replica(adapter: CHGNetAdapter, index: int, device: torch.device) -> torch.nn.Module:
        replica = replicate(adapter, index, device)
        count_rows(replica, ours)
        return replica

    monkeypatch.setattr(CHGNetAdapter, "replicate", counted_replica)
    # Without a skin, so that `partition` cuts in the same way.
    calculator = DistCalculator(model, partitions=n_partitions, devices="cpu", recompute=False, skin=0.0)
    for calculator_ in (original, calculator):
        atoms.calc = calculator_
        atoms.get_forces()

    computed = dict(ours)  # the plan measures a model that it does not know
    plan, expected = calculator.plan(), predicted_rows(theirs, calculator, atoms)
    assert sum(plan.owned) == len(atoms)
    assert theirs.keys() - computed.keys() == {"angle_layers.2.twoBody_bond"}  # which nothing reads
    assert computed == expected
    for stage in (stage for stage in calculator.counters if stage.startswith("block")):
        assert calculator.counters[stage]["edges"] == theirs["atom_conv_layers.0.twoBody_atom"]
        assert calculator.counters[stage]["atoms"] == len(atoms)


def predicted_rows(original: Counter[str], calculator: DistCalculator, atoms: Atoms) -> dict[str, int]:
    """Rows that each submodule may compute in all partitions: once each, but for what the design names."""
    plan = calculator.plan()
    parts = partition(atoms, 6.0, plan.n_partitions, bond_cutoff=3.0).parts
    cut_edges = sum(int(crosses(part).sum()) for part in parts)
    cut_short = sum(int(crosses(part)[part.bonds].sum()) for part in parts)
    owned, halo, bonds = sum(plan.owned), sum(plan.halo), sum(plan.bonds)
    short_bonds = (sum(len(part.bonds) for part in parts) + cut_short) // 2
    expected = {}
    for name, rows in original.items():
        kind = name.split(".")[-1]
        if kind in ON_BOTH_SIDES_OF_A_CUT or (kind == "mlp_out" and name.startswith("bond_conv")):
            expected[name] = rows + cut_edges // 2
            assert expected[name] == bonds
        elif kind == "atom_embedding":
            expected[name] = owned + halo
        elif name != "angle_layers.2.twoBody_bond":
            expected[name] = rows
        # Before gathering, the parts of its input: fewer rows than it has itself.
        if kind == "twoBody_atom":
            expected[f"{name}.projection"] = owned + bonds + (owned + halo)
        elif kind == "twoBody_bond" and name in expected:
            expected[f"{name}.projection"] = short_bonds + short_bonds + rows + owned
    return expected


def crosses(part: Part) -> np.ndarray:
    """(n_edges,) whether an edge comes from another partition."""
    return part.senders >= len(part.owned)


def count_rows(model: torch.nn.Module, rows: Counter[str]) -> None:
    """Count in ``rows`` what goes through the submodules that do the work."""

    def count_output(name: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
            rows[name] += len(output)

        return hook

    def count_parts(name: str) -> Callable[..., None]:
        def hook(_module: torch.nn.Module, parts: tuple[tuple[torch.Tensor, object], ...], _: object) -> None:
            rows[name] += sum(len(part) for part, _index in parts)

        return hook

    for name, module in model.named_modules():
        kind = name.split(".")[-1]
        if kind in ("mlp_out", "mlp", "atom_embedding", *ONCE, *ON_BOTH_SIDES_OF_A_CUT):
            module.register_forward_hook(count_output(name))
        elif kind == "projection":
            module.register_forward_hook(count_parts(name))


def test_float32_noise_does_not_grow_with_the_box() -> None:
    """The original rounds positions to float32; ours are vectors of float64 positions."""
    model, crystal = published("0.3.0"), STRUCTURES["metal_with_vacancies"]().atoms
    ours, theirs = {}, {}
    for box in (30.0, 200.0):
        atoms = crystal.copy()
        atoms.set_cell([box] * 3)
        atoms.positions += box - 12.0
        exact = original(model, atoms, atoms, torch.float64, {})
        atoms.calc = DistCalculator(model, partitions=2, **ACCEPT_ISOLATED)
        ours[box] = root_mean_square(atoms.get_forces() - exact.forces)
        rounded = original(model, atoms, atoms, torch.float32, {})
        theirs[box] = root_mean_square(rounded.forces - exact.forces)
    assert theirs[200.0] > 2 * theirs[30.0], "the test would not see noise that grows"
    assert ours[200.0] < 1.5 * ours[30.0]
    assert ours[200.0] < 0.5 * theirs[200.0]


@pytest.mark.parametrize("of_calculator", [True, False])
def test_isolated_atoms_are_ignored_reported_or_refused(
    of_calculator: bool, caplog: pytest.LogCaptureFixture
) -> None:
    atoms = STRUCTURES["one_atom"]().atoms
    model = build_narrow()

    def energy(choice: str) -> float:
        given = (
            CHGNetCalculator(model, use_device="cpu", on_isolated_atoms=choice) if of_calculator else model
        )
        options = {} if of_calculator else {"on_isolated_atoms": choice}
        atoms.calc = DistCalculator(given, **options)
        return atoms.get_potential_energy()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(energy("ignore"))
        assert not caplog.records
        assert np.isfinite(energy("warn"))
        atoms.rattle()
        atoms.get_forces()
    (record,) = caplog.records
    assert "1 atoms have no neighbour within the cutoff of 6.0" in record.getMessage()
    with pytest.raises(InvalidInputError, match="on_isolated_atoms='ignore'"):
        energy("error")


def test_the_graph_converter_is_not_changed() -> None:
    model = build_narrow()
    response = model.graph_converter.on_isolated_atoms
    DistCalculator(model, dtype="float64").verify(STRUCTURES["oxide"]().atoms)
    assert model.graph_converter.on_isolated_atoms == response


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: build_narrow(mlp_first=False), "mlp_first=False"),
        (lambda: build_narrow(mlp_first=False, read_out="attn"), "mlp_first=False"),
        (lambda: build_narrow(composition_model=CompositionModel()), "CompositionModel"),
        (lambda: build_narrow().graph_converter, "CrystalGraphConverter"),
    ],
)
def test_what_cannot_be_distributed_is_refused_by_name(model: Callable[[], object], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        DistCalculator(model())


def test_bad_options_are_refused() -> None:
    model = narrow("plain")
    with pytest.raises(InvalidInputError, match="'sometimes'"):
        DistCalculator(model, on_isolated_atoms="sometimes")
    with pytest.raises(InvalidInputError, match=r"stress_weight=1\.0"):
        DistCalculator(CHGNetCalculator(build_narrow(), use_device="cpu", stress_weight=1.0))
