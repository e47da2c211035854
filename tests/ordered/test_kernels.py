"""Graphs made by our own kernels on devices that tell what is not ordered; what a step costs the host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from ase.build import bulk
from ordered.device import core as device
from ordered.device import watched
from ordered.toy_runs import calculate, copper
from support import chgnet_models, structures
from support.toy import ToyModel, ToyOnDevices

from distmlip import DistCalculator, DistModel
from distmlip._native import core

ORDERED = torch.device("ordered:0")
DEVICES = [["ordered:0"], ["ordered:0", "ordered:1"], ["ordered:1", "cpu"]]


@pytest.fixture(autouse=True)
def own_kernels() -> Iterator[None]:
    core.stand_in(ORDERED, (device.begin_kernel, device.end_kernel, device.wait_for_kernels))
    yield
    core.stand_in(ORDERED)


@pytest.mark.parametrize("devices", DEVICES, ids=",".join)
@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("has_stream", [False, True])
def test_nothing_is_out_of_order(devices: list[str], partitions: int, has_stream: bool) -> None:
    with watched() as found, torch.Stream(device="ordered:0") if has_stream else nullcontext():
        calculate(devices, partitions)
        launches, _, _ = device.take_counts()
    assert not found
    assert launches["own kernel"] > 10


@pytest.mark.parametrize("devices", DEVICES, ids=",".join)
def test_a_family(devices: list[str]) -> None:
    atoms = structures.oxide().atoms
    with watched() as found:
        calculator = DistCalculator(
            chgnet_models.build_narrow(), devices=devices, partitions=4, dtype="float64"
        )
        difference = calculator.verify(atoms)
        launches, _, _ = device.take_counts()
    assert launches["own kernel"] > 10
    assert difference.energy_per_atom < 1e-9
    assert difference.forces < 1e-8
    assert not found


def test_a_model_with_angles_waits_for_nothing_inside_its_stages() -> None:
    atoms = structures.oxide().atoms
    atoms.calc = DistCalculator(
        chgnet_models.build_narrow(), devices=["ordered:0"], partitions=4, dtype="float64"
    )
    atoms.get_forces()
    atoms.calc.reset()
    device.take_counts()
    atoms.get_forces()
    launches, waits, _ = device.take_counts()
    assert launches["own kernel"] > 10
    assert not {why for why in waits if why.startswith("aten::")}


def predict_on_a_stream() -> list[str]:
    with watched() as found, torch.Stream(device="ordered:0"):
        energy, _, _ = DistModel(ToyOnDevices([ToyModel()]), devices=["ordered:0"], partitions=3)(copper())
        energy.backward()
    return found


def test_training_on_the_callers_stream() -> None:
    assert not predict_on_a_stream()


def test_training_that_does_not_join_the_callers_stream_would_be_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(core, "DefaultStreams", lambda devices: nullcontext())
    assert predict_on_a_stream()


# ---- what a step costs the host, beside the model


def costs_of_step(partitions: int, bond_cutoff: float) -> tuple[Counter[str], Counter[str]]:
    """Launches and waits of a step: new positions to graphs, gradients of edges to forces and virials."""
    atoms = bulk("Cu", cubic=True) * 3
    atoms.rattle(0.05, seed=1)
    cut = core.Decomposition(
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=4.0,
        bond_cutoff=bond_cutoff,
        skin=0.3,
        n_partitions=partitions,
        device=ORDERED,
    )
    step = core.Step(cut, [ORDERED] * partitions, torch.float32)
    costs: list[Any] = []
    for _ in range(2):  # the first one is no different
        device.take_counts()
        step.update(atoms.positions, atoms.cell.array)
        launches, waits, _ = device.take_counts()
        gradients = [torch.ones_like(part.vectors) for part in step.parts]
        device.take_counts()
        step.forces(gradients, True)
        more, waits_for_forces, _ = device.take_counts()
        costs.append((Counter(launches) + Counter(more), Counter(waits) + Counter(waits_for_forces)))
    assert costs[0] == costs[1]
    assert min(step.n_edges) > 0
    assert (min(step.n_cut) > 0) == (bond_cutoff > 0 and partitions > 1)
    return costs[1]


def n_launched(launches: Counter[str]) -> int:
    """As on CUDA, where a sum is two kernels and a copy is none."""
    return sum(n * (2 if name == "own sum" else 1) for name, n in launches.items() if "copy" not in name)


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize(
    ("bond_cutoff", "most_launches", "most_waits"), [(0.0, 10, 2), (3.0, 30, 3)], ids=["edges", "bonds"]
)
def test_launches_and_waits_of_a_step(
    partitions: int, bond_cutoff: float, most_launches: int, most_waits: int
) -> None:
    with watched() as found:
        launches, waits = costs_of_step(partitions, bond_cutoff)
    assert not found
    assert n_launched(launches) <= most_launches * partitions
    assert sum(waits.values()) <= most_waits * partitions
