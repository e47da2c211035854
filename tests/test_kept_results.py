"""Results of a calculator: which there are, how long they are true, and what copies have of them."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError


class Charged(ToyAdapter):
    """Reads a charge of the system and of every atom, and has results that ASE does not know."""

    implemented_properties = (*ToyAdapter.implemented_properties, "site_charges", "note")
    n_evaluations = 0

    def system(self, atoms: Atoms) -> dict[str, torch.Tensor]:
        # As adapters may: the tensors share memory with the user's arrays.
        charge = torch.as_tensor(atoms.info.get("charge", np.zeros(1)))
        return {"charge": charge, "sites": torch.as_tensor(atoms.arrays.get("sites", np.zeros(len(atoms))))}

    def results(self, atoms: Atoms, evaluations: Any) -> dict[str, Any]:
        type(self).n_evaluations += 1
        found = super().results(atoms, evaluations)
        system = self.system(atoms)
        charge = float(system["charge"].sum() + system["sites"].sum())
        return {**found, "energy": found["energy"] + charge, "site_charges": np.ones(len(atoms)), "note": "x"}


@pytest.fixture
def atoms() -> Atoms:
    Charged.n_evaluations = 0
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = DistCalculator(Charged([ToyModel()]), partitions=2, devices="cpu")
    return atoms


def test_results_are_properties_of_ase_and_extras_are_the_rest(atoms: Atoms) -> None:
    energy = atoms.get_potential_energy()
    frozen = SinglePointCalculator(atoms, **atoms.calc.results)
    assert frozen.get_potential_energy(atoms) == energy
    assert atoms.calc.export_properties()["forces"].shape == (4, 3)
    assert set(atoms.calc.extras) == {"site_charges", "note"}
    assert atoms.calc.get_property("note", atoms) == "x"
    assert Charged.n_evaluations == 1
    assert atoms.get_properties(["energy", "forces"])["energy"] == energy


def test_extras_are_found_like_properties(atoms: Atoms) -> None:
    calculator = atoms.calc
    assert calculator.extras == {}
    assert calculator.get_property("site_charges", atoms, allow_calculation=False) is None
    assert Charged.n_evaluations == 0
    charges = calculator.get_property("site_charges", atoms)
    charges[:] = 7  # the caller's own copy
    assert calculator.get_property("site_charges", atoms).tolist() == [1.0] * 4
    assert not calculator.calculation_required(atoms, ["energy", "note"])
    assert Charged.n_evaluations == 1
    atoms.positions[0] += 0.1
    assert calculator.calculation_required(atoms, ["note"])
    assert calculator.get_property("note", atoms) == "x"
    assert Charged.n_evaluations == 2
    calculator.reset()
    assert calculator.extras == {}


@pytest.mark.parametrize("kind", ["info", "arrays"])
def test_what_is_changed_in_place_is_seen(atoms: Atoms, kind: str) -> None:
    if kind == "info":
        atoms.info["charge"] = changed = np.zeros(1)
    else:
        atoms.arrays["sites"] = changed = np.zeros(len(atoms))
    before = atoms.get_potential_energy()
    changed[0] += 2.0
    assert atoms.get_potential_energy() == pytest.approx(before + 2.0, abs=1e-12)
    changed[0] -= 2.0
    assert atoms.get_potential_energy() == pytest.approx(before, abs=1e-12)
    assert Charged.n_evaluations == 3


def test_weights_are_taken_by_value() -> None:
    atoms = bulk("Cu", cubic=True)
    weights = np.array([1.0, 0.0, 0.0, 1.0])
    calculator = DistCalculator(ToyAdapter([ToyModel()]), partitions=2, weights=weights, devices="cpu")
    before = calculator.plan(atoms).owned
    weights[:] = np.nan
    assert copy.copy(calculator).plan(atoms).owned == before


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))],
    ids=["copy", "deep", "pickle"],
)
def test_copies_keep_results_and_the_atoms_that_they_belong_to(
    atoms: Atoms, copied: Any, tmp_path: Path
) -> None:
    if copied is copy.copy:
        twin = atoms.copy()
        twin.calc = copy.copy(atoms.calc)
        assert twin.calc.results == {}
    atoms.get_stress()
    twin = copied(atoms)
    if copied is copy.copy:
        twin.calc = copy.copy(atoms.calc)
    assert twin.calc is not atoms.calc
    assert twin.get_potential_energy() == atoms.get_potential_energy()
    assert twin.calc.get_property("note", twin) == "x"
    assert Charged.n_evaluations == 1
    twin.write(tmp_path / "copy.extxyz")
    assert read(tmp_path / "copy.extxyz").get_potential_energy() == pytest.approx(
        atoms.get_potential_energy()
    )
    twin.calc.results["forces"][:] = 7.0
    assert np.abs(atoms.get_forces()).max() < 7.0
    twin = twin.copy() if copied is copy.copy else twin
    twin.calc = copied(atoms.calc)
    twin.positions[0] += 0.2
    fresh = twin.copy()
    fresh.calc = DistCalculator(ToyAdapter([ToyModel()]), partitions=1, devices="cpu")
    assert twin.get_potential_energy() == pytest.approx(fresh.get_potential_energy(), abs=1e-10)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_of_a_calculator_that_was_given_its_own_atoms(atoms: Atoms, copied: Any) -> None:
    energy = atoms.get_potential_energy()
    atoms.calc.atoms = atoms
    assert copied(atoms).get_potential_energy() == energy
    assert Charged.n_evaluations == 1


def test_molecules_have_no_stress_and_say_why_without_an_evaluation() -> None:
    Charged.n_evaluations = 0
    water = molecule("H2O")
    water.calc = DistCalculator(Charged([ToyModel()]), partitions=2, devices="cpu")
    for ask in (water.get_stress, water.get_stresses, water.get_stress):
        with pytest.raises(PropertyNotImplementedError, match=r"no stress.*no volume.*center\(vacuum"):
            ask()
    assert Charged.n_evaluations == 0
    water.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="no volume"):
        water.get_stress()
    assert water.calc.get_property("stress", water, allow_calculation=False) is None
    assert Charged.n_evaluations == 1
    water.center(vacuum=3.0)
    assert water.get_stress().shape == (6,)


def test_what_the_model_does_not_have_is_said_as_ase_says_it(atoms: Atoms) -> None:
    with pytest.raises(PropertyNotImplementedError, match="dipole property not implemented"):
        atoms.calc.get_property("dipole", atoms)
    assert Charged.n_evaluations == 0


# --- one calculation at a time ------------------------------------------------------------------------------


class Interrupted(ToyAdapter):
    """Something else calculates in the midst of a calculation, as a signal handler may."""

    handler: Callable[[], object] = staticmethod(lambda: None)

    def results(self, atoms: Atoms, evaluations: Any) -> dict[str, Any]:
        self.handler()
        return super().results(atoms, evaluations)


def test_a_calculation_within_a_calculation_is_refused() -> None:
    adapter = Interrupted([ToyModel()])
    calculator, atoms = DistCalculator(adapter, partitions=2, devices="cpu"), bulk("Cu", cubic=True)
    other = atoms.copy()
    other.positions[0] += 0.1
    refused = []

    def handler() -> None:
        for ask in (calculator.get_forces, calculator.plan, calculator.profile):
            with pytest.raises(InvalidInputError, match="in the midst of another one") as found:
                ask(other)
            refused.append(found)

    adapter.handler = handler
    energy = calculator.get_potential_energy(atoms)
    assert len(refused) == 3
    adapter.handler = lambda: None
    expected = DistCalculator(ToyAdapter([ToyModel()]), partitions=1, devices="cpu")
    assert energy == pytest.approx(expected.get_potential_energy(atoms), abs=1e-10)
    assert calculator.get_potential_energy(other) == pytest.approx(
        expected.get_potential_energy(other), abs=1e-10
    )


def test_a_child_that_is_forked_in_the_midst_of_a_calculation_can_calculate() -> None:
    """The thread that holds the calculator's lock is not in the child."""
    adapter, entered, leave = Interrupted([ToyModel()]), threading.Event(), threading.Event()
    calculator, atoms = DistCalculator(adapter, partitions=2, devices="cpu"), bulk("Cu", cubic=True)

    def handler() -> None:
        if threading.current_thread() is thread:
            entered.set()
            leave.wait(60)

    adapter.handler = handler
    thread = threading.Thread(target=calculator.get_potential_energy, args=(atoms,))
    thread.start()
    assert entered.wait(60)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # the default action ends a child that waits for ever
        os.write(writer, f"{calculator.get_potential_energy(atoms)}".encode())
        os._exit(0)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert status == 0
    assert float(os.read(reader, 100)) == pytest.approx(calculator.get_potential_energy(atoms), abs=1e-10)
