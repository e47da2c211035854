"""The ASE calculator: any supported model object over many partitions and devices."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import ArrayLike, NDArray

from distmlip.cell import volume_of
from distmlip.devices import DeviceLike, resolve_devices
from distmlip.errors import InvalidInputError, NonFiniteResultError
from distmlip.evaluator import Evaluator, Settings
from distmlip.inputs import check_atoms
from distmlip.models import adapter_for
from distmlip.options import (
    METHODS,
    checked_choice,
    checked_dtype,
    checked_length,
    checked_partitions,
    checked_weights,
)
from distmlip.plan import Plan

PER_ATOM_TENSORS = frozenset({"stresses", "virials"})


@dataclass(frozen=True)
class Verification:
    """Largest absolute differences to the undivided original; None where one of them has no such result."""

    energy_per_atom: float
    """eV/atom."""
    forces: float
    """eV/Å."""
    stress: float | None
    """eV/Å^3; None with MACE unless the cell is fully periodic: else it divides by a volume of its own."""
    magmoms: float | None
    """μB."""

    def __str__(self) -> str:
        units = {"energy_per_atom": "eV/atom", "forces": "eV/Å", "stress": "eV/Å^3", "magmoms": "μB"}
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        shown = {
            name: "-" if value is None else f"{value:.1e} {units[name]}" for name, value in values.items()
        }
        return "differences to the original: " + ", ".join(f"{name} {text}" for name, text in shown.items())


class DistCalculator(Calculator):
    """Energies, forces and stresses of a machine-learning potential, computed over partitions.

    The system is cut into partitions; each computes only the atoms, edges and angles that it owns, and
    fetches the features of remote atoms before every message-passing layer. Results are the original's.

    Args:
        model: a model object, a list of them (a committee), or the family's own ASE calculator. It is not
            changed; after changing its weights make a new calculator.
        devices: ``"auto"`` (every visible GPU, else the CPU), a device, or a list of devices.
        partitions: how many, from 1 to a million; more than devices or atoms is fine. ``"auto"``: one per
            GPU; on a CPU as many as make partitions small enough for the caches.
        method: how to cut: ``"slab"`` (parallel slabs along one axis), ``"bisection"`` (recursive) or
            ``"auto"``.
        weights: (n_atoms,) cost of each atom, to balance partitions; default: its number of edges.
        recompute: compute the inside of each stage again in the backward sweep instead of keeping it: much
            less memory for about one more forward. ``"auto"`` is off.
        skin: Å; the neighbour list is kept until atoms can have come nearer by that. It changes no result.
        dtype: ``torch.float32`` or ``torch.float64`` (or their names); None: the model's own.
        **family_options: options of the model family, such as ``head`` for MACE.

    Raises:
        UnsupportedModelError: the model, or a named part of it, cannot be distributed.
        InvalidInputError: an argument is out of its range.
        DeviceError: a device does not exist.
    """

    name = "distmlip"

    def __init__(
        self,
        model: Any,
        *,
        devices: DeviceLike | Sequence[DeviceLike] = "auto",
        partitions: int | str = "auto",
        method: str = "auto",
        weights: ArrayLike | None = None,
        recompute: bool | str = "auto",
        skin: float = 0.5,
        dtype: torch.dtype | str | None = None,
        **family_options: Any,
    ) -> None:
        super().__init__()
        options = {
            "devices": devices,
            "partitions": partitions,
            "method": method,
            "weights": weights,
            "recompute": recompute,
            "skin": skin,
            "dtype": dtype,
        }
        self._arguments = (model, {**options, **family_options})
        self._lock = threading.RLock()  # threads that share the calculator take turns
        settings = Settings(
            devices=resolve_devices(devices),
            partitions=checked_partitions(partitions),
            method=checked_choice("method", method, METHODS),
            weights=checked_weights(weights),
            recompute=checked_choice("recompute", recompute, (True, False, "auto")) is True,
            skin=checked_length("skin", skin),
        )
        with torch.inference_mode(False):  # a caller's would make tensors that know no gradients
            self._adapter = adapter_for(model, checked_dtype(dtype), **family_options)
        self._evaluator = Evaluator(self._adapter, settings)
        self.implemented_properties = list(self._adapter.implemented_properties)
        # What ASE writes into trajectories: plain values, never the model.
        self.parameters.update(
            family=self._adapter.family,
            devices=[str(device) for device in settings.devices.devices],
            partitions=settings.partitions or "auto",
            method=method,
            recompute=settings.recompute,
            skin=settings.skin,
            dtype=str(self._adapter.dtype).removeprefix("torch."),
        )

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute properties of the atoms (ASE's contract); they are kept in ``results``.

        All of them, but for those with a tensor per atom (``stresses``), which are there only if they are
        asked for, or if ``properties`` is not given.
        """
        target = atoms if atoms is not None else self.atoms
        if target is None:
            raise InvalidInputError(
                "there are no atoms to calculate; give atoms, or set atoms.calc = calculator"
            )
        with self._lock:
            self.results = {}
            self._check_atoms(target)
            super().calculate(target, list(properties or self.implemented_properties), system_changes)
            self.results = self._results(
                target, properties is None or not PER_ATOM_TENSORS.isdisjoint(properties)
            )

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """ASE's way to one result; calculates if something has changed."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; also quantities such as the charge in ``atoms.info``."""
        changes: list[str] = super().check_state(atoms, tol=tol)
        if (
            self.atoms is not None
            and not changes
            and not _equal(self._adapter.system(atoms), self._adapter.system(self.atoms))
        ):
            changes.append("info")
        return changes

    def plan(self, atoms: Atoms | None = None) -> Plan:
        """How these atoms (default: the last ones) are distributed. Evaluates nothing."""
        target = atoms if atoms is not None else self.atoms
        if target is None:
            raise InvalidInputError("there are no atoms to plan for; call plan(atoms)")
        self._check_atoms(target)
        with self._lock:
            return self._evaluator.plan(target)

    def verify(self, atoms: Atoms) -> Verification:
        """Compare with the undivided original: the family's own calculator on a copy of the model.

        Needs the original's memory and time for this structure.
        """
        self._check_atoms(atoms)
        ours = self._results(atoms, with_virials=False)
        original = atoms.copy()
        original.calc = self._adapter.reference()
        try:
            forces = original.get_forces()
            theirs = original.calc.results
        except Exception as error:
            error.add_note("raised by the original calculator, which verify() compares with")
            raise
        stress = theirs.get("stress")
        return Verification(
            energy_per_atom=abs(ours["energy"] - float(theirs["energy"])) / len(atoms),
            forces=_difference(ours["forces"], forces),
            stress=None
            if stress is None or "stress" not in ours
            else _difference(ours["stress"], _voigt(stress)),
            magmoms=_difference(ours["magmoms"], theirs["magmoms"]) if "magmoms" in ours else None,
        )

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Rows that each stage computed in the last call, summed over partitions: ``atoms``, ``edges``,
        ``bonds``, ``angles``, and ``received …`` for the rows that an exchange delivered before it.

        The first four are the sizes of the graphs that the stage ran on, for the kinds of row that it says it
        updates; tests compare them with hooks on the models' own submodules.
        """
        return self._evaluator.counters

    def set(self, **changes: Any) -> dict[str, Any]:
        """Options are fixed at construction.

        Raises:
            InvalidInputError: always, if there is anything to change.
        """
        if changes:
            raise InvalidInputError(
                f"cannot change {', '.join(changes)}; make a new DistCalculator with these options"
            )
        return {}

    def __copy__(self) -> DistCalculator:
        return _rebuild(*self._arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> DistCalculator:
        return self.__copy__()  # the model is never changed, so copies share it

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._arguments

    def _check_atoms(self, atoms: Atoms) -> None:
        check_atoms(atoms, self._adapter, self._evaluator.settings.weights)

    def _results(self, atoms: Atoms, with_virials: bool) -> dict[str, Any]:
        with self._lock:
            evaluations = self._evaluator.evaluate(atoms, with_virials)
        results = self._adapter.results(atoms, evaluations)
        _check_finite(results)
        volume = volume_of(atoms)
        if volume > 0 and self._adapter.conservative:
            virial = np.mean([evaluation.virial for evaluation in evaluations], axis=0)
            results["stress"] = full_3x3_to_voigt_6_stress(-virial / volume)
            virials = [evaluation.virials for evaluation in evaluations if evaluation.virials is not None]
            if virials:
                results["stresses"] = full_3x3_to_voigt_6_stress(-np.mean(virials, axis=0) / volume)
        return results


def _rebuild(model: Any, options: dict[str, Any]) -> DistCalculator:
    return DistCalculator(model, **options)


def _check_finite(results: dict[str, Any]) -> None:
    energies, forces = results["energies"], results["forces"]
    finite = np.isfinite(energies) & np.isfinite(forces).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        raise NonFiniteResultError(
            f"the model gave energy {energies[first]} eV and force {forces[first].tolist()} eV/Å for atom "
            f"{first}, and {np.count_nonzero(~finite)} atoms in all are not finite; check for atoms "
            "that are very close, or use dtype='float64'"
        )


def _voigt(stress: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(stress, dtype=np.float64)
    return full_3x3_to_voigt_6_stress(array) if array.shape == (3, 3) else array


def _difference(ours: ArrayLike, theirs: ArrayLike) -> float:
    return float(np.max(np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))))


def _equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
