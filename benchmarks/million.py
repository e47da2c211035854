"""A step of a million atoms on this machine, with automatic choices: time, memory, and whether it is right.

    python benchmarks/million.py                    TensorNet, MACE and CHGNet; minutes, and up to 20 GB
    python benchmarks/million.py chgnet --atoms 2000 --output small.json

A block of 288 atoms of LiMnO2 is shaken and repeated, shaken atoms with it, to about so many atoms as a cube
has. The step is energy, forces and stress as ASE's drivers ask for them, neighbour list and graphs included,
with `DistCalculator(model)` and the threads that it takes by itself. What happens once for a model was done
before, with the block: kernels are compared with the original, and costs measured. Every atom of the large
system has the forces of its twin in the block, for which the original says them in float64; energy per atom
and stress are the block's, too.

Each model is a process of its own, and so is its original. Writes benchmarks/results/million.json, where a
case takes the place of an earlier one of the same model and number of atoms, and prints goals and tables.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import numpy as np
import psutil
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from bench_native import CELLS, fma_peak, versions
from goals import as_table
from harness import RESULTS, Facts, attempt, command_line, installed, machine, write
from memory import peak_rss
from native_goals import of_million
from native_models import NATIVE_MODELS
from result_tables import table
from structures import supercell

from distmlip import DistCalculator
from distmlip.models import adapter_for

OUTPUT = RESULTS / "million.json"
MODELS = {"tensornet": "TensorNet, warp", "mace": "MACE medium", "chgnet": "CHGNet 0.3.0"}
"""Of ``NATIVE_MODELS``, by the names that the command line takes."""
BLOCK = CELLS[288]
HEAD = {
    "steps": ["wall s", "CPU s", "CPU µs per atom", "peak RSS, GB", "above the model, GB", "threads"],
    "chosen": ["partitions", "recompute", "edges, angles per atom", "stages"],
    "errors": ["max\\|F\\|, eV/Å", "forces", "of the block alone", "energy, eV per atom", "stress, eV/Å³"],
}


def main() -> None:
    """Run what the command line asks for."""
    parser = command_line(__doc__)
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="|".join(MODELS))
    parser.add_argument("--atoms", type=float, default=1e6, help="about so many")
    parser.add_argument("--limit", type=float, default=3600.0, help="s, for a model, its original aside")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - set(MODELS):
        parser.error(f"no {', '.join(sorted(unknown))} among {', '.join(MODELS)}")
    path: Path = arguments.output
    known = json.loads(path.read_text())["cases"] if path.exists() else []
    cases = {key(case): case for case in known}
    for name in dict.fromkeys(arguments.models):
        case = run(MODELS[name], arguments.atoms, arguments.limit)
        cases = dict(sorted((cases | {key(case): case}).items()))
        write(path, {"cases": list(cases.values())})
    print(as_markdown(list(cases.values())))


def key(case: Facts) -> tuple[int, int]:
    """What makes a case another one, and its place."""
    return list(MODELS.values()).index(case["model"]), case["n_atoms"]


def run(model: str, n_atoms: float, limit: float) -> Facts:
    """One model's case, and what it was measured on."""
    block = supercell(BLOCK)
    repeats = repeats_for(block, n_atoms)
    facts = {
        "model": model,
        "n_atoms": len(block) * int(np.prod(repeats)),
        "structure": f"LiMnO2, {len(block)} shaken atoms × {' × '.join(map(str, repeats))}",
        "density": round(len(block) / block.get_volume(), 4),
        "machine": {**machine(), "fma_gflops": fma_peak(), "versions": versions(None)},
    }
    with patch.dict(os.environ, CUDA_VISIBLE_DEVICES=""):
        say(model, "the block, by the original in float64")
        expected = attempt(limit, of_original, model=model)
        if "status" in expected:
            return {**facts, "status": f"the original: {expected['status']}"}
        result = attempt(limit, of_ours, model=model, repeats=repeats, expected=expected)
    say(model, result.get("status", "done"))
    return {**facts, **result}


