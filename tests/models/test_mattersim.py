"""MatterSim over partitions gives what the undivided models give, and computes nothing twice."""

from __future__ import annotations

import copy
import pickle
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
from mattersim.forcefield.potential import MatterSimCalculator, Potential
from support.contract import PARTITIONS, ModelContract, assert_nothing_is_computed_twice, count_inputs
from support.mattersim_models import KINDS, PLAIN, PUBLISHED, build_narrow, narrow, of_published_size
from support.native_stages import assert_not_native, assert_same_bits_on_threads_and_with_recompute
from support.originals import training_difference
from support.structures import STRUCTURES, Structure, rattled, small_oxide

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.mattersim.adapter import adapt, named
from distmlip.torch_modes import default_dtype


class TestMatterSim(ModelContract):
    kinds = tuple(KINDS)
    published = tuple(PUBLISHED)
    slow = ("5M",)
    kernels = "original"

    def model(self, kind: str) -> M3Gnet:
        return narrow(kind)

    def published_model(self, name: str) -> M3Gnet:
        return of_published_size(name)

    def fresh_model(self) -> M3Gnet:
        return build_narrow()

    def reference_structure(self, structure: Structure) -> Atoms:
        """Our form of MatterSim's calculator is right about every boundary."""
        return structure.atoms


class TestNativeMatterSim(TestMatterSim):
    kernels = "fused"


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_native_stages_give_the_same_bits_on_threads_and_with_recompute(dtype: torch.dtype) -> None:
    atoms, names = rattled(small_oxide() * (3, 2, 2), 0.08), ("energy", "energies", "forces", "stress")
    assert_same_bits_on_threads_and_with_recompute(narrow(), atoms, 3, names, dtype=dtype)


def test_native_stages_compute_nothing_twice() -> None:
    """As many rows as the model's own modules, and as many that cross."""
    counted = []
    for kernels in ("original", "fused"):
        used = DistCalculator(narrow(), partitions=4, skin=0.0, kernels=kernels)
        used.calculate(STRUCTURES["oxide"]().atoms)
        counted.append({of: rows for of, rows in used.counters.items() if of.startswith("block")})
    assert counted[0] == counted[1]


def test_what_native_stages_do_not_know_is_named() -> None:
    message = "atoms have 12 features; native stages are for multiples of 16"
    assert_not_native(build_narrow(units=12), small_oxide(), message)


# ---- nothing is computed twice

PARTS = re.compile(
    r"atom_embedding|edge_encoder|final"
    r"|graph_conv\.\d+\.((gated_mlp|edge_layer)_(atom|edge)|three_body\.(atom_mlp|edge_gate_mlp))"
)


@pytest.mark.parametrize("partitions", PARTITIONS)
def test_nothing_is_computed_twice(partitions: int | str) -> None:
    original: Any = adapt(narrow()).original()
    assert_nothing_is_computed_twice(
        narrow(),
        STRUCTURES["metal_with_vacancies"]().atoms,
        partitions,
        count_rows,
        (original, original.potential.model),
        expected_rows,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Count the rows of every call of a part that computes atoms or edges."""
    count_inputs(((name, part) for name, part in module.named_modules() if PARTS.fullmatch(name)), rows)


def expected_rows(name: str, rows: int, calculator: DistCalculator) -> int:
    """What depends on types only is computed on halo rows, too."""
    return rows + sum(calculator.plan().halo) if name == "atom_embedding" else rows


def test_what_crosses() -> None:
    """Atoms, before every block but the first."""
    plan = DistCalculator(narrow(), partitions=3).plan(small_oxide())
    assert [(exchange.stage, exchange.kind, exchange.name) for exchange in plan.exchanges] == [
        ("block 1", "halo", "atoms")
    ]


# ---- models and calculators


def test_results_are_those_of_the_users_calculator() -> None:
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True), 0.1)
    potential = Potential(of_published_size("1M"), device="cpu")
    theirs = MatterSimCalculator(potential, device="cpu")
    theirs.calculate(atoms)
    for model in (potential, theirs, potential.model):
        ours = DistCalculator(model, partitions=3)
        ours.calculate(atoms)
        for name in ("energy", "forces", "stress"):
            expected = theirs.results[name]
            np.testing.assert_allclose(
                ours.results[name], expected, rtol=1e-4, atol=2e-3 * np.abs(expected).max()
            )


def test_checkpoints(tmp_path: Any) -> None:
    model, path = of_published_size("1M"), tmp_path / "model.pth"
    torch.save({"model_name": "m3gnet", "model_args": model.model_args, "model": model.state_dict()}, path)
    atoms, energies = small_oxide(), []
    for each in (model, named(str(path))):
        ours = DistCalculator(each, partitions=2, dtype="float64")
        ours.calculate(atoms)
        energies.append(ours.results["energy"])
    assert energies[0] == energies[1]


def test_checkpoints_that_are_none(tmp_path: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"mattersim:.*none.pth.*give a checkpoint"):
        named(str(tmp_path / "none.pth"))
    torch.save({}, tmp_path / "empty.pth")
    with pytest.raises(InvalidInputError, match=r"mattersim:.*empty.pth: KeyError: 'model_name'"):
        named(str(tmp_path / "empty.pth"))


def test_copies_and_pickles_have_the_same_model() -> None:
    """MatterSim's own objects cannot be pickled, or come back with a model that they download."""
    atoms, model = small_oxide(), build_narrow()
    expected = None
    for given in (
        model,
        Potential(model, device="cpu"),
        MatterSimCalculator(Potential(model, device="cpu"), device="cpu"),
    ):
        calculator = DistCalculator(given, partitions=2)
        for again in (calculator, pickle.loads(pickle.dumps(calculator)), copy.deepcopy(calculator)):
            again.calculate(atoms)
            expected = again.results["forces"] if expected is None else expected
            np.testing.assert_array_equal(again.results["forces"], expected)


@pytest.mark.parametrize("model", [of_published_size("1M"), narrow()], ids=["float32", "float64"])
def test_verify_of_structures_that_lie_far_away_or_have_left_handed_cells(model: M3Gnet) -> None:
    atoms = small_oxide()
    limit = 1e-9 if model is narrow() else 5e-4
    for default in (torch.float32, torch.float64):
        with default_dtype(default):
            calculator = DistCalculator(model, partitions=2)
            for change in (lambda moved: None, far_away, left_handed):
                moved = atoms.copy()
                change(moved)
                verification = calculator.verify(moved)
                assert verification.forces < limit
                assert verification.stress is not None
                assert verification.stress < limit


def far_away(atoms: Atoms) -> None:
    atoms.positions += [5000.0, 0.0, -300.0]


def left_handed(atoms: Atoms) -> None:
    atoms.set_cell(atoms.cell.array[[1, 0, 2]])


@pytest.mark.parametrize("kind", [PLAIN, "long angles"])
def test_training(kind: str) -> None:
    """Parameter gradients of a loss of energy, forces and stress are the undivided model's."""
    assert training_difference(build_narrow(kind), small_oxide(), partitions=3) <= 1e-9


# ---- what is refused


def test_stress_in_other_units() -> None:
    calculator = MatterSimCalculator(Potential(build_narrow(), device="cpu"), stress_weight=1.0, device="cpu")
    with pytest.raises(UnsupportedModelError, match=r"stress_weight=1.0.*eV/Ang"):
        DistCalculator(calculator)


def test_models_of_other_kinds() -> None:
    class Other(M3Gnet):
        pass

    with pytest.raises(UnsupportedModelError, match="Other cannot be distributed"):
        DistCalculator(Other(units=8, device="cpu"))
