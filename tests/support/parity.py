"""The parity test factory: one call compares a distributed calculation with the undivided original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from distmlip import DistCalculator
from distmlip.models import adapter_for
from distmlip.models.interface import Adapter

LOWEST_LARGEST_FORCE = 0.5
"""eV/Å; with smaller forces an absolute tolerance would show little."""

EXACT = {"energy": 1e-10, "forces": 1e-9, "stress": 1e-11, "magmoms": 1e-9, "energies": 1e-9}
"""Largest absolute difference in float64; energy in eV/atom."""

NOISE_FACTOR = 1.5
NOISE_FLOOR = 1e-6


@dataclass(frozen=True)
class Values:
    """What is compared; energy in eV/atom, stress times volume over the volume of the structure compared."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray | None
    magmoms: np.ndarray | None
    energies: np.ndarray | None

    def differences(self, other: Values, norm: Callable[[Any], Any]) -> dict[str, float]:
        """The norm of the difference of every quantity that both have."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in EXACT}
        present = {name: pair for name, pair in pairs.items() if pair[0] is not None and pair[1] is not None}
        return {name: float(norm(ours - theirs)) for name, (ours, theirs) in present.items()}


def all_results(calculator: Any) -> dict[str, Any]:
    """The properties of ASE that a calculator has, and what else it has."""
    return {**calculator.results, **getattr(calculator, "extras", {})}


def largest(difference: Any) -> Any:
    """The largest absolute component."""
    return np.max(np.abs(difference))


def root_mean_square(difference: Any) -> Any:
    """How far apart in float32: the largest component of rounding noise is a matter of luck, this is not."""
    return np.sqrt(np.mean(np.square(difference)))


_originals: dict[tuple[Any, ...], tuple[Any, Values]] = {}


def assert_parity(
    model: Any,
    atoms: Atoms,
    partitions: int,
    dtype: torch.dtype = torch.float64,
    *,
    reference_atoms: Atoms | None = None,
    strong_forces: bool = True,
    tolerances: Mapping[str, float] = EXACT,
    **options: Any,
) -> dict[str, float]:
    """Assert that ``DistCalculator(model, partitions=partitions)`` gives the original's results.

    ``reference_atoms`` are the same atoms as the original needs them (see ``Structure.reference``).
    ``strong_forces=False`` is for structures whose forces vanish by symmetry. ``tolerances`` are those in
    float64; in float32 ours may be 1.5 times as far from the float64 original as the float32 original.
    Returns the differences to the float64 original.
    """
    reference_atoms = atoms if reference_atoms is None else reference_atoms
    calculator = DistCalculator(model, devices="cpu", partitions=partitions, dtype=dtype, **options)
    ours = values_of(calculator, atoms, atoms)
    exact = original(model, reference_atoms, atoms, torch.float64, options)
    largest_force = float(np.linalg.norm(exact.forces, axis=1).max())
    if strong_forces and len(atoms) > 1:
        assert largest_force >= LOWEST_LARGEST_FORCE, f"the test proves little: largest force {largest_force}"
    norm = root_mean_square if dtype == torch.float32 else largest
    differences = ours.differences(exact, norm)
    limits = dict(tolerances)
    if dtype == torch.float32:
        noise = original(model, reference_atoms, atoms, dtype, options).differences(exact, norm)
        floor = NOISE_FLOOR * max(1.0, largest_force)
        limits = {name: NOISE_FACTOR * value + floor for name, value in noise.items()}
    too_far = {
        name: (value, limits[name]) for name, value in differences.items() if not value <= limits[name]
    }
    assert not too_far, f"(difference, limit) with {partitions} partitions in {dtype}: {too_far}"
    assert_exchanges_follow_the_plan(calculator)
    return differences


def original(
    model: Any, reference: Atoms, atoms: Atoms, dtype: torch.dtype, options: dict[str, Any]
) -> Values:
    """The undivided original's values; computed once for each model, structure and dtype."""
    family_options = _family_options(options)
    structure = (
        reference.numbers,
        reference.positions,
        reference.cell.array,
        reference.pbc,
        atoms.cell.array,
    )
    options_and_info = repr((sorted(family_options.items()), sorted(reference.info.items())))
    key = (id(model), dtype, options_and_info, *(array.tobytes() for array in structure))
    if key not in _originals:
        calculator = _adapter(model, dtype, options).original(dtype)
        _originals[key] = (
            model,
            values_of(calculator, reference, atoms),
        )  # keeps the model: its id stays its own
    return _originals[key][1]


