"""ASE's drivers: how they are made from what people ask for, and what they have to be given to go on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE
from ase.optimize.optimize import BaseDynamics

from distmlip.errors import InvalidInputError
from distmlip.inputs import checked_choice, checked_count

ENSEMBLES = {
    "nve": (None,),
    "nvt": ("langevin", "bussi", "nose-hoover"),
    "npt": ("nose-hoover", "langevin"),
}
"""And the thermostats of each; the first one is the usual one."""


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """What dynamics sample."""

    ensemble: str = "nve"
    """``"nve"``, ``"nvt"`` or ``"npt"``."""
    thermostat: str | None = None
    """``"langevin"``, ``"bussi"`` or ``"nose-hoover"``; None: the ensemble's usual one."""
    temperature: float | None = None
    """K; of the thermostat, and of the first velocities. None: NVE of the velocities that atoms have."""
    pressure: float | None = None
    """GPa, of NPT."""
    shape: bool = False
    """Of NPT: whether the shape of the cell changes, too, and not its volume alone."""
    timestep: float = 1.0
    """fs"""
    time_constant: float | None = None
    """fs, of the thermostat; None: 100 steps, and 50 fs for Langevin (friction: one over it)."""
    pressure_time_constant: float | None = None
    """fs, of the barostat; None: 1000 steps."""
    seed: int = 0
    """Of all random numbers."""

    def checked(self) -> Ensemble:
        """
        Raises:
            InvalidInputError: values are out of their range, missing, or of no use.
        """
        checked_choice("ensemble", self.ensemble, tuple(ENSEMBLES))
        known = ENSEMBLES[self.ensemble]
        if self.thermostat is not None and self.thermostat not in known:
            words = ", ".join(repr(name) for name in known if name) or "none"
            raise InvalidInputError(
                f"thermostat={self.thermostat!r} with ensemble={self.ensemble!r}, which has {words}"
            )
        self._require_what_it_needs()
        if self.pressure is not None and not math.isfinite(self.pressure):
            raise InvalidInputError(f"pressure={self.pressure}; it must be a number")
        for name in ("temperature", "timestep", "time_constant", "pressure_time_constant"):
            self._require_positive(name)
        return replace(self, seed=checked_count("seed", self.seed, least=0))

    def _require_what_it_needs(self) -> None:
        if self.temperature is None and self.ensemble != "nve":
            raise InvalidInputError(f"ensemble={self.ensemble!r} needs temperature")
        if self.pressure is None and self.ensemble == "npt":
            raise InvalidInputError(f"ensemble={self.ensemble!r} needs pressure")
        if self.pressure is not None and self.ensemble != "npt":
            raise InvalidInputError(f"pressure={self.pressure} with ensemble={self.ensemble!r}; use 'npt'")
        if self.shape and self.ensemble != "npt":
            raise InvalidInputError(f"shape=True with ensemble={self.ensemble!r}; use 'npt'")

    def _require_positive(self, name: str) -> None:
        value = getattr(self, name)
        may_be_zero = name == "temperature" and self.ensemble == "nve"
        if value is not None and not (0 < value < math.inf or (may_be_zero and value == 0)):
            raise InvalidInputError(f"{name}={value}; it must be a positive number")

    def velocities(self, atoms: Atoms, random: np.random.Generator) -> None:
        """Those of the first step: drawn, unless there is no temperature to draw them at."""
        if self.temperature is not None:
            MaxwellBoltzmannDistribution(atoms, temperature_K=self.temperature, rng=random)
            if not atoms.constraints and len(atoms) > 1 and self.temperature > 0:
                Stationary(atoms)

    def driver(self, atoms: Atoms, random: np.random.Generator) -> MolecularDynamics:
        """ASE's.

        Raises:
            InvalidInputError: there is none for these atoms.
        """
        step = self.timestep * units.fs
        thermostat = self.thermostat or ENSEMBLES[self.ensemble][0]
        usual = 50.0 if thermostat == "langevin" else 100 * self.timestep
        time = (self.time_constant or usual) * units.fs
        if thermostat is None:
            return VelocityVerlet(atoms, step)
        if self.ensemble == "npt":
            return self._with_barostat(atoms, thermostat, time, random)
        makers: dict[str, Callable[[], MolecularDynamics]] = {
            # fixcm: with True ASE does not sample the right distribution.
            "langevin": lambda: Langevin(
                atoms, step, temperature_K=self.temperature, friction=1 / time, rng=random, fixcm=False
            ),
            "bussi": lambda: Bussi(atoms, step, temperature_K=self.temperature, taut=time, rng=random),
            "nose-hoover": lambda: NoseHooverChainNVT(
                atoms, step, temperature_K=self.temperature, tdamp=time
            ),
        }
        return makers[thermostat]()

    def _with_barostat(
        self, atoms: Atoms, thermostat: str, time: float, random: np.random.Generator
    ) -> MolecularDynamics:
        if not atoms.pbc.all():
            raise InvalidInputError(
                f"pbc={atoms.pbc.tolist()} with ensemble='npt'; a pressure needs a system that is periodic "
                "along all axes"
            )
        if atoms.constraints:
            raise InvalidInputError(
                "constraints with ensemble='npt', whose barostats know none; take them off, or use 'nvt'"
            )
        step, pressure = self.timestep * units.fs, self.pressure * units.GPa
        barostat_time = (self.pressure_time_constant or 1000 * self.timestep) * units.fs
        if thermostat == "langevin":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Using heuristic P_mass")
                return LangevinBAOAB(
                    atoms,
                    step,
                    temperature_K=self.temperature,
                    externalstress=-pressure,
                    hydrostatic=not self.shape,
                    T_tau=time,
                    P_tau=barostat_time,
                    rng=random,
                )
        kind = MTKNPT if self.shape else IsotropicMTKNPT
        return kind(
            atoms,
            step,
            temperature_K=self.temperature,
            pressure_au=pressure,
            tdamp=time,
            pdamp=barostat_time,
        )


