"""REANN, in the folder examples: exact over partitions, trained there, and the claim of its scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from reann.adapter import REANNAdapter
from reann.model import REANN, REANNCalculator
from reann.scaling import draw, step
from reann.train import NUMBERS, errors, structures, trained
from support.contract import PARTITIONS, number_of
from support.originals import gradients_of, largest_difference
from support.parity import assert_parity
from support.structures import NUMBERS as OF_STRUCTURES
from support.structures import STRUCTURES, oxide

from distmlip import DistModel, Prediction


def model_of(recursions: int = 2) -> REANN:
    """A float64 model with forces of the order of 1 eV/Å."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = REANN(OF_STRUCTURES, cutoff=4.5, n_recursions=recursions, hidden=(16,)).double().eval()
    with torch.no_grad():
        for network in model.readout.networks:
            network[-1].weight *= 500
    return model


MODEL = model_of()


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_any_structure_over_any_number_of_partitions(structure: str, partitions: int | str) -> None:
    atoms = STRUCTURES[structure]().atoms
    assert_parity(
        REANNAdapter(MODEL), atoms, number_of(partitions, atoms), strong_forces=structure != "molecule"
    )


@pytest.mark.parametrize("recursions", [0, 1, 3])
def test_any_number_of_recursions(recursions: int) -> None:
    assert_parity(REANNAdapter(model_of(recursions)), oxide().atoms, 3)
    assert_parity(REANNAdapter(model_of(recursions)), oxide().atoms, 3, recompute=True)


def test_forces_are_derivatives_of_the_energy() -> None:
    atoms, calculator = oxide().atoms, REANNCalculator(MODEL)
    calculator.calculate(atoms)
    forces = calculator.results["forces"]
    direction = np.random.default_rng(0).normal(size=forces.shape)
    energies = []
    for h in (1e-5, -1e-5):
        moved = atoms.copy()
        moved.positions += h * direction
        calculator.calculate(moved)
        energies.append(calculator.results["energy"])
    assert (energies[0] - energies[1]) / 2e-5 == pytest.approx(-np.sum(forces * direction), rel=1e-6)


def test_densities_do_not_change_when_a_structure_is_turned() -> None:
    atoms, calculator = oxide().atoms, REANNCalculator(MODEL)
    calculator.calculate(atoms)
    energy = calculator.results["energy"]
    atoms.rotate(37, (1, 2, -0.5), rotate_cell=True)
    calculator.calculate(atoms)
    assert calculator.results["energy"] == pytest.approx(energy, rel=1e-12)


# ---- training


def undivided(model: REANN) -> Any:
    """What training without partitions predicts."""

    def predict(atoms: Atoms) -> Prediction:
        receivers, senders, found = neighbor_list("ijD", atoms, model.cutoff)
        vectors = torch.tensor(found, requires_grad=True)
        edges = torch.from_numpy(np.stack([senders, receivers]))
        energy = model(torch.from_numpy(atoms.numbers), vectors, edges).sum()
        (slopes,) = torch.autograd.grad(energy, vectors, create_graph=True)
        forces = torch.zeros(len(atoms), 3, dtype=torch.float64)
        forces = forces.index_add(0, edges[1], slopes).index_add(0, edges[0], -slopes)
        strain = vectors.T @ slopes
        return Prediction(energy, forces, (strain + strain.T) / 2 / atoms.cell.volume)

    return predict


def test_gradients_of_parameters_are_those_of_the_undivided_model() -> None:
    model, atoms = model_of(), oxide().atoms
    distributed = DistModel(REANNAdapter(model), partitions=3)
    ours = {
        name.removeprefix("model."): gradient
        for name, gradient in gradients_of(distributed, distributed, atoms).items()
    }
    theirs = gradients_of(model, undivided(model), atoms)
    assert largest_difference(ours, theirs) <= 1e-9


def test_it_learns() -> None:
    torch.manual_seed(0)
    model, data = REANN(NUMBERS, n_recursions=1, hidden=(16,)).double(), structures(4, seed=0)
    before = errors(model, data, partitions=3)
    history = trained(model, data, partitions=3, epochs=40, rate=2e-2)
    after = errors(model, data, partitions=3)
    assert len(history) == 40
    assert after[0] < 0.2 * before[0]
    assert after[1] < 0.8 * before[1]


# ---- the scheme


def test_work_and_communication_grow_linearly_and_no_atom_is_computed_twice(tmp_path: Path) -> None:
    atoms = oxide().atoms * (3, 2, 1)
    steps = [step(atoms, recursions, partitions=4) for recursions in range(4)]
    whole = [step(atoms, recursions, partitions=1) for recursions in range(4)]
    n_edges = whole[0].edges
    for k, (of, one) in enumerate(zip(steps, whole, strict=True)):
        assert of.atoms == one.atoms == (k + 1) * len(atoms)
        assert of.edges == one.edges == one.edges_of_larger_halos == (k + 1) * n_edges
        assert of.exchanged == k * steps[1].exchanged
        assert one.exchanged == 0 < steps[1].exchanged
    larger = [of.edges_of_larger_halos for of in steps]
    assert larger[0] == n_edges
    assert larger[3] - larger[2] > larger[2] - larger[1] - n_edges > 0
    draw(steps, tmp_path / "scaling.png", "a test")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
