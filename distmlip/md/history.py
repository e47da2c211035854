"""What a run looked like, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from ase import Atoms

from distmlip.md.stopping import Ending


@dataclass
class History:
    """One entry per step, the initial state included. Energies are in eV per atom."""

    potential_energy: list[float] = field(default_factory=list)
    total_energy: list[float] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)
    """K."""
    ending: Ending = Ending.DONE
    trouble: str | None = None
    """What the run was stopped for, if it was lost."""

    def record(self, atoms: Atoms) -> None:
        """Append the present state of ``atoms``, whose calculator already holds its results."""
        potential = atoms.get_potential_energy() / len(atoms)
        self.potential_energy.append(potential)
        self.total_energy.append(potential + atoms.get_kinetic_energy() / len(atoms))
        self.temperature.append(atoms.get_temperature())

    @property
    def n_steps(self) -> int:
        """Steps taken after the initial state."""
        return max(len(self.potential_energy) - 1, 0)
