"""CHGNet's native stages give what the undivided original gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from chgnet.model import CHGNet
from support.chgnet_models import NATIVE, PUBLISHED, build_narrow, narrow, narrow_native, published
from support.chosen import Chosen
from support.contract import ModelContract
from support.native_stages import (
    assert_not_native,
    assert_same_bits,
    assert_same_bits_on_threads_and_with_recompute,
    native_results,
)
from support.parity import assert_forces_and_stress_are_slopes
from support.structures import STRUCTURES, oxide, oxide_cell, rattled

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.models.chgnet.adapter import adapt

pytestmark = pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")


class TestNativeCHGNet(ModelContract):
    kinds = tuple(NATIVE)
    structures_of_kinds = ("oxide", "two_far_apart_molecules", "without_angles", "thin_in_all_directions")
    published = PUBLISHED
    kernels = "fused"

    def model(self, kind: str) -> CHGNet:
        return narrow_native(kind)

    def published_model(self, name: str) -> CHGNet:
        return published(name)

    def fresh_model(self) -> CHGNet:
        return build_narrow(bond_fea_dim=16, angle_fea_dim=16).train()

    def options_of(self, name: str) -> dict[str, Any]:
        return {"on_isolated_atoms": "ignore"}


NAMES = ("energy", "energies", "forces", "stress", "magmoms")


def results_of(model: CHGNet, atoms: Atoms, partitions: int, **options: Any) -> dict[str, Any]:
    return native_results(model, atoms, partitions, on_isolated_atoms="ignore", **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("partitions", [1, 5])
def test_threads_and_recompute_give_the_same_bits(
    partitions: int, dtype: torch.dtype, chosen: Chosen
) -> None:
    atoms = rattled(oxide_cell() * (4, 3, 3), 0.08)
    options = {"dtype": dtype, "on_isolated_atoms": "ignore"}
    assert_same_bits_on_threads_and_with_recompute(
        narrow_native("plain"), atoms, partitions, NAMES, **options
    )


@pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
def test_recompute_gives_the_same_bits_of_any_structure(build: Callable, chosen: Chosen) -> None:
    atoms = build().atoms
    kept = results_of(narrow_native("biased"), atoms, 3, recompute=False)
    again = results_of(narrow_native("biased"), atoms, 3, recompute=True)
    assert_same_bits(kept, again, set(kept) & set(NAMES))


def test_instruction_sets_agree(simd: None, chosen: Chosen) -> None:
    found = []
    for level in core.simd_levels:
        core.set_simd(level)
        found.append(results_of(published("0.3.0"), oxide().atoms, 2, dtype=torch.float64))
    for results in found[1:]:
        for name in ("energy", "forces", "stress", "magmoms"):
            np.testing.assert_allclose(results[name], found[0][name], rtol=0, atol=1e-11, err_msg=name)


def test_forces_and_stress_are_slopes_of_the_energy(chosen: Chosen) -> None:
    atoms = rattled(oxide_cell(), 0.08)
    model = narrow_native("plain")
    atoms.calc = DistCalculator(model, devices="cpu", partitions=2, skin=0.0, dtype="float64")
    assert_forces_and_stress_are_slopes(atoms)


@pytest.mark.parametrize("partitions", [1, 3, 8])
def test_nothing_is_computed_twice(partitions: int, chosen: Chosen) -> None:
    """As many atoms, edges and angles in all partitions together as undivided; a cut bond in both."""
    atoms = oxide().atoms
    counted = []
    for kernels in ("original", "fused"):
        used = DistCalculator(
            narrow_native("plain"), devices="cpu", partitions=partitions, skin=0.0, kernels=kernels
        )
        used.calculate(atoms.copy())
        counted.append({name: of for name, of in used.counters.items() if name.startswith("block")})
    own, native = counted
    assert own.keys() == native.keys() == {f"block {k}" for k in range(4)}
    for name, of in native.items():
        assert {kind: of[kind] for kind in own[name] if not kind.startswith("received")} == {
            kind: n for kind, n in own[name].items() if not kind.startswith("received")
        }
        received = sorted(n for kind, n in of.items() if kind.startswith("received"))
        assert received == sorted(n for kind, n in own[name].items() if kind.startswith("received"))
        assert of["atoms"] == len(atoms)


def test_crystal_features_are_those_of_the_original(chosen: Chosen) -> None:
    model, atoms = narrow_native("plain"), oxide().atoms
    theirs, ours = adapt(model).original(torch.float64), DistCalculator(model, partitions=3, dtype="float64")
    for calculator in (theirs, ours):
        calculator.calculate(atoms)
    np.testing.assert_allclose(
        ours.extras["crystal_fea"], theirs.results["crystal_fea"], rtol=1e-11, atol=1e-11
    )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: narrow("plain"), r"features of atoms, bonds and angles have \[16, 20, 24\] numbers"),
        (lambda: narrow("without_bond_update"), "its bonds are never updated"),
        (lambda: narrow("one_block"), "its bonds are never updated"),
        (lambda: other(conv_norm="layer"), r"chgnet.*AtomConv normalises its result"),
        (lambda: other(gMLP_norm="batch"), "gated perceptrons are normalised by a .*BatchNorm1d"),
        (lambda: other(non_linearity="tanh"), r"a gated perceptron is a .* with .*Tanh; SiLU is known"),
        (lambda: other(atom_conv_hidden_dim=[16, 16]), "gated perceptrons have more than one hidden layer"),
        (lambda: other(atom_conv_hidden_dim=12), "hidden layers have 12 numbers"),
        (lambda: other(cutoff_coeff=5.5), r"cutoff_coeff=5\.5 is no integer"),
    ],
)
def test_what_is_not_known_is_named_and_runs_by_its_own_modules(
    model: Callable[[], CHGNet], message: str
) -> None:
    assert_not_native(model(), oxide().atoms, message)


def other(**changes: Any) -> CHGNet:
    return build_narrow(bond_fea_dim=16, angle_fea_dim=16, **changes)
