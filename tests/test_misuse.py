"""Objects that people hand over in place of a model, of atoms or of a calculator: the error says what to do."""

from __future__ import annotations

import re
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
from chgnet.model import CHGNetCalculator
from mace.calculators import MACECalculator
from support.chgnet_models import build_narrow
from support.mace_models import narrow
from support.structures import oxide

from distmlip import DistCalculator
from distmlip.errors import UnsupportedModelError

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
