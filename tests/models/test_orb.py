"""Orb over partitions gives what the undivided models give, and computes nothing twice."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list
from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.calculator import ORBCalculator
from orb_models.forcefield.pretrained import (
    orb_v3_conservative_architecture,
    orb_v3_direct_architecture,
)
from support.contract import (
    PARTITIONS,
    ModelContract,
    assert_nothing_is_computed_twice,
    count_inputs,
    energy_of,
)
from support.orb_models import DIRECT, EVERY, FEW, KINDS, NEAREST, PLAIN, build_narrow, narrow
from support.originals import training_difference
from support.parity import all_results
from support.structures import STRUCTURES, Structure, rattled, small_oxide

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.orb.adapter import adapt, named
from distmlip.models.orb.original import NOT_OURS
from distmlip.torch_modes import default_dtype


class TestOrb(ModelContract):
    kinds = tuple(KINDS)
    test_rotated_atoms_and_cell = None  # the models are not equivariant
    test_single_precision_is_no_worse_than_the_original = None  # of one structure all is chance: see below

    def model(self, kind: str) -> Any:
        return narrow(kind)

    def fresh_model(self) -> Any:
        return build_narrow()

    def prepare(self, atoms: Atoms) -> Atoms:
        atoms.info.update(charge=1, spin=2)
        return atoms

    def reference_structure(self, structure: Structure) -> Atoms:
        """Our form of Orb's calculator is right about every boundary and cell."""
        return structure.atoms


# ---- nothing is computed twice

PARTS = re.compile(
    r"model\.(_encoder\.(_node_fn|_edge_fn)|gnn_stacks\.\d+\.(_edge_mlp|_node_mlp|_send_attn|_receive_attn))"
    r"|heads\.(forces|confidence)\.mlp"
)


@pytest.mark.parametrize(
    ("kind", "partitions"),
    [*((PLAIN, partitions) for partitions in PARTITIONS), (DIRECT, 3), (NEAREST, 3)],
)
def test_nothing_is_computed_twice(kind: str, partitions: int | str) -> None:
    original: Any = adapt(narrow(kind)).original()
    assert_nothing_is_computed_twice(
        narrow(kind),
        STRUCTURES["metal_with_vacancies"]().atoms,
        partitions,
        count_rows,
        (original, original.model),
        lambda _, rows, __: rows,
    )


def count_rows(module: torch.nn.Module, rows: Counter[str]) -> None:
    """Count the rows of every call of a part that computes atoms or edges."""
    count_inputs(((name, part) for name, part in module.named_modules() if PARTS.fullmatch(name)), rows)


def test_what_crosses() -> None:
    """A halo and a fold per layer, and one sum."""
    plan = DistCalculator(narrow(DIRECT), partitions=3).plan(small_oxide())
    assert [(exchange.kind, exchange.name) for exchange in plan.exchanges] == [
        *[("halo", "nodes"), ("fold", "to_others")] * 3,
        ("fold", "repulsion"),
        ("all_sum", "sum"),
    ]


# ---- the nearest neighbours


def test_which_of_equally_distant_neighbours_count_does_not_depend_on_partitions(
    caplog: pytest.LogCaptureFixture,
) -> None:
    atoms = bulk("Cu", cubic=True) * (4, 3, 3)
    found = {}
    with caplog.at_level(logging.WARNING, logger="distmlip"):
        for partitions in (1, 3, 8):
            calculator = DistCalculator(narrow(NEAREST), partitions=partitions, dtype="float64")
            calculator.calculate(atoms)
            calculator.calculate(atoms)
            found[partitions] = calculator.results
    warnings = [record.getMessage() for record in caplog.records if "equally distant" in record.getMessage()]
    assert len(warnings) == 3
    assert "nearest 20" in warnings[0]
    for results in found.values():
        assert results["energy"] == pytest.approx(found[1]["energy"], rel=1e-12)
        np.testing.assert_allclose(results["forces"], found[1]["forces"], atol=1e-10)


def test_which_of_equally_distant_neighbours_count_does_not_depend_on_where_the_crystal_lies() -> None:
    atoms, calculator = bulk("Cu", cubic=True) * (3, 3, 2), DistCalculator(narrow(NEAREST), partitions=2)
    forces = calculator.get_forces(atoms).copy()
    for shift in ([0.1, 0.2, 0.3], [-17.3, 41.9, 0.01]):
        moved = atoms.copy()
        moved.positions += shift
        np.testing.assert_allclose(calculator.get_forces(moved), forces, atol=1e-9)
        moved.wrap()
        np.testing.assert_allclose(calculator.get_forces(moved), forces, atol=1e-9)


