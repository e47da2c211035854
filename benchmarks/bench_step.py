"""One MD step of DistCalculator beside the model's own calculator: seconds, peak memory, differences.

    python benchmarks/bench_step.py --families chgnet mace        about half an hour on 2 cores
    python benchmarks/bench_step.py --families sevennet --sizes 128 --repeats 4

Each size is a process of its own, in which all calculators take turns over slightly moved atoms (median of
the rounds after the first ones). Memory is the growth of the peak RSS above the loaded model over two steps,
each calculator in a fresh process. Writes benchmarks/results/step_<family>.json, which keeps the sizes
of earlier runs, and prints the tables.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator

import numpy as np
import psutil
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from harness import RESULTS, Facts, apart, command_line, machine, write
from memory import peak_rss
from models import MODELS, original, step
from structures import SUPERCELLS, supercell

from distmlip import DistCalculator

PARITY_SIZE = 128  # atoms
VARIANTS: dict[str, Facts | None] = {
    "original": None,
    "P=1": {"partitions": 1, "recompute": False},
    "P=1, recompute": {"partitions": 1, "recompute": True},
    "P=4": {"partitions": 4, "recompute": False},
    "P=4, recompute": {"partitions": 4, "recompute": True},
    "auto": {},
}
WARM_UP_ROUNDS = 2


def main() -> None:
    """Run what the command line asks for."""
    parser = command_line(__doc__)
    parser.add_argument("--families", nargs="+", choices=list(MODELS), default=["chgnet", "mace"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=list(SUPERCELLS), default=[504, 1024, 2000])
    parser.add_argument("--repeats", type=int, default=3, help="measured rounds")
    parser.add_argument(
        "--memory-share",
        type=float,
        default=0.6,
        help="of the free memory: what needs more, scaled up from the next smaller size, is not run",
    )
    arguments = parser.parse_args()
    for family in arguments.families:
        path = RESULTS / f"step_{family}.json"
        known = json.loads(path.read_text())["sizes"] if path.exists() else []
        sizes = {size["n_atoms"]: size for size in known}
        results = {"machine": machine(), "family": family, "parity": apart(parity, family=family)}
        for size in sorted(arguments.sizes):
            smaller = [sizes[n] for n in sorted(sizes) if n < size]
            sizes[size] = bench_size(family, size, arguments.repeats, smaller, arguments.memory_share)
            results["sizes"] = [sizes[n] for n in sorted(sizes)]
            write(path, results)
        print(as_markdown(results))


def bench_size(family: str, size: int, repeats: int, smaller: list[Facts], memory_share: float) -> Facts:
    """Memory of every variant, then the seconds per step of those that fit."""
    memory: dict[str, float] = {}
    not_run: dict[str, float] = {}
    for variant in VARIANTS:
        expected = _scaled(smaller, variant, size)
        if expected > memory_share * psutil.virtual_memory().available / 1e6:
            not_run[variant] = expected
        else:
            memory[variant] = apart(peak_memory, family=family, size=size, variant=variant)
        print(f"{family} {size} {variant}: {memory.get(variant, 'not run')}", file=sys.stderr)
    seconds = apart(seconds_per_step, family=family, size=size, variants=list(memory), repeats=repeats)
    return {
        "n_atoms": size,
        "seconds": seconds,
        "memory_mb": memory,
        "not_run_expected_mb": not_run,
        "chosen": apart(chosen, family=family, size=size),
    }


def _scaled(smaller: list[Facts], variant: str, size: int) -> float:
    for result in reversed(smaller):
        known = {**result["memory_mb"], **result["not_run_expected_mb"]}
        if variant in known:
            return float(known[variant]) * size / result["n_atoms"]
    return 0.0


def peak_memory(family: str, size: int, variant: str) -> float:
    """MB of peak RSS above the loaded model, over two steps."""
    calculator = _calculator(MODELS[family](), variant)
    with peak_rss() as growth:
        for moved in _moving(supercell(SUPERCELLS[size]), 2):
            step(calculator, moved)
    return round(growth[0] / 1e6, 1)


def seconds_per_step(family: str, size: int, variants: list[str], repeats: int) -> dict[str, float]:
    """Median seconds of every variant, all in turns."""
    model = MODELS[family]()
    calculators = {variant: _calculator(model, variant) for variant in variants}
    times: dict[str, list[float]] = {variant: [] for variant in variants}
    for moved in _moving(supercell(SUPERCELLS[size]), WARM_UP_ROUNDS + repeats):
        for variant, calculator in calculators.items():
            times[variant].append(step(calculator, moved))
    return {variant: round(statistics.median(taken[WARM_UP_ROUNDS:]), 3) for variant, taken in times.items()}


def chosen(family: str, size: int) -> Facts:
    """What "auto" stands for, why, and the memory that the plan expects."""
    plan = _calculator(MODELS[family](), "auto").plan(supercell(SUPERCELLS[size]))
    expected = {device: round(memory.expected / 1e6, 1) for device, memory in plan.memory.items()}
    return {
        "partitions": plan.n_partitions,
        "recompute": bool(plan.recompute),
        "why": plan.why,
        "expected_mb": expected,
    }


def parity(family: str) -> list[Facts]:
    """Differences to the original for both dtypes at P = 1 and 4, on a small supercell."""
    model = MODELS[family]()
    atoms = supercell(SUPERCELLS[PARITY_SIZE])
    rows = []
    for dtype in ("float64", "float32"):
        for partitions in (1, 4):
            calculator = DistCalculator(model, partitions=partitions, dtype=dtype)
            difference = calculator.verify(atoms)
            largest = float(np.abs(calculator.get_forces(atoms)).max())
            rows.append({"dtype": dtype, "P": partitions, "n_atoms": len(atoms), "max_force": largest,
                         **vars(difference)})  # fmt: skip
    return rows


def as_markdown(results: Facts) -> str:
    """The tables of one family, for the terminal and docs/performance.md."""
    lines = ["| atoms | " + " | ".join(VARIANTS) + " |", "|" + "---|" * (len(VARIANTS) + 1)]
    for size in results["sizes"]:
        cells = [cell(size, variant) for variant in VARIANTS]
        lines.append(f"| {size['n_atoms']} | " + " | ".join(cells) + " |")
    lines += ["", *_choices(results["sizes"])]
    lines += [
        "",
        "| dtype | P | max\\|F\\| (eV/Å) | \\|ΔE\\|/atom (eV) | max\\|ΔF\\| (eV/Å) | max\\|Δσ\\| (eV/Å^3) |",
    ]
    lines.append("|---|---|---|---|---|---|")
    for row in results["parity"]:
        differences = " | ".join(f"{row[name]:.1e}" for name in ("energy_per_atom", "forces", "stress"))
        lines.append(f"| {row['dtype']} | {row['P']} | {row['max_force']:.2f} | {differences} |")
    return "\n".join(lines)


def _choices(sizes: list[Facts]) -> Iterator[str]:
    """What "auto" is, and its time and memory beside the original's."""
    for size in sizes:
        if "chosen" not in size:
            continue
        now = size["chosen"]
        line = f"auto, {size['n_atoms']} atoms: P={now['partitions']}{', recompute' * now['recompute']}"
        if "original" in size["seconds"]:
            ratios = [size[kind]["auto"] / size[kind]["original"] for kind in ("seconds", "memory_mb")]
            line += ", {:.2f} × the original's time, {:.2f} × its memory".format(*ratios)
        yield f"- {line}"


def cell(size: Facts, variant: str) -> str:
    """Seconds and memory of one variant, or why there are none."""
    if variant in size["seconds"]:
        seconds = size["seconds"][variant]
        return f"{seconds:.{2 if seconds >= 0.1 else 3}f} s, {size['memory_mb'][variant]:,.0f} MB"
    if variant not in size["not_run_expected_mb"]:
        return "not measured"
    return f"not run: would need about {size['not_run_expected_mb'][variant] / 1000:.0f} GB"


def _calculator(model: torch.nn.Module, variant: str) -> Calculator:
    options = VARIANTS[variant]
    return original(model) if options is None else DistCalculator(model, **options)


def _moving(atoms: Atoms, steps: int) -> Iterator[Atoms]:
    random = np.random.default_rng(1)
    for _ in range(steps):
        atoms.rattle(2e-3, rng=random)
        yield atoms.copy()


if __name__ == "__main__":
    main()