def values_of(calculator: Any, atoms: Atoms, compared: Atoms) -> Values:
    """A calculator's results for ``atoms``; its stress as if it were in the cell of ``compared``."""
    atoms = atoms.copy()
    atoms.calc = calculator
    forces, results = atoms.get_forces(), calculator.results
    stress, volume = results.get("stress"), compared.cell.volume
    if stress is not None and np.shape(stress) == (3, 3):
        stress = full_3x3_to_voigt_6_stress(stress)
    return Values(
        energy=float(results["energy"]) / len(atoms),
        forces=np.asarray(forces, np.float64),
        stress=None if stress is None or volume == 0 else np.asarray(stress) * (atoms.cell.volume / volume),
        magmoms=_array(results.get("magmoms")),
        energies=_array(results.get("energies")),
    )


def assert_exchanges_follow_the_plan(calculator: DistCalculator) -> None:
    """No exchange delivered more than the plan says: gathering everything in one partition cannot pass."""
    adapter, plan = calculator._adapter, calculator.plan()
    itemsize = torch.empty(0, dtype=adapter.dtype).element_size()
    planned = {(of.stage, of.kind, of.name): of.n_bytes for of in plan.exchanges}
    for stage in calculator._evaluator._stages_of(0, 0):
        for exchange in stage.before:
            rows = calculator.counters[stage.name][f"received {exchange.name}"]
            n_bytes = rows * int(np.prod(exchange.width)) * itemsize
            allowed = sum(planned.pop((stage.name, exchange.kind, exchange.name))) * len(adapter.models)
            assert n_bytes <= allowed, (
                f"{stage.name} received {n_bytes} bytes of {exchange.name}, not {allowed}"
            )
            if exchange.kind == "halo":
                assert rows <= sum(plan.halo) * len(adapter.models)
    assert not planned, f"exchanges in the plan that no stage has: {planned}"


def difference_quotient(atoms: Atoms, step: float, change: Callable[[Atoms, float], object]) -> float:
    """The slope of the energy along a change of the structure, from finite differences."""
    energies = []
    for h in (step, -step):
        changed = atoms.copy()
        changed.calc = atoms.calc
        change(changed, h)
        energies.append(changed.get_potential_energy())
    return (energies[0] - energies[1]) / (2 * step)


def _adapter(model: Any, dtype: torch.dtype, options: dict[str, Any]) -> Adapter:
    return adapter_for(model, dtype, **_family_options(options))


def _family_options(options: dict[str, Any]) -> dict[str, Any]:
    own = {"kernels", "method", "radial", "recompute", "skin", "weights"}
    return {name: value for name, value in options.items() if name not in own}


def _array(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, np.float64)


def assert_forces_and_stress_are_slopes(atoms: Atoms) -> None:
    """Of the energy: one component of each, by finite differences."""
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)

    def moved(changed: Atoms, h: float) -> None:
        changed.positions[3, 1] += h

    def sheared(changed: Atoms, h: float) -> None:
        strain = np.eye(3)
        strain[0, 1] = strain[1, 0] = h / 2
        changed.set_cell(changed.cell.array @ strain, scale_atoms=True)

    assert difference_quotient(atoms, 1e-4, moved) == pytest.approx(-forces[3, 1], abs=1e-6)
    slope = difference_quotient(atoms, 1e-4, sheared) / atoms.get_volume()
    assert slope == pytest.approx(stress[0, 1], abs=1e-7)