@pytest.mark.parametrize("kind", [PLAIN, DIRECT])
def test_verify_of_structures_that_lie_far_away_or_have_left_handed_cells(kind: str) -> None:
    for dtype, limit in (("float64", 1e-9), ("float32", 2e-3)):
        calculator = DistCalculator(narrow(kind), partitions=2, dtype=dtype)
        atoms = small_oxide()
        atoms.set_cell(atoms.cell.array[[1, 0, 2]])
        atoms.positions += [5000.0, 0.0, -300.0]
        verification = calculator.verify(atoms)
        assert verification.forces < limit
        assert verification.stress is not None
        assert verification.stress < limit


def test_the_limit_is_that_of_the_option_the_calculator_or_the_model() -> None:
    atoms, model = small_oxide(), narrow()
    receivers = neighbor_list("i", atoms, 6.0)
    assert np.bincount(receivers).min() > 30
    energies = {}
    for limit in (20, 30):
        ours = DistCalculator(model, partitions=3, max_num_neighbors=limit)
        assert ours.verify(atoms).forces < 1e-9
        energies[limit] = energy_of(ours, atoms)
    of_calculator = ORBCalculator(model, max_num_neighbors=30, device="cpu")
    assert energy_of(DistCalculator(of_calculator), atoms) == pytest.approx(energies[30], rel=1e-12)
    assert energy_of(DistCalculator(of_calculator, max_num_neighbors=20), atoms) == pytest.approx(
        energies[20], rel=1e-12
    )
    assert energy_of(DistCalculator(model, system_config=FEW), atoms) == pytest.approx(
        energies[20], rel=1e-12
    )
    assert len({*energies.values(), energy_of(DistCalculator(model), atoms)}) == 3


@pytest.mark.parametrize("limit", [0, -1, 2.5, "20", True])
def test_limits_that_are_none(limit: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"max_num_neighbors={limit!r}"):
        DistCalculator(narrow(), max_num_neighbors=limit)
    with pytest.raises(InvalidInputError, match=r"system_config=6\.0; it must be"):
        DistCalculator(narrow(), system_config=6.0)
    assert adapt(narrow(), max_num_neighbors=np.int64(20))._potential.max_neighbors == 20


def test_a_model_that_does_not_say_how_far_it_sees() -> None:
    model = build_narrow(system_config=None)
    with pytest.raises(InvalidInputError, match=r"system_config=SystemConfig\(radius=6.0"):
        DistCalculator(model)
    assert DistCalculator(model, system_config=EVERY).verify(small_oxide()).forces < 1e-9
    calculator = ORBCalculator(model, system_config=EVERY, device="cpu")
    assert DistCalculator(calculator).verify(small_oxide()).forces < 1e-9


# ---- results


@pytest.mark.parametrize("kind", [PLAIN, DIRECT, "both forces"])
def test_results_are_those_of_the_users_calculator(kind: str) -> None:
    model, atoms = build_narrow(kind), small_oxide()
    with default_dtype(torch.float64):  # as Orb's own loaders leave it
        theirs = ORBCalculator(model, device="cpu")
        theirs.calculate(atoms)
    ours = DistCalculator(model, partitions=3)
    ours.calculate(atoms)
    found = all_results(ours)
    assert set(theirs.results) - set(found) <= set(NOT_OURS)
    for name in set(theirs.results) - set(NOT_OURS):
        np.testing.assert_allclose(found[name], theirs.results[name], atol=1e-9, err_msg=name)


def test_neighbours_that_orb_does_not_find_in_skewed_cells() -> None:
    """It finds them in a larger cell of the same crystal, and then gives what ours gives in both."""
    skewed = STRUCTURES["triclinic"]().atoms
    larger = skewed * (3, 2, 3)
    model = build_narrow(repels=False)  # of the repulsion conservative models take the mean
    ours, theirs = DistCalculator(model, partitions=3), ORBCalculator(model, device="cpu")
    with default_dtype(torch.float64):
        expected = energy_of(theirs, larger) / len(larger)
    assert energy_of(ours, larger) / len(larger) == pytest.approx(expected, rel=1e-12)
    assert energy_of(ours, skewed) / len(skewed) == pytest.approx(expected, rel=1e-12)


def test_without_a_cell_there_is_no_stress() -> None:
    molecule = STRUCTURES["molecule"]().atoms
    molecule.cell = None
    calculator = DistCalculator(narrow(DIRECT), partitions=2)
    assert calculator.verify(molecule).forces < 1e-9
    calculator.calculate(molecule)
    assert "stress" not in calculator.results
    forces = calculator.results["forces"]
    np.testing.assert_allclose(np.cross(molecule.positions, forces).sum(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"charge": 1},
        {"charge": 1, "spin": None},
        {"charge": "1", "spin": 1},
        {"charge": np.nan, "spin": 1},
    ],
)
def test_charge_and_spin_must_be_there(info: dict[str, Any]) -> None:
    atoms = small_oxide()
    atoms.info.update(info)
    missing = "charge" if info.get("charge") != 1 else "spin"
    with pytest.raises(InvalidInputError, match=rf"atoms.info\['{missing}'\] is .*charge=0, spin=1"):
        DistCalculator(narrow("with charge and spin")).calculate(atoms)


