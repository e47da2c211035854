"""Every family that is installed, on a GPU and on a GPU and the CPU, beside its undivided original."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from support.gpu import ALONE_AND_BESIDE_THE_CPU
from support.structures import oxide

from distmlip import DistCalculator

pytestmark = pytest.mark.cuda

TOLERANCE = {"energy_per_atom": 1e-9, "forces": 1e-8, "stress": 1e-10}
"""In float64: the orders of sums differ between devices, and on a GPU from call to call."""
PARITY = 1e-9
"""Of parameter gradients, relative, in float64."""


def chgnet() -> Any:
    from support.chgnet_models import build_narrow

    return build_narrow()


def mace() -> Any:
    from support.mace_models import narrow

    return narrow()


def tensornet() -> Any:
    from support.matgl_models import tensornet

    return tensornet("torch")


def tensornet_warp() -> Any:
    pytest.importorskip("warp")
    from support.matgl_models import tensornet

    return tensornet("warp")


def qet() -> Any:
    from support.matgl_models import qet

    return qet("torch")


def m3gnet() -> Any:
    from support.matgl_threebody_models import m3gnet

    return m3gnet("plain")


def matgl_chgnet() -> Any:
    from support.matgl_threebody_models import chgnet

    return chgnet("plain")


def esen() -> Any:
    from support.esen_models import narrow

    return narrow("esen")


def sevennet() -> Any:
    from support.sevennet_models import narrow

    return narrow()


FAMILIES: dict[Callable[[], Any], str] = {
    chgnet: "chgnet",
    mace: "mace",
    tensornet: "matgl",
    tensornet_warp: "matgl",
    qet: "matgl",
    m3gnet: "matgl",
    matgl_chgnet: "matgl",
    esen: "fairchem.core",
    sevennet: "sevenn",
}
"""A narrow model, and the package that it needs."""


@pytest.mark.parametrize("devices", ALONE_AND_BESIDE_THE_CPU)
@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_family(family: Callable[[], Any], partitions: int, devices: list[str]) -> None:
    pytest.importorskip(FAMILIES[family])
    calculator = DistCalculator(family(), devices=devices, partitions=partitions, dtype="float64")
    found = calculator.verify(oxide().atoms)
    assert found.energy_per_atom <= TOLERANCE["energy_per_atom"], found
    assert found.forces <= TOLERANCE["forces"], found
    assert found.stress is not None, found
    assert found.stress <= TOLERANCE["stress"], found


@pytest.mark.parametrize("devices", ALONE_AND_BESIDE_THE_CPU)
def test_training_of_chgnet(devices: list[str]) -> None:
    pytest.importorskip("chgnet")
    from support.originals import training_difference

    model = copy.deepcopy(chgnet()).double().eval()
    assert training_difference(model, oxide().atoms, partitions=4, devices=devices) <= PARITY
