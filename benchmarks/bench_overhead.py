"""What an MD step costs beside the model: graph and its rebuilds, forces from edges, everything in Python.

    python benchmarks/bench_overhead.py             five minutes;  --quick  10,000 atoms, a few steps

Copper at 300 K over 8 partitions, or as many as are chosen on a CPU ("auto": one per 128 atoms), steps of
2 fs with a pair potential. What DistCalculator takes without the time inside the potential's stages, forward
and backward, is overhead; ASE's own share is beside it. "with a halo" adds a stage and one exchange of 256
bytes for every halo atom, forward and backward, as a layer of message passing has; "of one number" an
exchange of nearly nothing. The parts are measured by themselves after the run.

Writes benchmarks/results/overhead.json and prints it as a table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import result_tables
import torch
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from harness import QUARTILES, RESULTS, Arena, Call, Candidate, Describe, Facts, command_line, record
from pair_potential import Clock, PairAdapter
from structures import copper

from distmlip import DistCalculator

OUTPUT = RESULTS / "overhead.json"
TEMPERATURE = 300.0  # K
TIMESTEP = 2.0  # fs
WIDTHS = {"no exchange": 0, "with a halo of one number": 1, "with a halo": 64}  # numbers of float32
PARTITIONS = {"": 8, "auto, ": None}
PART_REPEATS = 7
WARM_UP_STEPS = 5
LIMIT = 600.0  # s


def steps_of(atoms: Atoms, *, n_steps: int, width: int, n_partitions: int | None) -> tuple[Call, Describe]:
    """An MD run, after a few steps of warm-up; its facts are microseconds per atom and step."""
    inside, whole = Clock(), Clock()
    adapter = PairAdapter(inside, width)
    calculator = DistCalculator(adapter, devices="cpu", partitions=n_partitions or "auto")
    calculator.calculate = partial(whole.time, calculator.calculate)  # type: ignore[method-assign]
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    dynamics.run(WARM_UP_STEPS)

    def run() -> Facts:
        overhead, stages, ase = [], [], []
        n_built = calculator._evaluator.graphs.native.n_built
        for _ in range(n_steps):
            inside.reset()
            whole.reset()
            cpu = time.process_time()
            dynamics.run(1)
            ase.append(time.process_time() - cpu - whole.cpu)
            overhead.append((whole.wall - inside.wall, whole.cpu - inside.cpu))
            stages.append(inside.wall)
        per_atom = 1e6 / len(atoms)
        quartiles = np.quantile(overhead, QUARTILES, axis=0).T * per_atom
        wall, cpu = np.mean(overhead, axis=0) * per_atom
        n_rebuilds = calculator._evaluator.graphs.native.n_built - n_built
        parts = {name: seconds * per_atom for name, seconds in parts_of(calculator, atoms).items()}
        known = parts["update"] + parts["forces"] + parts["rebuild"] * n_rebuilds / n_steps
        return {
            "n_partitions": len(calculator.plan(atoms).owned),
            "n_steps": n_steps,
            "rebuilds": n_rebuilds,
            "overhead_wall_us": wall,
            "overhead_cpu_us": cpu,
            "overhead_wall_us_quartiles": list(quartiles[0]),
            "overhead_cpu_us_quartiles": list(quartiles[1]),
            "stages_wall_us": float(np.mean(stages)) * per_atom,
            "ase_cpu_us": float(np.mean(ase)) * per_atom,
            "parts_cpu_us": {**parts, "sweep and Python": cpu - known},
        }

    return run, dict


def parts_of(calculator: DistCalculator, atoms: Atoms) -> dict[str, float]:
    """CPU seconds of each part of a step: medians."""
    graphs = calculator._evaluator.graphs
    step = graphs.native.step

    def gradients() -> list[torch.Tensor]:
        return [torch.zeros_like(part.vectors) for part in step.parts]

    calls: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Any, ...]]]] = {
        "update": (lambda: step.update(atoms.positions, atoms.cell.array), tuple),
        "forces": (lambda given: step.forces(given, False), lambda: (gradients(),)),
        "rebuild and update": (lambda _: graphs.update(atoms), lambda: (graphs.forget(),)),
    }
    medians = {}
    for name, (call, prepare) in calls.items():
        times = []
        for _ in range(PART_REPEATS):
            arguments = prepare()
            start = time.process_time()
            call(*arguments)
            times.append(time.process_time() - start)
        medians[name] = float(np.median(times))
    medians["rebuild"] = medians.pop("rebuild and update") - medians["update"]
    return medians


def main() -> None:
    """Measure, write JSON, print a table."""
    parser = command_line(__doc__)
    parser.add_argument("--size", type=int, default=10**5, help="atoms, about")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON; by default in benchmarks/results unless quick")
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.quick else OUTPUT)
    if arguments.quick:
        arguments.size, arguments.steps = 10**4, 10
    print(result_tables.overhead(record(output, measured(arguments))))


def measured(arguments: argparse.Namespace) -> Iterator[Facts]:
    """A case for every number of threads."""
    arena, atoms = Arena(["distmlip"]), copper(arguments.size)
    for threads in arguments.threads:
        results = {}
        for (prefix, n_partitions), (name, width) in product(PARTITIONS.items(), WIDTHS.items()):
            options = {"n_steps": arguments.steps, "width": width, "n_partitions": n_partitions}
            candidate = Candidate(prefix + name, steps_of, atoms, options, threads=threads)
            results |= arena.compete([candidate], rounds=0, limit=LIMIT, budget=0.0)
        yield {"n_atoms": len(atoms), "threads": threads, "results": results}


if __name__ == "__main__":
    main()