@pytest.mark.parametrize("partitions", [1, 4])
def test_single_precision_is_no_worse_than_the_original(partitions: int) -> None:
    """Forces and stress come of one function of a mean: in one structure all their errors are one error."""
    model, ratios = narrow(), []
    for seed in range(9):
        atoms = rattled(small_oxide(), 0.05, seed)
        exact, theirs = (adapt(model, dtype).original() for dtype in (torch.float64, torch.float32))
        ours = DistCalculator(model, partitions=partitions, dtype="float32")
        found = []
        for calculator in (exact, theirs, ours):
            calculator.calculate(atoms)
            found.append(calculator.results)
        ratios.append([error(found[2], found[0], name) / error(found[1], found[0], name) for name in NAMES])
    assert np.median(ratios, axis=0).max() < 1.5


NAMES = ("forces", "stress")


def error(found: dict[str, Any], exact: dict[str, Any], name: str) -> float:
    return float(np.linalg.norm(found[name] - exact[name]))


# ---- training


@pytest.mark.parametrize("kind", [PLAIN, NEAREST])
def test_training(kind: str) -> None:
    """Parameter gradients of a loss of energy, forces and stress are the undivided model's."""
    assert training_difference(build_narrow(kind, repels=False), small_oxide(), partitions=3) <= 1e-9


# ---- what is refused


def test_parts_that_are_not_known() -> None:
    class Other(torch.nn.Module):
        pass

    model = build_narrow()
    model.heads["confidence"] = Other()
    with pytest.raises(UnsupportedModelError, match=r"heads.confidence of the model is a .*Other"):
        DistCalculator(model)
    model = build_narrow()
    model.model.conditioner = Other()
    with pytest.raises(UnsupportedModelError, match=r"model.conditioner of the model is a .*Other"):
        DistCalculator(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"interaction_params": {"attention_gate": "softmax"}}, "attention_gate='softmax'"),
        ({"charge": True, "conditioning_type": "concatenative"}, "concatenative"),
        ({"node_feature_names": ["feat", "magmoms"], "extra_embed_dims": (1, 0)}, "reads magmoms"),
        ({"num_message_passing_steps": 0}, "no layers"),
    ],
)
def test_networks_that_cannot_be_cut(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        DistCalculator(build_narrow(**changes))


def test_a_calculator_that_takes_forces_from_heads_of_a_conservative_model() -> None:
    calculator = ORBCalculator(build_narrow("both forces"), conservative=False, device="cpu")
    with pytest.raises(UnsupportedModelError, match="conservative=False"):
        DistCalculator(calculator)


def test_a_network_without_heads() -> None:
    with pytest.raises(UnsupportedModelError, match="MoleculeGNS cannot be distributed"):
        DistCalculator(narrow().model)


def test_names(tmp_path: Any) -> None:
    for name in ("orb-v9", "orb-v1"):  # of which the second cannot be had any more
        with pytest.raises(InvalidInputError, match="there are orb-v3-conservative-omol"):
            named(name)
    with pytest.raises(InvalidInputError, match="no file behind the colon"):
        named("orb-v2:")
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    torch.save(build_narrow().state_dict(), tmp_path / "other.pt")
    with pytest.raises(InvalidInputError, match=r"other.pt: RuntimeError: .*size mismatch.*give a file"):
        named(f"orb-v3-conservative-inf-omat:{tmp_path / 'other.pt'}")
    assert (torch.get_default_dtype(), torch.get_float32_matmul_precision()) == before


@pytest.mark.parametrize("name", ["orb-v3-conservative-20-omat", "orb-v3-direct-inf-mpa"])
def test_models_of_the_published_size(name: str, tmp_path: Any) -> None:
    """With random weights: public ones are downloads."""
    architecture = orb_v3_direct_architecture if "direct" in name else orb_v3_conservative_architecture
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(architecture(device="cpu").state_dict(), tmp_path / "weights.ckpt")
    model = named(f"{name}:{tmp_path / 'weights.ckpt'}")
    expected = 20 if "20" in name else 120
    assert model.system_config == SystemConfig(6.0, expected)
    atoms = rattled(bulk("NaCl", "rocksalt", a=5.6, cubic=True), 0.1)
    assert DistCalculator(model, partitions=2, dtype="float64").verify(atoms).forces < 1e-9
    assert DistCalculator(model, partitions=2).verify(atoms).forces < 1e-4
