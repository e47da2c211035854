"""Mistakes in an adapter of one's own: each is named, with the stage that has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.toy import WIDTH, ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError
from distmlip.models.interface import Adapter, Add, AllSum, EagerStage, Halo, Swap

Stages = list[EagerStage]


class Mistaken(ToyAdapter):
    """The toy model, whose stages somebody has changed."""

    def __init__(self, change: Callable[[Stages], Stages], n_models: int = 1, **members: Any) -> None:
        super().__init__([ToyModel()] * n_models)
        self.change = change
        vars(self).update(members)

    def stages(self, module: torch.nn.Module, recompute: bool) -> Stages:
        return self.change(list(super().stages(module, recompute)))

    def results(self, atoms: Atoms, evaluations: Any) -> dict[str, Any]:
        return Adapter.results(self, atoms, evaluations)


def with_fields(index: int, **fields: Any) -> Callable[[Stages], Stages]:
    def change(stages: Stages) -> Stages:
        stages[index] = replace(stages[index], **fields)
        return stages

    return change


def with_output(index: int, name: str, change: Callable[[torch.Tensor], Any]) -> Callable[[Stages], Stages]:
    """``change`` is applied to what a stage gives under a name."""

    def changed(stages: Stages) -> Stages:
        function = stages[index].function

        def other(graph, vectors, inputs):
            outputs = function(graph, vectors, inputs)
            return {**outputs, name: change(outputs[name])}

        stages[index] = replace(stages[index], function=other)
        return stages

    return changed


READS = ("features", "first", "sent", "bond_total", "sum", "cut_opinions")
HALO, ADD, SWAP = Halo("features", (WIDTH,)), Add("bond_total", (1,)), Swap("cut_opinions", (1,))

MISTAKES: dict[str, tuple[Callable[[Stages], Stages], str]] = {
    "no stages": (lambda stages: [], "no stages"),
    "exchanged, but not read": (with_fields(-1, reads=READS[1:]), "Halo.*'second layer'.*reads"),
    "exchanged twice": (with_fields(-1, before=(HALO, HALO)), "'second layer'.*once"),
    "read, but never written": (with_fields(-1, reads=(*READS, "spin")), r"'second layer' reads \['spin'\]"),
    "a name in place of names": (with_fields(0, writes="features"), "writes of stage 'first layer'"),
    "an exchange in place of exchanges": (with_fields(-1, before=HALO), "before of stage 'second layer'"),
    "no exchange": (with_fields(-1, before=("features",)), "'features'; it must be a Halo"),
    "cheap, but after an exchange": (with_fields(-1, is_cheap=True), "'second layer'.*is_cheap=True"),
    "a width that is a number": (
        with_fields(-1, before=(replace(HALO, width=WIDTH),)),
        "'second layer': width must be a tuple",
    ),
    "rows that do not exist": (with_fields(0, computes=("nodes",)), "computes of stage 'first layer'.*nodes"),
    "the energy is no result": (with_fields(-1, results=("norm",)), "last stage, 'second layer'.*'energy'"),
    "not returned": (with_fields(1, writes=("bond_total", "angles")), "'angles' says that it gives 'angles'"),
    "wrong width of a halo": (
        with_fields(-1, before=(replace(HALO, width=(WIDTH + 1,)),)),
        rf"'first layer' gives 'features'.*{WIDTH}\).*{WIDTH + 1}\)",
    ),
    "wrong shape of a sum": (
        with_fields(-1, before=(AllSum("sum", (2, WIDTH)),)),
        "'first layer' gives 'sum'",
    ),
    "rows of other atoms": (
        with_output(0, "features", lambda x: torch.cat([x, x[:1]])),
        "'first layer' gives 'features'",
    ),
    "rows of other bonds": (with_output(1, "bond_total", lambda x: x[:-1]), "'angles' gives 'bond_total'"),
    "a column of energies": (
        with_output(-1, "energy", lambda e: e[:, None]),
        "'second layer' gives 'energy'",
    ),
    "the sum of energies": (with_output(-1, "energy", lambda e: e.sum()), "'second layer' gives 'energy'"),
    "a result with too few rows": (with_output(-1, "norm", lambda n: n[1:]), "'second layer' gives 'norm'"),
}


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    return atoms


@pytest.mark.parametrize("partitions", [1, 3, 11])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_stage_is_named(mistake: str, partitions: int) -> None:
    change, message = MISTAKES[mistake]
    calculator = DistCalculator(Mistaken(change), partitions=partitions, devices="cpu")
    with pytest.raises(InvalidInputError, match=message):
        calculator.calculate(copper())


@pytest.mark.parametrize("exchange", [ADD, SWAP], ids=["add", "swap"])
def test_exchanges_of_bonds_need_bonds(exchange: Add | Swap) -> None:
    def change(stages: Stages) -> Stages:
        stages[1] = replace(stages[1], computes=())
        return with_fields(-1, before=(exchange,))(stages)

    calculator = DistCalculator(Mistaken(change, bond_cutoff=None), partitions=2, devices="cpu")
    with pytest.raises(InvalidInputError, match="bond_cutoff"):
        calculator.calculate(copper())


def test_angles_can_only_be_counted_where_there_are_bonds() -> None:
    calculator = DistCalculator(
        Mistaken(lambda stages: stages, bond_cutoff=None), partitions=2, devices="cpu"
    )
    with pytest.raises(InvalidInputError, match=r"'angles'.*bond_cutoff"):
        calculator.calculate(copper())


def test_a_committee_has_to_say_how_its_models_are_combined() -> None:
    calculator = DistCalculator(Mistaken(lambda stages: stages, n_models=2), partitions=2, devices="cpu")
    with pytest.raises(InvalidInputError, match=r"2 models.*results\(\)"):
        calculator.calculate(copper())


def test_float32_energies_are_added_up_in_float64() -> None:
    change = with_output(-1, "energy", lambda e: e.float())
    calculator = DistCalculator(Mistaken(change), partitions=3, devices="cpu")
    calculator.calculate(copper())
    assert calculator.results["energies"].dtype == np.float64
    assert calculator.results["energy"] == calculator.results["energies"].sum()


def test_an_adapter_without_mistakes_is_not_refused() -> None:
    calculator = DistCalculator(Mistaken(lambda stages: stages), partitions=3, devices="cpu")
    calculator.calculate(copper())
    assert calculator.results["energies"].shape == (8,)
