"""The main job on real input: a pretrained model over several partitions, beside its own calculator."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.io import read

from distmlip.calculator import DistCalculator
from distmlip.commands.report import Agreement, Cut
from distmlip.errors import InvalidInputError
from distmlip.graph.partitioning import partition
from distmlip.md import History, relax, run
from distmlip.models import FAMILIES, adapter_for
from distmlip.records.plan import Plan

STRUCTURE = "mp-18767-LiMnO2.cif"
WITH_WEIGHTS = {"chgnet": FAMILIES["chgnet"], "sevennet": FAMILIES["sevenn"]}
"""Families whose Python package ships weights."""


@dataclass(frozen=True)
class Setup:
    """Everything that is decided before the first step."""

    calculator: DistCalculator
    plan: Plan
    start: Atoms
    """The structure that ``plan`` and ``cut`` belong to."""
    cut: Cut


def pretrained(family: str) -> Calculator:
    """The family's own calculator, with the weights that its package ships.

    Raises:
        InvalidInputError: the family is unknown or ships no weights.
        ImportError: its package is not installed; the message has the command.
    """
    if family not in WITH_WEIGHTS:
        raise InvalidInputError(
            f"family {family!r} has no weights in its package; use one of {', '.join(WITH_WEIGHTS)}"
        )
    package = WITH_WEIGHTS[family].distribution
    try:
        adapter = WITH_WEIGHTS[family].adapter_module()
    except ImportError as error:
        raise ImportError(
            f"the {family} package is missing ({error}); run: pip install {package}, "
            f"or pip install '.[{family}]' in distmlip's source folder"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # chgnet announces its device
        return adapter.pretrained()


def rattled_supercell(repeats: Sequence[int], seed: int, amplitude: float = 0.05) -> Atoms:
    """LiMnO2 of the Materials Project, repeated and displaced by normal random numbers of ``amplitude`` Å."""
    with resources.as_file(resources.files("distmlip") / "data" / STRUCTURE) as path:
        unit_cell = read(path)
    atoms = unit_cell.repeat(tuple(repeats))
    # The CIF reader leaves notes on the unit cell that are not true of a supercell.
    atoms.info.clear()
    atoms.rattle(amplitude, rng=np.random.default_rng(seed))
    return atoms


def prepare(original: Calculator, atoms: Atoms, partitions: int) -> Setup:
    """Plan ``atoms`` over ``partitions``; nothing is evaluated yet."""
    calculator = DistCalculator(original, partitions=partitions)
    plan = calculator.plan(atoms)
    # The calculator's own graph reaches as far as the skin.
    reach = adapter_for(original, None).cutoff + calculator.parameters["skin"]
    cut = partition(atoms, reach, partitions, method=plan.method)
    shown = int(np.argmax(plan.owned))
    return Setup(calculator, plan, atoms.copy(), Cut(cut.owner, shown, cut.parts[shown].halo))


def simulate(
    atoms: Atoms,
    calculator: DistCalculator,
    *,
    relax_steps: int,
    steps: int,
    temperature: float,
    timestep: float,
    seed: int,
    trajectory: Path,
) -> tuple[History, History]:
    """Relax, then run NVT at ``temperature`` (K) with ``timestep`` (fs); ``trajectory`` gets every step."""
    trajectory.unlink(missing_ok=True)
    atoms.calc = calculator
    relaxation = relax(atoms, relax_steps, trajectory=trajectory)
    dynamics = run(
        atoms,
        steps,
        ensemble="nvt",
        temperature=temperature,
        timestep=timestep,
        seed=seed,
        trajectory=trajectory,
    )
    return relaxation, dynamics


def compare(atoms: Atoms, calculator: DistCalculator, original: Calculator, rounds: int = 3) -> Agreement:
    """Differences on ``atoms``, and the median time of a step of both, measured in turns."""
    difference = calculator.verify(atoms)
    assert difference.stress is not None  # the system is periodic
    times: dict[str, list[float]] = {"ours": [], "original": []}
    for moved in (_displaced(atoms, seed) for seed in range(rounds)):
        times["ours"].append(_seconds(calculator, moved))
        times["original"].append(_seconds(original, moved))
    # Recompute: twice the bytes of float64 need not fit where float32 just does.
    exact = DistCalculator(
        original, partitions=calculator.parameters["partitions"], recompute=True, dtype="float64"
    )
    exact_forces = exact.get_forces(moved)
    forces = calculator.results["forces"]
    return Agreement(
        energy_per_atom=calculator.get_potential_energy(atoms) / len(atoms),
        max_force=float(np.abs(forces).max()),
        energy_difference=difference.energy_per_atom,
        force_difference=difference.forces,
        stress_difference=difference.stress,
        force_rounding=float(np.abs(forces - exact_forces).max()),
        original_force_rounding=float(np.abs(original.results["forces"] - exact_forces).max()),
        seconds=float(np.median(times["ours"])),
        original_seconds=float(np.median(times["original"])),
    )


def _displaced(atoms: Atoms, seed: int) -> Atoms:
    """A copy as different as the next step of a trajectory would be."""
    moved = atoms.copy()
    moved.rattle(1e-3, rng=np.random.default_rng(seed))
    return moved


def _seconds(calculator: Calculator, atoms: Atoms) -> float:
    start = time.perf_counter()
    calculator.calculate(atoms, ["energy", "forces", "stress"], ["positions"])
    return time.perf_counter() - start
