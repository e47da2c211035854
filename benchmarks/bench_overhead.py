"""What an MD step costs beside the model: graph and its rebuilds, forces from edges, ASE's integrator.

    python benchmarks/bench_overhead.py             two minutes;  --quick  10,000 atoms, a few steps

Copper at 300 K over 8 partitions, steps of 2 fs with a pair potential. The time inside the potential's
stages, forward and backward, is taken off each step; all else is overhead. "with a halo" adds one exchange
of 256 bytes for every halo atom, forward and backward, as a layer of message passing has.

Writes benchmarks/results/overhead.json and prints it as a table.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tables
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from measure import (
    QUARTILES,
    RESULTS,
    Arena,
    Call,
    Candidate,
    Describe,
    Facts,
    machine,
    versions,
    write_results,
)
from systems import copper

from distmlip import DistCalculator
from distmlip.models.interface import Adapter, EagerStage, Halo, LocalGraph, Stage, Tensors

OUTPUT = RESULTS / "overhead.json"
N_PARTITIONS = 8
CUTOFF = 5.0  # Å
TEMPERATURE = 300.0  # K
TIMESTEP = 2.0  # fs
HALO_WIDTH = 64  # numbers of float32
WARM_UP_STEPS = 5
LIMIT = 600.0  # s
DEPTH, STEEPNESS, DISTANCE = 0.3429, 1.3588, 2.866  # eV, 1/Å, Å: a Morse potential for Cu


@dataclass
class Clock:
    """Seconds spent in stages since it was reset: wall, and CPU of all threads."""

    wall: float = 0.0
    cpu: float = 0.0

    def time(self, function: Any, *arguments: Any) -> Any:
        """Calls the function."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            return function(*arguments)
        finally:
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu


@dataclass(frozen=True)
class TimedStage(EagerStage):
    """A stage whose time, and whose pullback's, goes to a clock."""

    clock: Clock | None = None

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> Any:
        assert self.clock is not None
        outputs, pullback = self.clock.time(super().run, graph, inputs, keep)
        return outputs, lambda gradients: self.clock.time(pullback, gradients)


class PairAdapter(Adapter):
    """A Morse potential that fades to zero at the cutoff; its forces are the executor's to assemble."""

    family: ClassVar[str] = "pair"
    supported_numbers = frozenset(range(1, 119))
    models: Sequence[torch.nn.Module] = (torch.nn.Module(),)
    cutoff = CUTOFF
    dtype = torch.float32

    def __init__(self, clock: Clock, halo: bool) -> None:
        self.clock = clock
        self.halo = halo

    def stages(self, module: torch.nn.Module, recompute: bool) -> list[Stage]:  # noqa: ARG002
        pair = TimedStage("pair", _pair, results=("energy",), computes=("edges",), clock=self.clock)
        if not self.halo:
            return [pair]
        return [
            TimedStage("features", _features, writes=("features",), clock=self.clock),
            TimedStage(
                "pair",
                _pair_and_features,
                before=(Halo("features", (HALO_WIDTH,)),),
                reads=("features",),
                results=("energy",),
                computes=("edges",),
                clock=self.clock,
            ),
        ]

    def reference(self, dtype: torch.dtype | None = None) -> Calculator:
        raise NotImplementedError("there is no undivided original")


def _pair(graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:  # noqa: ARG001
    distance = torch.linalg.vector_norm(vectors, dim=1)
    well = torch.exp(-STEEPNESS * (distance - DISTANCE))
    energy = 0.5 * DEPTH * (well * well - 2 * well) * (1 - (distance / CUTOFF) ** 2) ** 2
    return {"energy": vectors.new_zeros(graph.n_owned).index_add(0, graph.receivers, energy)}


def _features(graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:  # noqa: ARG001
    return {"features": vectors[:1].sum() * vectors.new_zeros(graph.n_owned, HALO_WIDTH)}


def _pair_and_features(graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:
    (energy,) = _pair(graph, vectors, {}).values()
    return {"energy": energy + inputs["features"].sum() / graph.n_owned}


def steps_of(atoms: Atoms, *, n_steps: int, halo: bool) -> tuple[Call, Describe]:
    """An MD run, after a few steps of warm-up; its facts are microseconds per atom and step."""
    clock = Clock()
    calculator = DistCalculator(PairAdapter(clock, halo), devices="cpu", partitions=N_PARTITIONS)
    atoms.calc = calculator
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    dynamics.run(WARM_UP_STEPS)

    def run() -> Facts:
        graph, rebuilds, overhead, inside = _graph(calculator), 0, [], []
        for _ in range(n_steps):
            clock.wall = clock.cpu = 0.0
            wall, cpu = time.perf_counter(), time.process_time()
            dynamics.run(1)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            overhead.append((wall - clock.wall, cpu - clock.cpu))
            inside.append(clock.wall)
            rebuilds += graph is not _graph(calculator)
            graph = _graph(calculator)
        per_atom = 1e6 / len(atoms)
        quartiles = np.quantile(overhead, QUARTILES, axis=0).T * per_atom
        mean = np.mean(overhead, axis=0) * per_atom
        return {
            "n_steps": n_steps,
            "rebuilds": rebuilds,
            "overhead_wall_us": mean[0],
            "overhead_cpu_us": mean[1],
            "overhead_wall_us_quartiles": list(quartiles[0]),
            "overhead_cpu_us_quartiles": list(quartiles[1]),
            "stages_wall_us": float(np.mean(inside)) * per_atom,
        }

    return run, dict


def _graph(calculator: DistCalculator) -> Any:
    return calculator._evaluator._decomposition


def main() -> None:
    """Measure, write JSON, print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=10**5, help="atoms, about")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON; by default in benchmarks/results unless quick")
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.quick else OUTPUT)
    size, n_steps = (10**4, 10) if arguments.quick else (arguments.size, arguments.steps)
    arena = Arena(["distmlip"])
    header, measured = {"machine": machine(), "versions": versions()}, []
    for threads in arguments.threads:
        atoms, results = copper(size), {}
        for name, halo in {"no exchange": False, "with a halo": True}.items():
            options = {"n_steps": n_steps, "halo": halo}
            candidate = Candidate(name, steps_of, atoms, options, threads=threads)
            results |= arena.compete([candidate], rounds=0, limit=LIMIT, budget=0.0)
        measured.append({"n_atoms": len(atoms), "threads": threads, "results": results})
        write_results(output, header, measured)
    print(tables.overhead({**header, "cases": measured}))


if __name__ == "__main__":
    main()
