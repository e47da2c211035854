"""What is seen of a run after each step: by its trajectory, its log, its progress and its watchers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.optimize.optimize import BaseDynamics

from distmlip.cell import volume_of
from distmlip.md.drivers import conserved_energy

LOG_HEADER = "#     step      time/fs  E_pot/eV/atom  E_kin/eV/atom        T/K      P/GPa drift/eV/atom s"
MILLI = 1000.0


@dataclass(frozen=True)
class Observed:
    """Energies in eV, of all atoms; NaN where there is none."""

    step: int
    time: float
    """fs"""
    n_atoms: int
    potential_energy: float
    kinetic_energy: float
    conserved_energy: float
    """See :func:`distmlip.md.drivers.conserved_energy`."""
    temperature: float
    """K"""
    pressure: float
    """GPa"""
    drift: float
    """eV per atom, of the conserved energy since the first step."""

    @property
    def recorded(self) -> dict[str, float]:
        """What trajectories have of it."""
        names = ("potential_energy", "kinetic_energy", "conserved_energy", "temperature", "pressure")
        return {name: getattr(self, name) for name in names}

    def row(self, seconds: float) -> str:
        """Of the log, below :data:`LOG_HEADER`."""
        n = max(1, self.n_atoms)
        return (
            f"{self.step:10d} {self.time:12.10g} {self.potential_energy / n:14.6f} "
            f"{self.kinetic_energy / n:14.6f} {self.temperature:10.1f} {self.pressure:10.4f} "
            f"{self.drift:13.2e} {seconds:.0f}"
        )

    @property
    def in_words(self) -> str:
        """What of it is a number, for people."""
        n = max(1, self.n_atoms)
        words = [f"{self.temperature:.0f} K", f"{self.potential_energy / n:.4f} eV/atom"]
        if np.isfinite(self.drift):
            words.append(f"drift {MILLI * self.drift:+.2g} meV/atom")
        if np.isfinite(self.pressure):
            words.append(f"{self.pressure:.2f} GPa")
        return ", ".join(words)


def observed(
    atoms: Atoms, driver: BaseDynamics, timestep: float | None, conserved_at_first: float | None
) -> Observed:
    """Of atoms whose calculator has their results.

    ``timestep``: fs; None of a relaxation, whose time is its steps, and whose atoms are at rest whatever
    velocities they have. ``conserved_at_first``: the conserved energy (eV) at the first step; None: it is
    this one.
    """
    moves = timestep is not None
    properties = getattr(atoms.calc, "implemented_properties", ())
    has_stress = "stress" in properties and volume_of(atoms) > 0 and atoms.pbc.all()
    stress = atoms.get_stress(include_ideal_gas=moves) if has_stress else np.full(6, np.nan)
    conserved = conserved_energy(driver)
    conserved = np.nan if conserved is None else conserved
    first = conserved if conserved_at_first is None else conserved_at_first
    return Observed(
        step=driver.nsteps,
        time=driver.nsteps * (timestep or 1.0),
        n_atoms=len(atoms),
        potential_energy=float(atoms.get_potential_energy()),
        kinetic_energy=float(atoms.get_kinetic_energy()) if moves else 0.0,
        conserved_energy=conserved,
        temperature=float(atoms.get_temperature()) if moves else 0.0,
        pressure=float(-stress[:3].mean() / units.GPa),
        drift=(conserved - first) / max(1, len(atoms)),
    )
