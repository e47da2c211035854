"""Watchers: what is looked at after every step, and what of it stops a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from ase import Atoms, units
from ase.data import chemical_symbols

from distmlip.calculator import DistCalculator
from distmlip.errors import InvalidInputError
from distmlip.md.observing import Observed

HOTTEST = 10.0
"""Times its own temperature a run may get before it is taken for lost, but no less than
:data:`ALWAYS_ALLOWED`."""
ALWAYS_ALLOWED = 5000.0  # K
FARTHEST = 1.0  # Å that an atom may go in one step
GROWTH = 1.2
"""Times the edges that there were, before it is asked whether they still fit into memory."""
MOST_DRIFT = 0.1  # eV per atom, unless something else is asked for
REMEDY = "take a shorter timestep, or relax the structure first"


@dataclass(frozen=True)
class Trouble:
    """Why a run is stopped."""

    what: str
    """For people, with a remedy."""
    is_sound: bool = False
    """Whether the state that shows it can be gone on from."""


class Watch:
    """Looks at the state after each step.

    Args:
        timestep: fs; None: atoms have no velocities that tell how far they go.
        temperature: K, of the thermostat.
        max_drift: eV per atom, of the conserved energy.
    """

    def __init__(
        self, timestep: float | None, temperature: float | None = None, max_drift: float | None = None
    ) -> None:
        """
        Raises:
            InvalidInputError: ``max_drift`` is no positive number.
        """
        if max_drift is not None and not max_drift > 0:
            raise InvalidInputError(f"max_drift={max_drift}; it must be a positive number (eV/atom), or None")
        self._timestep, self._max_drift = timestep, max_drift
        self._hottest = max(ALWAYS_ALLOWED, HOTTEST * (temperature or 0.0))
        self.edges: int | None = None
        """When it was last asked whether they fit into memory; None: not yet."""

    def trouble(self, atoms: Atoms, seen: Observed) -> Trouble | None:
        """What is wrong with the state, if anything is."""
        found = chain(self._energies(seen), self._flights(atoms), self._drift(seen), self._neighbours(atoms))
        return next(found, None)

    def _energies(self, seen: Observed) -> Iterator[Trouble]:
        for name in ("potential_energy", "kinetic_energy"):
            if not math.isfinite(getattr(seen, name)):
                yield Trouble(f"the {name.replace('_', ' ')} is {getattr(seen, name)}; {REMEDY}")
        if seen.temperature > self._hottest:
            yield Trouble(
                f"the temperature is {seen.temperature:.3g} K, above {self._hottest:.3g} K: atoms fly apart; "
                f"{REMEDY}"
            )

    def _flights(self, atoms: Atoms) -> Iterator[Trouble]:
        """One atom of very many hardly makes a system hotter."""
        if self._timestep is None or len(atoms) == 0:
            return
        velocities = atoms.get_velocities()
        squares = np.einsum("ij,ij->i", velocities, velocities)
        fastest = int(squares.argmax())
        distance = math.sqrt(squares[fastest]) * self._timestep * units.fs
        if distance > FARTHEST:
            yield Trouble(
                f"atom {fastest} ({chemical_symbols[atoms.numbers[fastest]]}) goes {distance:.3g} Ang in a "
                f"step of {self._timestep:g} fs, more than {FARTHEST:g} Ang: it flies off; {REMEDY}"
            )

    def _drift(self, seen: Observed) -> Iterator[Trouble]:
        if self._max_drift is not None and abs(seen.drift) > self._max_drift:
            yield Trouble(
                f"the conserved energy has drifted by {seen.drift:.3g} eV/atom, more than "
                f"max_drift={self._max_drift:g}; take a shorter timestep or dtype='float64', or resume with "
                "a larger max_drift"
            )

    def _neighbours(self, atoms: Atoms) -> Iterator[Trouble]:
        """Partitions stay as they were chosen for the first structure; a denser one needs more memory, and
        a process that takes more than there is may be ended without a word."""
        calculator = atoms.calc
        if not isinstance(calculator, DistCalculator):
            return
        edges = max((rows.get("edges", 0) for rows in calculator.counters.values()), default=0)
        if self.edges is None:
            self.edges = edges
        if edges <= GROWTH * self.edges:
            return
        before, self.edges = self.edges, edges
        for device, memory in calculator.plan(atoms).memory.items():
            if memory.expected > memory.usable:
                yield Trouble(
                    f"there are {edges / len(atoms):.0f} neighbours within the cutoff of an atom, after "
                    f"{before / len(atoms):.0f} before, and {device} may not have the memory: about "
                    f"{memory.expected / 1e9:.3g} GB are expected, and {memory.usable / 1e9:.3g} GB may be "
                    "used; see whether the structure is what you want, and begin a run from it with more "
                    "partitions, recompute or devices",
                    is_sound=True,
                )