def say(model: str, what: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {model}: {what}", file=sys.stderr, flush=True)


def repeats_for(block: Atoms, n_atoms: float) -> tuple[int, ...]:
    """So many blocks along each axis, of a shape near a cube's."""
    edge = (n_atoms / len(block) * block.get_volume()) ** (1 / 3)
    near = [{max(1, int(edge / length)), int(edge / length) + 1} for length in block.cell.lengths()]
    return min(itertools.product(*map(sorted, near)), key=lambda of: abs(len(block) * np.prod(of) - n_atoms))


def in_float32(model: str) -> torch.nn.Module:
    """As published: the calculator takes the dtype of its model."""
    if installed("warp"):
        import_module("quiet_warp")  # before the model does: it names every kernel that it loads
    return NATIVE_MODELS[model]().float()


def evaluate(atoms: Atoms, calculator: Calculator) -> Facts:
    """All that a step of MD with a barostat asks for, as ASE's drivers do."""
    atoms.calc = calculator
    forces: np.ndarray = atoms.get_forces()
    return {"energy": atoms.get_potential_energy(), "forces": forces, "stress": atoms.get_stress()}


def of_original(model: str) -> Facts:
    """What the block has by the original in float64."""
    return evaluate(supercell(BLOCK), adapter_for(in_float32(model), torch.float64).original())


def of_ours(model: str, repeats: tuple[int, ...], expected: Facts) -> Facts:
    """The step, what was chosen for it, and its differences to what the original says of the block."""
    calculator, block = DistCalculator(in_float32(model)), supercell(BLOCK)
    say(model, "the block")
    of_block = evaluate(block, calculator)
    say(model, calculator.plan(block).kernels)
    atoms = block.repeat(repeats)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what reading the model has left free would hide what a step needs
    say(model, f"{len(atoms):,} atoms")
    before = psutil.Process().memory_info().rss
    with peak_rss() as growth:
        wall, cpu = time.perf_counter(), time.process_time()
        results = evaluate(atoms, calculator)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    say(model, f"{wall:.1f} s, {(before + growth[0]) / 1e9:.2f} GB")
    return {
        "dtype": calculator.parameters["dtype"],
        "threads": torch.get_num_threads(),
        "wall_s": wall,
        "cpu_s": cpu,
        "peak_gb": (before + growth[0]) / 1e9,
        "growth_gb": growth[0] / 1e9,
        **chosen(calculator, atoms),
        "max_force": float(np.abs(expected["forces"]).max()),
        **differences(results, expected, len(block)),
        "block": differences(of_block, expected, len(block)),
    }


def chosen(calculator: DistCalculator, atoms: Atoms) -> Facts:
    """What the plan says of a system."""
    plan = calculator.plan(atoms)
    return {
        "partitions": plan.n_partitions,
        "method": plan.method,
        "recompute": plan.recompute.name,
        "why": plan.why,
        "kernels": plan.kernels,
        "edges_per_atom": sum(plan.edges) / len(atoms),
        "angles_per_atom": sum(plan.angles) / len(atoms),
    }


def differences(results: Facts, expected: Facts, n_block: int) -> Facts:
    """The largest of each kind to what is expected of the block, of all its repetitions."""
    forces = results["forces"].reshape(-1, n_block, 3)
    per_atom = results["energy"] / (n_block * len(forces))
    return {
        "force_error": float(np.max([np.abs(of - expected["forces"]).max() for of in forces])),
        "energy_error": float(abs(per_atom - expected["energy"] / n_block)),
        "stress_error": float(np.abs(results["stress"] - expected["stress"]).max()),
    }


def as_markdown(cases: list[Facts]) -> str:
    """Goals, then steps, choices and errors; and what failed."""
    measured = [case for case in cases if "status" not in case]
    parts = [as_table(of_million(cases, list(MODELS.values())))]
    for title, head, rows in (
        ("The step, neighbour list included:", HEAD["steps"], steps),
        ("What was chosen for it:", HEAD["chosen"], choices),
        (
            "Largest difference of all atoms to the original in float64, which has computed the block that "
            "repeats; beside that of the block by itself:",
            HEAD["errors"],
            errors,
        ),
    ):
        if measured:
            named = [[case["model"], f"{case['n_atoms']:,}"] for case in measured]
            lines = [[*name, *row] for name, row in zip(named, rows(measured), strict=True)]
            parts += [title, table(["model", "atoms", *head], lines)]
    if failed := [case for case in cases if "status" in case]:
        words = [f"- {case['model']}, {case['n_atoms']:,} atoms: {case['status']}" for case in failed]
        parts += ["What failed:", "\n".join(words)]
    return "\n\n".join(parts)


def steps(cases: list[Facts]) -> Iterator[list[str]]:
    """Time and memory."""
    for case in cases:
        per_atom = 1e6 * case["cpu_s"] / case["n_atoms"]
        taken = [f"{case['wall_s']:.1f}", f"{case['cpu_s']:.1f}", f"{per_atom:,.0f}"]
        yield [*taken, f"{case['peak_gb']:.2f}", f"{case['growth_gb']:.2f}", str(case["threads"])]


def choices(cases: list[Facts]) -> Iterator[list[str]]:
    """By the plan."""
    for case in cases:
        per_atom = f"{case['edges_per_atom']:.1f}, {case['angles_per_atom']:.1f}"
        partitions = f"{case['partitions']} by {case['method']}"
        yield [partitions, case["recompute"], per_atom, case["kernels"]]


def errors(cases: list[Facts]) -> Iterator[list[str]]:
    """Beside the block's."""
    for case in cases:
        forces = [f"{of['force_error']:.1e}" for of in (case, case["block"])]
        others = [f"{case[name]:.1e}" for name in ("energy_error", "stress_error")]
        yield [f"{case['max_force']:.2f}", *forces, *others]


if __name__ == "__main__":
    main()