def optimizer(atoms: Atoms, cell: bool) -> FIRE:
    """FIRE, of the positions or also of the cell."""
    return FIRE(FrechetCellFilter(atoms) if cell else atoms, logfile=None)


def conserved_energy(driver: BaseDynamics) -> float | None:
    """eV: what would stay as it is if steps were infinitely short. Without a thermostat it is the total
    energy, with one this and what it has taken. None: Langevin's count nothing, and relaxations keep none."""
    if isinstance(driver, Bussi):  # which is a VelocityVerlet, too
        return float(driver.atoms.get_total_energy() - driver.transferred_energy)
    if isinstance(driver, VelocityVerlet):
        return float(driver.atoms.get_total_energy())
    if isinstance(driver, NoseHooverChainNVT | MTKNPT | IsotropicMTKNPT):
        return float(driver.get_conserved_energy())
    return None


_CHAIN = ("_thermostat._eta", "_thermostat._p_eta")
_BAROSTAT = ("_barostat._xi", "_barostat._p_xi")
_STATE: dict[type[BaseDynamics], tuple[str, ...]] = {
    VelocityVerlet: (),
    Langevin: (),
    Bussi: ("transferred_energy",),
    NoseHooverChainNVT: ("_q", "_p", *_CHAIN),
    IsotropicMTKNPT: ("_q", "_p", "_eps", "_p_eps", "_volume0", "_cell0", *_CHAIN, *_BAROSTAT),
    MTKNPT: ("_q", "_p", "_h", "_p_g", *_CHAIN, *_BAROSTAT),
    LangevinBAOAB: ("p_eps", "force_eps", "gamma_mod"),
    FIRE: ("vel", "dt", "Nsteps", "a"),
}
"""What changes in a driver from step to step, besides atoms and random numbers."""


def state_of(driver: BaseDynamics) -> dict[str, Any]:
    """Copies, by their names."""
    found = {}
    of_cell = ("atoms.orig_cell",) if isinstance(driver.atoms, FrechetCellFilter) else ()
    for name in (*_STATE[type(driver)], *of_cell):
        value = driver
        for part in name.split("."):
            value = getattr(value, part)
        found[name] = np.array(value, np.float64) if value is not None else np.zeros(0)
    return found


def restore(driver: BaseDynamics, state: dict[str, Any]) -> None:
    """The other way round."""
    for name, value in state.items():
        *owners, last = name.split(".")
        owner: Any = driver
        for part in owners:
            owner = getattr(owner, part)
        kept: Any = value.copy() if value.ndim else float(value)
        if last == "Nsteps":
            kept = int(value)
        setattr(owner, last, None if value.size == 0 else kept)
