"""What a run looked like, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field

from distmlip.md.observing import Observed
from distmlip.md.stopping import Ending


@dataclass
class History:
    """One entry per step, the state that was begun with included. Energies are in eV per atom."""

    potential_energy: list[float] = field(default_factory=list)
    total_energy: list[float] = field(default_factory=list)
    temperature: list[float] = field(default_factory=list)
    """K."""
    ending: Ending = Ending.DONE
    trouble: str | None = None
    """What the run was stopped for, if it was lost."""

    def record(self, seen: Observed) -> None:
        """Append a state."""
        n_atoms = max(1, seen.n_atoms)
        self.potential_energy.append(seen.potential_energy / n_atoms)
        self.total_energy.append((seen.potential_energy + seen.kinetic_energy) / n_atoms)
        self.temperature.append(seen.temperature)

    @property
    def n_steps(self) -> int:
        """Steps taken after that."""
        return max(len(self.potential_energy) - 1, 0)
