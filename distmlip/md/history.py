"""What a run looked like, step by step."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from ase import Atoms


@dataclass
class History:
    """One entry per step, the initial state included. Energies are in eV per atom."""

    potential_energy: list[float] = field(default_factory=list)
    total_energy: list[float] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)
    """K."""
    clock: list[float] = field(default_factory=list)
    """Seconds of wall-clock time at which each entry was made."""

    def record(self, atoms: Atoms) -> None:
        """Append the present state of ``atoms``, whose calculator already holds its results."""
        potential = atoms.get_potential_energy() / len(atoms)
        self.potential_energy.append(potential)
        self.total_energy.append(potential + atoms.get_kinetic_energy() / len(atoms))
        self.temperature.append(atoms.get_temperature())
        self.clock.append(time.perf_counter())

    @property
    def n_steps(self) -> int:
        """Steps taken after the initial state."""
        return max(len(self.clock) - 1, 0)

    @property
    def seconds_per_step(self) -> float:
        """Mean wall-clock time of a step; NaN before the first one."""
        return (self.clock[-1] - self.clock[0]) / self.n_steps if self.n_steps else float("nan")
