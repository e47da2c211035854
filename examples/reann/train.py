"""Train REANN over partitions, on a small set that ASE's EMT potential has labelled.

cd examples && python -m reann.train --partitions 4 --epochs 30
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from distmlip import DistCalculator, DistModel
from reann.adapter import REANNAdapter
from reann.model import REANN

NUMBERS = (13, 29)
"""Al and Cu."""


def structures(n: int, seed: int) -> list[Atoms]:
    """Alloys of Al and Cu: strained, shaken, with energies and forces of EMT."""
    generator, found = np.random.default_rng(seed), []
    for _ in range(n):
        atoms = bulk("Cu", cubic=True, a=generator.uniform(3.6, 4.0)) * (2, 2, 2)
        atoms.numbers = generator.choice(NUMBERS, len(atoms))
        atoms.rattle(generator.uniform(0.02, 0.15), rng=generator)
        atoms.calc = EMT()
        atoms.get_forces()
        found.append(atoms)
    return found


def trained(
    model: REANN, data: list[Atoms], *, partitions: int, epochs: int, rate: float = 5e-3
) -> list[tuple[float, float]]:
    """Fit the model; returns the errors of energies (eV/atom) and forces (eV/Å) before every epoch."""
    distributed = DistModel(REANNAdapter(model), partitions=partitions)
    optimiser = torch.optim.Adam(distributed.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    history = []
    for _ in range(epochs):
        of_energies, of_forces = [], []
        for atoms in data:
            prediction = distributed(atoms)
            energy = (prediction.energy - atoms.get_potential_energy()) / len(atoms)
            forces = prediction.forces - torch.from_numpy(atoms.get_forces())
            loss = 100 * energy**2 + forces.square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            of_energies.append(float(energy.detach() ** 2))
            of_forces.append(float(forces.detach().square().mean()))
        schedule.step()
        history.append((np.mean(of_energies) ** 0.5, np.mean(of_forces) ** 0.5))
    return history


def errors(model: REANN, data: list[Atoms], partitions: int) -> tuple[float, float]:
    """Of energies (eV/atom) and forces (eV/Å): root mean squares."""
    calculator, of_energies, of_forces = DistCalculator(REANNAdapter(model), partitions=partitions), [], []
    for atoms in data:
        calculator.calculate(atoms)
        of_energies.append((calculator.results["energy"] - atoms.get_potential_energy()) / len(atoms))
        of_forces.append(calculator.results["forces"] - atoms.get_forces())
    return np.mean(np.square(of_energies)) ** 0.5, np.mean(np.square(of_forces)) ** 0.5


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--structures", type=int, default=24)
    parser.add_argument("--recursions", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("reann.pt"), help="of the parameters")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = REANN(NUMBERS, n_recursions=arguments.recursions).double()
    data, others = structures(arguments.structures, seed=0), structures(8, seed=1)
    history = trained(model, data, partitions=arguments.partitions, epochs=arguments.epochs)
    for epoch in sorted({0, *range(4, arguments.epochs, 5), arguments.epochs - 1}):
        energy, forces = history[epoch]
        print(f"epoch {epoch + 1:3}: {1000 * energy:8.2f} meV/atom, {forces:.3f} eV/Ang")
    energy, forces = errors(model, others, arguments.partitions)
    print(
        f"others   : {1000 * energy:8.2f} meV/atom, {forces:.3f} eV/Ang (8 structures that it has not seen)"
    )
    torch.save(model.state_dict(), arguments.output)
    print(f"parameters: {arguments.output}")


if __name__ == "__main__":
    main()
