"""Whether native stages agree with the original: looked at on small clusters of a structure's elements."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.choice.clusters import clusters, distances, turns
from distmlip.choice.suspect import mismatch, suspect
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import Devices
from distmlip.models.interface import Adapter
from distmlip.models.native import NativeChoice
from distmlip.models.quiet import quiet

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

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

    def complaint(self, *found: Values) -> str:
        """By how much this is off, of several the median; empty if it is not."""
        forces, energy, virial = self.original.forces, self.original.energy, self.own.virial
        differences = (
            ("forces", "eV/Ang", [largest(of.forces - forces) for of in found], self.forces_limit),
            ("energy", "eV", [largest(of.energy - energy) for of in found], self.energy_limit),
            ("virial", "eV", [largest(of.virial - virial) for of in found], self.virial_limit),
        )
        medians = [(what, unit, float(np.median(of)), limit) for what, unit, of, limit in differences]
        return " and ".join(
            f"{what} by {difference:.2g} {unit} (at most {limit:.2g} may be)"
            for what, unit, difference, limit in medians
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
                words = expected.complaint(found) and self._complaint_of_turns(evaluator, k, partitions)
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

    def _complaint_of_turns(self, evaluator: Evaluator, k: int, partitions: int) -> str:
        """The same after the cluster was turned: its difference may have been large by bad luck."""
        expected = self._with_more_noise(k)
        return expected.complaint(*self._turned(evaluator, expected.atoms, partitions))

    @cache  # noqa: B019  a guard lives as long as a decision
    def _with_more_noise(self, k: int) -> Expected:
        """Of a cluster, whose noise may have been small by good luck: turned, it has another one."""
        expected = self._expected[k]
        original, turned = expected.original, self._turned(self._own, expected.atoms, partitions=1)
        return replace(
            expected,
            energy_noise=max(largest(found.energy - original.energy) for found in turned),
            forces_noise=max(largest(found.forces - original.forces) for found in turned),
        )

    def _turned(self, evaluator: Evaluator, atoms: Atoms, partitions: int) -> list[Values]:
        """Of a cluster as it is and in several directions, turned back."""
        found = []
        for turn in turns():
            turned = atoms.copy()
            turned.positions = atoms.positions @ turn
            values = self._values(evaluator, turned, partitions)
            found.append(Values(values.energy, values.forces @ turn.T, turn @ values.virial @ turn.T))
        return found

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


def largest(difference: NDArray[np.float64] | float) -> float:
    """The largest absolute component; not a number if one of them is not."""
    return float(np.max(np.abs(difference)))
