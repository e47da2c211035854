"""What people hand over in place of a model, of atoms or of a calculator: the error says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import (
    AverageCalculator,
    LinearCombinationCalculator,
    MixedCalculator,
    Mixer,
    SumCalculator,
)
from ase.db.row import AtomsRow
from ase.filters import FrechetCellFilter
from chgnet.model import CHGNetCalculator, MolecularDynamics, StructOptimizer
from mace.calculators import MACECalculator
from matgl.ext.ase import PESCalculator
from pymatgen.io.ase import AseAtomsAdaptor
from support.chgnet_models import build_narrow
from support.mace_models import narrow
from support.structures import oxide

from distmlip import DistCalculator, DistModel, neighbor_list, partition
from distmlip.errors import InvalidInputError, UnsupportedModelError

# ---- in place of a model


class Corrected(Calculator):
    """As dispersion corrections with a calculator inside are made, and formation energies."""

    implemented_properties = ("energy",)

    def __init__(self, **parts: Any) -> None:
        super().__init__()
        self.__dict__.update(parts)


def mace() -> MACECalculator:
    return MACECalculator(models=[narrow()], device="cpu")


def chgnet() -> CHGNetCalculator:
    return CHGNetCalculator(build_narrow(), use_device="cpu")


MIXTURES = {
    "sum": (
        lambda: SumCalculator([mace(), LennardJones()]),
        "SumCalculator mixes MACECalculator and LennardJones; distribute the MACECalculator and mix again: "
        "with calcs = calculator.mixer.calcs, SumCalculator([DistCalculator(calcs[0]), calcs[1]])",
    ),
    "the model is not the first": (
        lambda: SumCalculator([LennardJones(), chgnet()]),
        "SumCalculator([calcs[0], DistCalculator(calcs[1])])",
    ),
    "two models": (
        lambda: AverageCalculator([mace(), chgnet()]),
        "the MACECalculator and the CHGNetCalculator and mix again: with calcs = calculator.mixer.calcs, "
        "LinearCombinationCalculator([DistCalculator(calcs[0]), DistCalculator(calcs[1])], [0.5, 0.5])",
    ),
    "weights": (
        lambda: MixedCalculator(LennardJones(), chgnet(), 0.25, 0.75),
        "LinearCombinationCalculator([calcs[0], DistCalculator(calcs[1])], [0.25, 0.75])",
    ),
    "mixer": (
        lambda: Mixer([chgnet(), LennardJones()], [1.0, 1.0]),
        "with calcs = calculator.calcs, SumCalculator([DistCalculator(calcs[0]), calcs[1]])",
    ),
    "correction": (
        lambda: Corrected(dft=chgnet()),
        "Corrected corrects the results of a CHGNetCalculator; distribute that one, and make the Corrected "
        "anew: Corrected(dft=DistCalculator(calculator.dft), ...)",
    ),
    "wrapper": (lambda: Corrected(calculator=chgnet()), "Corrected(calculator=DistCalculator("),
    "no model": (lambda: SumCalculator([LennardJones(), LennardJones()]), "SumCalculator is not supported"),
    "in a list": (lambda: [SumCalculator([chgnet(), LennardJones()])], "DistCalculator(calcs[0])"),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_of_calculators_says_how_to_distribute_its_model(name: str) -> None:
    make, message = MIXTURES[name]
    with pytest.raises(UnsupportedModelError, match=re.escape(message)):
        DistCalculator(make())


@pytest.mark.parametrize("weights", [[1.0, 1.0], [0.25, 0.75]])
def test_what_the_error_says_to_do_gives_the_mixture(weights: list[float]) -> None:
    mixture = LinearCombinationCalculator([chgnet(), LennardJones(epsilon=0.05, sigma=1.7, rc=5.0)], weights)
    with pytest.raises(UnsupportedModelError) as caught:
        DistCalculator(mixture)
    instead = re.search(r"= calculator.mixer.calcs, (.*)$", str(caught.value))
    assert instead is not None
    atoms = oxide().atoms
    names = {
        "DistCalculator": lambda model: DistCalculator(model, partitions=3),
        "SumCalculator": SumCalculator,
        "LinearCombinationCalculator": LinearCombinationCalculator,
        "calcs": mixture.mixer.calcs,
    }
    ours = eval(instead[1], names)
    for quantity, tolerance in (("energy", 1e-4), ("forces", 1e-4), ("stress", 1e-5)):
        np.testing.assert_allclose(
            ours.get_property(quantity, atoms),
            mixture.get_property(quantity, atoms),
            atol=tolerance,
            err_msg=quantity,
        )


# ---- in place of atoms


def phonopy_like() -> object:
    kind = type("PhonopyAtoms", (), {})
    kind.__module__ = "phonopy.structure.atoms"
    return kind()


NO_ATOMS = {
    "pymatgen": (
        lambda: AseAtomsAdaptor.get_structure(oxide().atoms),
        "pymatgen.core.structure.Structure, not an ase.Atoms; convert it with pymatgen.io.ase.Ase",
    ),
    "list": (lambda: [oxide().atoms], "list, not an ase.Atoms; give one structure at a time"),
    "file": (lambda: "POSCAR", "read the file with ase.io.read('POSCAR')"),
    "path": (lambda: Path("a.cif"), "read the file with ase.io.read('a.cif')"),
    "filter": (
        lambda: FrechetCellFilter(oxide().atoms),
        "FrechetCellFilter, not an ase.Atoms; give its .atoms",
    ),
    "phonopy": (phonopy_like, "convert it with ase.Atoms(p.symbols, scaled_positions=p.scaled_positions"),
    "row": (lambda: AtomsRow(oxide().atoms), "give its .toatoms()"),
    "positions": (lambda: np.zeros((3, 3)), "numpy.ndarray, not an ase.Atoms; make one with ase.Atoms("),
}

CALLS: dict[str, Callable[[DistCalculator, Any], object]] = {
    "calculate": lambda calculator, given: calculator.calculate(given),
    "energy": lambda calculator, given: calculator.get_potential_energy(given),
    "forces": lambda calculator, given: calculator.get_property("forces", given),
    "required": lambda calculator, given: calculator.calculation_required(given, ["energy"]),
    "plan": lambda calculator, given: calculator.plan(given),
    "profile": lambda calculator, given: calculator.profile(given),
    "verify": lambda calculator, given: calculator.verify(given),
    "training": lambda _, given: DistModel(build_narrow())(given),
    "neighbours": lambda _, given: neighbor_list("ij", given, 3.0),
    "partition": lambda _, given: partition(given, 3.0, 2),
}


@pytest.mark.parametrize("name", NO_ATOMS)
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_what_is_no_atoms_is_named_with_the_way_to_atoms(name: str, used: bool) -> None:
    make, message = NO_ATOMS[name]
    calculator, atoms = DistCalculator(build_narrow(), partitions=2), oxide().atoms
    if used:
        calculator.get_potential_energy(atoms)
    for call in CALLS.values():
        with pytest.raises(InvalidInputError, match=re.escape(message)):
            call(calculator, make())
    assert np.isfinite(calculator.get_potential_energy(atoms))


def test_a_converted_structure_is_calculated() -> None:
    atoms = oxide().atoms
    again = AseAtomsAdaptor.get_atoms(AseAtomsAdaptor.get_structure(atoms))
    calculator = DistCalculator(build_narrow(), partitions=2, dtype="float64")
    assert calculator.get_potential_energy(again) == pytest.approx(calculator.get_potential_energy(atoms))


# ---- a calculator in place of a model

MODEL_WANTED: dict[str, Callable[[DistCalculator], object]] = {
    "chgnet's optimizer": lambda calculator: StructOptimizer(model=calculator),
    "chgnet's calculator": CHGNetCalculator,
    "matgl's calculator": PESCalculator,
    "as chgnet predicts": lambda calculator: calculator.predict_structure(oxide().atoms),
    "as a module": lambda calculator: calculator.eval(),
}


@pytest.mark.parametrize("name", MODEL_WANTED)
def test_who_takes_a_calculator_for_a_model_is_told(name: str) -> None:
    calculator = DistCalculator(build_narrow())
    with pytest.raises(AttributeError, match=r"an ASE calculator, not a model; set atoms.calc = calculator"):
        MODEL_WANTED[name](calculator)


def test_what_is_not_there_is_plainly_missing() -> None:
    calculator = DistCalculator(build_narrow())
    with pytest.raises(AttributeError, match=r"'DistCalculator' object has no attribute 'partitoins'$"):
        _ = calculator.partitoins
    assert not hasattr(calculator, "to")
    empty = DistCalculator.__new__(DistCalculator)
    assert not hasattr(empty, "_lock")


def test_dynamics_of_chgnet_take_the_calculator() -> None:
    atoms = oxide().atoms
    expected = DistCalculator(build_narrow()).get_potential_energy(atoms)
    dynamics = MolecularDynamics(atoms, model=DistCalculator(build_narrow(), partitions=2), ensemble="nve")
    assert dynamics.atoms.get_potential_energy() == pytest.approx(expected, abs=1e-4)
