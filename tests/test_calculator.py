"""DistCalculator as an ASE calculator: drivers, caching, copies, threads, bad input."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.filters import FrechetCellFilter
from ase.io import read
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import FIRE
from chgnet.model import CHGNet
from support.chgnet_models import build_narrow, published
from support.mace_models import narrow
from support.structures import oxide, oxide_cell

from distmlip import DistCalculator
from distmlip.errors import (
    DeviceError,
    InvalidInputError,
    NonFiniteResultError,
    UnsupportedElementError,
    UnsupportedModelError,
)


@pytest.fixture(scope="module", params=[build_narrow, narrow], ids=["chgnet", "mace"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return request.param()


@pytest.fixture
def atoms(model: torch.nn.Module) -> Atoms:
    structure = oxide().atoms
    structure.calc = DistCalculator(model, partitions=3, dtype="float64")
    return structure


def forces_of(structure: Atoms, model: torch.nn.Module, **options) -> np.ndarray:
    structure = structure.copy()
    structure.calc = DistCalculator(model, dtype="float64", **options)
    return structure.get_forces()


# ---- results


def test_results_are_consistent(atoms: Atoms) -> None:
    energy = atoms.get_potential_energy()
    results = atoms.calc.results
    assert isinstance(energy, float)
    assert results["free_energy"] == energy
    assert results["energies"].sum() == pytest.approx(energy, abs=1e-9)
    assert atoms.get_stress().shape == (6,)
    np.testing.assert_allclose(atoms.get_stresses().sum(axis=0), atoms.get_stress(), atol=1e-12)
    np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0, atol=1e-10)


def test_a_left_handed_cell_has_the_stress_of_its_mirror_image(atoms: Atoms) -> None:
    mirrored = atoms.copy()
    mirrored.positions[:, 0] *= -1
    mirrored.cell[:, 0] *= -1
    mirrored.calc = copy.copy(atoms.calc)
    assert np.linalg.det(mirrored.cell.array) < 0
    sign = np.array([1, 1, 1, 1, -1, -1])  # xx yy zz yz xz xy
    np.testing.assert_allclose(mirrored.get_stress(), sign * atoms.get_stress(), atol=1e-12)


def test_a_cell_without_volume_has_no_stress(model: torch.nn.Module) -> None:
    pair = Atoms("O2", positions=[[0, 0, 0], [0, 0, 1.3]])
    pair.calc = DistCalculator(model, partitions=2)
    assert np.isfinite(pair.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        pair.get_stress()


def test_a_flat_cell_has_no_stress(model: torch.nn.Module) -> None:
    trio = Atoms(
        "O3",
        positions=[[0, 0, 0], [0, 0, 1.3], [1.2, 0, 0.2]],
        cell=[[1, 0.1, 0.3], [0, 1, 0.7], [1, 1.1, 1]],
    )
    trio.calc = DistCalculator(model)
    assert np.isfinite(trio.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        trio.get_stress()


# ---- invariance


@pytest.mark.parametrize("n_partitions", [2, 3, 5, 40])
def test_partitions_change_nothing(atoms: Atoms, model: torch.nn.Module, n_partitions: int) -> None:
    whole = forces_of(atoms, model, partitions=1)
    for method in ("slab", "bisection"):
        cut = forces_of(atoms, model, partitions=n_partitions, method=method)
        np.testing.assert_allclose(cut, whole, atol=1e-10)


def test_permuted_atoms(atoms: Atoms, model: torch.nn.Module) -> None:
    order = np.random.default_rng(3).permutation(len(atoms))
    np.testing.assert_allclose(
        forces_of(atoms[order], model, partitions=3), forces_of(atoms, model, partitions=3)[order], atol=1e-10
    )


@pytest.mark.parametrize("lattice", [False, True])
def test_translated_atoms(atoms: Atoms, model: torch.nn.Module, lattice: bool) -> None:
    expected = forces_of(atoms, model, partitions=3)
    moved = atoms.copy()
    if lattice:
        multiples = np.random.default_rng(1).integers(-3, 4, (len(atoms), 3))
        moved.positions += multiples @ atoms.cell.array
    else:
        moved.translate([1.234, -57.1, 0.77])
    np.testing.assert_allclose(forces_of(moved, model, partitions=3), expected, atol=1e-9)


def test_rotated_cell_and_atoms(atoms: Atoms, model: torch.nn.Module) -> None:
    expected = forces_of(atoms, model, partitions=3)
    rotated = atoms.copy()
    rotated.rotate(37, [1, 2, 3], rotate_cell=True)
    rotation = np.linalg.solve(atoms.cell.array, rotated.cell.array)
    np.testing.assert_allclose(forces_of(rotated, model, partitions=3), expected @ rotation, atol=1e-9)


def test_weights_move_the_cut(atoms: Atoms, model: torch.nn.Module) -> None:
    heavy = np.where(atoms.get_scaled_positions()[:, 1] < 0.3, 30.0, 1.0)  # at one end of the longest axis
    plain = DistCalculator(model, partitions=3).plan(atoms)
    weighted = DistCalculator(model, partitions=3, weights=heavy).plan(atoms)
    assert plain.owned != weighted.owned
    np.testing.assert_allclose(
        forces_of(atoms, model, partitions=3, weights=heavy),
        forces_of(atoms, model, partitions=1),
        atol=1e-10,
    )


# ---- drivers


def thermalise(atoms: Atoms) -> None:
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    Stationary(atoms)


def test_relaxation_of_atoms_and_cell(atoms: Atoms) -> None:
    before = atoms.get_potential_energy()
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=6)
    assert atoms.get_potential_energy() < before


def test_velocity_verlet_conserves_energy() -> None:
    atoms = oxide_cell() * (2, 1, 1)
    atoms.calc = DistCalculator(published("0.3.0"), partitions=2)
    thermalise(atoms)
    dynamics = VelocityVerlet(atoms, 1.0 * units.fs)
    totals = []
    dynamics.attach(lambda: totals.append(atoms.get_total_energy() / len(atoms)))
    dynamics.run(200)
    assert len(totals) == 201
    assert max(totals) - min(totals) < 1e-3


def test_langevin_follows_the_undivided_run(atoms: Atoms, model: torch.nn.Module) -> None:
    def run(partitions: int) -> np.ndarray:
        structure = atoms.copy()
        structure.calc = DistCalculator(model, partitions=partitions, dtype="float64")
        thermalise(structure)
        rng = np.random.RandomState(1)
        Langevin(structure, 1 * units.fs, temperature_K=300, friction=0.02, rng=rng).run(10)
        return structure.positions

    np.testing.assert_allclose(run(4), run(1), atol=1e-9)


def test_neb_with_one_calculator_per_image(atoms: Atoms, model: torch.nn.Module) -> None:
    images = [atoms.copy() for _ in range(4)]
    images[-1].positions[0] += [0.4, 0.1, 0.0]
    band = NEB(images)
    band.interpolate()
    for k, image in enumerate(images):
        image.calc = DistCalculator(model, partitions=k + 1, dtype="float64")
    forces = band.get_forces()
    assert np.isfinite(forces).all()
    single = NEB(images, allow_shared_calculator=True)
    shared = DistCalculator(model, partitions=2, dtype="float64")
    for image in images:
        image.calc = shared
    np.testing.assert_allclose(forces, single.get_forces(), atol=1e-9)


# ---- ASE's contract


def test_results_are_cached(atoms: Atoms, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    evaluate = atoms.calc._evaluator.evaluate
    monkeypatch.setattr(atoms.calc._evaluator, "evaluate", lambda *a: calls.append(1) or evaluate(*a))
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    assert len(calls) == 1
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    assert len(calls) == 2
    atoms.numbers[0] = 25
    atoms.get_forces()
    assert len(calls) == 3


def test_copies_are_independent_and_share_the_model(atoms: Atoms, model: torch.nn.Module) -> None:
    expected = atoms.get_forces()
    for twin in (copy.copy(atoms.calc), copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        other = atoms.copy()
        other.calc = twin
        np.testing.assert_array_equal(other.get_forces(), expected)
    assert copy.deepcopy(atoms.calc)._arguments[0] is model


def test_trajectory(atoms: Atoms, tmp_path) -> None:
    path = tmp_path / "run.traj"
    forces = atoms.get_forces()
    with Trajectory(path, "w", atoms) as trajectory:
        trajectory.write()
    again = read(path)
    np.testing.assert_allclose(again.get_forces(), forces)
    assert again.calc.name == "distmlip"
    assert again.calc.parameters["partitions"] == 3


def test_calculators_in_threads(atoms: Atoms, model: torch.nn.Module) -> None:
    expected = atoms.get_forces()
    found = {}

    def work(k: int) -> None:
        found[k] = forces_of(atoms, model, partitions=3)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert set(found) == {0, 1, 2, 3}
    for forces in found.values():
        np.testing.assert_array_equal(forces, expected)


def test_one_calculator_shared_by_threads(atoms: Atoms, model: torch.nn.Module) -> None:
    structures = [atoms.copy() for _ in range(3)]
    for k, structure in enumerate(structures):
        structure.rattle(0.1, seed=k)
    expected = [forces_of(structure, model, partitions=3) for structure in structures]
    shared = DistCalculator(model, partitions=3, dtype="float64")
    worst = {}

    def work(k: int) -> None:
        worst[k] = max(
            np.abs(shared.get_property("forces", structures[k]) - expected[k]).max() for _ in range(4)
        )

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert set(worst) == {0, 1, 2}
    assert max(worst.values()) < 1e-9


def test_the_model_is_not_changed(atoms: Atoms) -> None:
    model = build_narrow().train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    forces_of(atoms, model, partitions=2)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    after = model.state_dict()
    assert {name: t.dtype for name, t in after.items()} == {name: t.dtype for name, t in before.items()}
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_verify_reports_differences(atoms: Atoms, model: torch.nn.Module) -> None:
    difference = atoms.calc.verify(atoms)
    assert difference.energy_per_atom < 1e-10
    assert 0 < difference.forces < 1e-9
    assert difference.stress is not None
    assert difference.stress < 1e-11
    assert "eV/Ang" in str(difference)
    assert str(difference).isascii()


# ---- bad input

BAD_OPTIONS = [
    (dict(partitions=0), InvalidInputError, "partitions=0"),
    (dict(partitions=2.5), InvalidInputError, "partitions=2.5"),
    (dict(partitions="many"), InvalidInputError, "partitions='many'"),
    (dict(partitions=5_000_000), InvalidInputError, "between 1 and 1000000"),
    (dict(partitions=np.array([1, 2])), InvalidInputError, "whole number"),
    (dict(devices=0), InvalidInputError, "devices=0"),
    (dict(devices=None), InvalidInputError, "devices=None"),
    (dict(skin=-0.1), InvalidInputError, "skin=-0.1"),
    (dict(skin=float("nan")), InvalidInputError, "skin=nan"),
    (dict(method="metis"), InvalidInputError, "method='metis'"),
    (dict(recompute="sometimes"), InvalidInputError, "recompute='sometimes'"),
    (dict(dtype="float16"), InvalidInputError, "dtype='float16'"),
    (dict(devices="cuda:99"), DeviceError, "cuda:99"),
    (dict(devices="abacus"), DeviceError, "abacus"),
    (dict(devices="meta"), DeviceError, "meta"),
    (dict(devices=[]), InvalidInputError, "at least one"),
    (dict(weights=[1.0, -1.0]), InvalidInputError, "weights"),
    (dict(weights=[[1.0]]), InvalidInputError, "weights"),
    (dict(weights=["a"]), InvalidInputError, "weights"),
    (dict(no_such_option=1), InvalidInputError, "no_such_option"),
]


@pytest.mark.parametrize(
    ("options", "error", "message"), BAD_OPTIONS, ids=[str(row[0]) for row in BAD_OPTIONS]
)
def test_bad_option(model: torch.nn.Module, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DistCalculator(model, **options)


@pytest.mark.parametrize("thing", [None, "model.pt", torch.nn.Linear(1, 1), [], object()])
def test_unsupported_model(thing: object) -> None:
    with pytest.raises(UnsupportedModelError, match="not supported"):
        DistCalculator(thing)


def _nan(atoms: Atoms) -> None:
    atoms.positions[3, 1] = np.nan


def _infinite(atoms: Atoms) -> None:
    atoms.positions[3, 1] = np.inf


def _flat(atoms: Atoms) -> None:
    atoms.set_cell([[1, 0, 0], [0, 1, 0], [1, 1, 0]])


def _no_cell(atoms: Atoms) -> None:
    atoms.set_cell(np.zeros((3, 3)))


def _nan_cell(atoms: Atoms) -> None:
    atoms.cell[0, 0] = np.nan


def _unknown_element(atoms: Atoms) -> None:
    atoms.numbers[2] = 118


def _no_elements(atoms: Atoms) -> None:
    atoms.numbers[[2, 3, 4]] = 200, -1, 0


def _empty(atoms: Atoms) -> None:
    del atoms[:]


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_empty, InvalidInputError, "no atoms"),
        (_nan, InvalidInputError, "atom 3 is at .*nan"),
        (_infinite, InvalidInputError, "atom 3 is at .*inf"),
        (_flat, InvalidInputError, "volume"),
        (_no_cell, InvalidInputError, "cell"),
        (_nan_cell, InvalidInputError, "cell"),
        (_unknown_element, UnsupportedElementError, r"Og \(118\)"),
        (
            _no_elements,
            UnsupportedElementError,
            r"-1 \(no element\), X \(0, no element\), 200 \(no element\)",
        ),
    ],
)
def test_bad_structure_computes_nothing_and_leaves_the_calculator_usable(
    atoms: Atoms, spoil, error: type[Exception], message: str
) -> None:
    good = atoms.copy()
    expected = atoms.get_forces()
    spoil(atoms)
    for call in (atoms.get_forces, lambda: atoms.calc.plan(atoms), lambda: atoms.calc.verify(atoms)):
        with pytest.raises(error, match=message):
            call()
    good.calc = atoms.calc
    np.testing.assert_array_equal(good.get_forces(), expected)


def test_a_model_with_a_forward_of_its_own() -> None:
    class Doubled(CHGNet):
        def _compute(self, *args, **kwargs):
            return super()._compute(*args, **kwargs)

    changed = build_narrow()
    changed.__class__ = Doubled
    with pytest.raises(UnsupportedModelError, match="Doubled"):
        DistCalculator(changed)


def test_property_that_is_not_implemented(atoms: Atoms) -> None:
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()


def test_weights_of_another_structure(model: torch.nn.Module, atoms: Atoms) -> None:
    atoms.calc = DistCalculator(model, weights=[1.0, 2.0])
    with pytest.raises(InvalidInputError, match="2 entries"):
        atoms.get_forces()


def test_a_model_that_gives_nan_raises(atoms: Atoms) -> None:
    broken = build_narrow()
    with torch.no_grad():
        next(broken.mlp.parameters()).fill_(float("nan"))
    atoms.calc = DistCalculator(broken)
    with pytest.raises(NonFiniteResultError, match="not finite"):
        atoms.get_potential_energy()
    assert atoms.calc.results == {}


def test_options_cannot_be_changed_later(atoms: Atoms) -> None:
    with pytest.raises(InvalidInputError, match="partitions"):
        atoms.calc.set(partitions=2)


def test_nothing_to_calculate(model: torch.nn.Module) -> None:
    with pytest.raises(InvalidInputError, match="no atoms"):
        DistCalculator(model).calculate()
    with pytest.raises(InvalidInputError, match="no atoms"):
        DistCalculator(model).plan()


def test_atoms_that_touch(model: torch.nn.Module) -> None:
    """Two atoms at one place: a number or a clear error, never a crash."""
    copper = bulk("Cu", cubic=True)
    copper.positions[1] = copper.positions[0]
    copper.calc = DistCalculator(model, partitions=2)
    try:
        assert np.isfinite(copper.get_forces()).all()
    except NonFiniteResultError as error:
        assert "very close" in str(error)
