"""Whether native stages agree with the original: looked at on small clusters of a structure's elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.choice.suspect import mismatch, suspect
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import Devices
from distmlip.models.interface import Adapter
from distmlip.models.native import NativeChoice
from distmlip.models.quiet import quiet

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

MOST_ATOMS = 8
"""Of a cluster."""
NEAREST = (0.6, 1.6)
"""Å: of two clusters, so that forces of atoms that nearly touch do not hide errors of all others."""
SMALLEST_RADIUS = (1.5, 3.0)
"""Å: of the balls that hold them."""
REACH = 0.7
"""Of the cutoff: the radius of the wider ball, so that some pairs are just within, and some beyond."""
RECOMPUTE = core.Recompute.stages
"""With which the model's own stages are those that native stages stand for."""
TABLES_IN_FLOAT64 = 1e-12
"""Of the largest force, or of 1 eV/Å: what tables may change in float64, beside exact radial functions."""


@dataclass(frozen=True)
class Tolerance:
    """What a difference to the original in float64 may be."""

    noise: float
    """Times that of the model's own modules in the same dtype."""
    floor: float
    """Of the quantity's largest component, or of 1 eV per atom or 1 eV/Å if that is less, whatever the noise,
    which may be little by chance."""

    def limit(self, noise: float, size: float) -> float:
        """For a quantity of this size, of which the model's own modules have this noise."""
        return max(self.noise * noise, self.floor * max(1.0, size))


FORCES = {torch.float32: Tolerance(2.0, 1.5e-6), torch.float64: Tolerance(4.0, 1e-11)}
ENERGY = {torch.float32: Tolerance(4.0, 1e-6), torch.float64: Tolerance(4.0, 1e-11)}
TURNS = 4
"""Of a cluster, before a difference is more than noise."""


@dataclass(frozen=True)
class Values:
    """What an evaluation of a cluster gave."""

    energy: float
    """eV"""
    forces: NDArray[np.float64]
    """(n_atoms, 3) eV/Å"""
    virial: NDArray[np.float64]
    """(3, 3) eV; zeros of the original, which has none without a cell."""


@dataclass(frozen=True)
class Expected:
    """What an evaluation of a cluster has to give."""

    atoms: Atoms
    original: Values
    """In float64."""
    own: Values
    """Of the model's own modules, in the dtype of the calculation."""
    dtype: torch.dtype
    """Of the calculation."""
    energy_noise: float
    forces_noise: float
    """Of the model's own modules in that dtype."""

    @property
    def energy_limit(self) -> float:
        """Of the energy, in eV."""
        size = max(len(self.atoms), abs(self.original.energy))
        return ENERGY[self.dtype].limit(self.energy_noise, size)

    @property
    def forces_limit(self) -> float:
        """Of components of forces, in eV/Å."""
        return FORCES[self.dtype].limit(self.forces_noise, largest(self.original.forces))

    @property
    def virial_limit(self) -> float:
        """Of a sum over atoms of position times force."""
        return self.forces_limit * float(np.linalg.norm(self.atoms.positions, axis=1).sum())

    def complaint(self, found: Values) -> str:
        """By how much this is off; empty if it is not."""
        differences = (
            ("forces", "eV/Ang", largest(found.forces - self.original.forces), self.forces_limit),
            ("energy", "eV", largest(found.energy - self.original.energy), self.energy_limit),
            ("virial", "eV", largest(found.virial - self.own.virial), self.virial_limit),
        )
        return " and ".join(
            f"{what} by {difference:.2g} {unit} (at most {limit:.2g} may be)"
            for what, unit, difference, limit in differences
            if not difference <= limit  # nor is what is not a number
        )

    def __str__(self) -> str:
        nearest = float(distances(self.atoms.positions).min(initial=np.inf))
        return f"{self.atoms.get_chemical_formula()}, at least {nearest:.2g} Ang apart"


class Guard:
    """Compares native stages with the original, which is made when it is needed."""

    def __init__(self, adapter: Adapter, device: torch.device, slot: int, atoms: Atoms) -> None:
        """``atoms`` say which elements clusters have, and what the model reads besides positions."""
        self._adapter = adapter
        self._devices = Devices((device,), (slot,))
        self._clusters = list(clusters(atoms, adapter.cutoff))

    def complaint(self, choice: NativeChoice) -> str:
        """By how much these native stages are off, and where; empty if they are not.

        Raises:
            NotNativeError: there are none.
        """
        evaluator = self._evaluator(choice)
        native = evaluator.stages()  # first: where there are none, nothing else has to be made
        words = mismatch(self._own.stages(), native)  # before the original is made for nothing
        if words:
            return words
        undivided = []
        for k, expected in enumerate(self._expected):
            for partitions in (1, 2):
                found = self._values(evaluator, expected.atoms, partitions)
                words = expected.complaint(found) and self._with_more_noise(k).complaint(found)
                if words:
                    return f"{words} {self._where(evaluator, expected, partitions)}"
                if partitions == 1:
                    undivided.append(found)
        has_no_noise = self._adapter.dtype == torch.float64  # that would hide what tables change
        return self._complaint_of_tables(choice, undivided) if choice.table and has_no_noise else ""

    def _where(self, evaluator: Evaluator, expected: Expected, partitions: int) -> str:
        self._own.redistribute(partitions, RECOMPUTE)
        stage = suspect(self._own, evaluator, expected.atoms)
        return f"for {expected}{', in 2 partitions' if partitions > 1 else ''}{stage and f', from {stage}'}"

    def _complaint_of_tables(self, choice: NativeChoice, with_tables: list[Values]) -> str:
        exact = self._of_exact(choice.numbers)
        for expected, found, true in zip(self._expected, with_tables, exact, strict=True):
            difference = largest(found.forces - true.forces)
            limit = TABLES_IN_FLOAT64 * max(1.0, largest(true.forces))
            if not difference <= limit:
                return (
                    f"tables change forces by {difference:.2g} eV/Ang (at most {limit:.2g} may be) "
                    f"for {expected}"
                )
        return ""

    @cache  # noqa: B019  a guard lives as long as a decision
    def _of_exact(self, numbers: tuple[int, ...]) -> list[Values]:
        """Of native stages with exact radial functions, for each cluster."""
        evaluator = self._evaluator(NativeChoice(numbers, None))
        return [self._values(evaluator, cluster, partitions=1) for cluster in self._clusters]

    @cached_property
    def _expected(self) -> list[Expected]:
        """Of each cluster."""
        own, dtype = self._own, self._adapter.dtype
        with quiet():
            original = self._adapter.original(torch.float64)
        return [
            expected_of(cluster, original, self._values(own, cluster, partitions=1), dtype)
            for cluster in self._clusters
        ]

    @cache  # noqa: B019  a guard lives as long as a decision
    def _with_more_noise(self, k: int) -> Expected:
        """Of a cluster, whose noise may have been small by luck: turned, it has another one."""
        expected, random = self._expected[k], np.random.default_rng(0)
        energy_noise, forces_noise = expected.energy_noise, expected.forces_noise
        for _ in range(TURNS):
            turn = np.linalg.qr(random.normal(size=(3, 3)))[0]
            turned = expected.atoms.copy()
            turned.positions = turned.positions @ turn
            found = self._values(self._own, turned, partitions=1)
            energy_noise = max(energy_noise, largest(found.energy - expected.original.energy))
            forces_noise = max(forces_noise, largest(found.forces @ turn.T - expected.original.forces))
        return replace(expected, energy_noise=energy_noise, forces_noise=forces_noise)

    @cached_property
    def _own(self) -> Evaluator:
        """With the model's own modules."""
        return self._evaluator(None)

    def _evaluator(self, choice: NativeChoice | None) -> Evaluator:
        settings = Settings(
            self._devices, partitions=1, method="slab", weights=None, recompute=RECOMPUTE, skin=0.0
        )
        evaluator = Evaluator(self._adapter, settings)
        evaluator.use(choice)
        return evaluator

    def _values(self, evaluator: Evaluator, atoms: Atoms, partitions: int) -> Values:
        evaluator.redistribute(partitions, RECOMPUTE)
        evaluations = evaluator.evaluate(atoms, with_virials=False)
        results = self._adapter.results(atoms, evaluations)
        virial = np.mean([evaluation.virial for evaluation in evaluations], axis=0)
        return Values(float(results["energy"]), np.array(results["forces"], np.float64), virial)


def expected_of(cluster: Atoms, original: Calculator, own: Values, dtype: torch.dtype) -> Expected:
    """``original``: in float64; ``own``: of the model's own modules in the dtype of the calculation."""
    atoms = cluster.copy()
    with quiet():
        atoms.calc = original
        forces = np.array(atoms.get_forces(), np.float64)
    exact = Values(float(original.results["energy"]), forces, np.zeros((3, 3)))
    return Expected(
        cluster,
        exact,
        own,
        dtype,
        energy_noise=largest(own.energy - exact.energy),
        forces_noise=largest(own.forces - exact.forces),
    )


def clusters(atoms: Atoms, cutoff: float) -> Iterator[Atoms]:
    """Of at most 8 atoms, with all elements of the structure: atoms that nearly touch, and atoms as far apart
    as in matter and up to beyond the cutoff."""
    elements = np.unique(atoms.numbers)
    for first in range(0, len(elements), MOST_ATOMS):
        chosen = _some_of(atoms, elements[first : first + MOST_ATOMS])
        for nearest, radius in zip(
            NEAREST, (SMALLEST_RADIUS[0], max(SMALLEST_RADIUS[1], REACH * cutoff)), strict=True
        ):
            cluster = atoms[chosen]
            cluster.set_constraint()
            cluster.positions = _places(len(chosen), nearest, radius)
            cluster.cell[:] = 0
            cluster.pbc = False
            yield cluster


def _some_of(atoms: Atoms, elements: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of 8 atoms of these elements, by turns; of a structure with fewer, some of them twice."""
    of_elements = [np.flatnonzero(atoms.numbers == number)[:MOST_ATOMS] for number in elements]
    turns = [divmod(k, len(elements)) for k in range(MOST_ATOMS)]
    return np.array([of_elements[e][turn % len(of_elements[e])] for turn, e in turns])


def _places(n_atoms: int, nearest: float, radius: float) -> NDArray[np.float64]:
    """(n_atoms, 3) at random in a ball, denser in its middle, none nearer than this and the first two just so
    far apart."""
    random = np.random.default_rng(0)
    places = np.zeros((1, 3))
    while len(places) < n_atoms:
        direction = random.normal(size=3)
        away = nearest if len(places) == 1 else random.uniform(0, radius)
        place = direction * (away / np.linalg.norm(direction))
        if len(places) == 1 or np.linalg.norm(places - place, axis=1).min() >= nearest:
            places = np.vstack([places, place])
    return places


def distances(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_pairs,) of all pairs."""
    first, second = np.triu_indices(len(positions), k=1)
    return np.asarray(np.linalg.norm(positions[first] - positions[second], axis=1))


def largest(difference: NDArray[np.float64] | float) -> float:
    """The largest absolute component; not a number if one of them is not."""
    return float(np.max(np.abs(difference)))
