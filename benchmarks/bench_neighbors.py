"""Neighbour lists side by side: distmlip, matscipy, vesin and ASE on fcc copper, and distmlip's own graphs.

    python benchmarks/bench_neighbors.py --cells 14 29 --output benchmarks/results/neighbors.json

The candidates take turns, so that a busy machine is as unfair to one as to the other. Reported are medians of
CPU seconds (one thread) of finding all pairs with their shifts and vectors ("ijSD").
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import matscipy.neighbours
import vesin
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list as ase_neighbor_list

from distmlip import neighbor_list
from distmlip._native import core

CUTOFF = 5.0  # Å
SKIN = 0.5  # Å
BOND_CUTOFF = 3.0  # Å
MOST_ATOMS_FOR_ASE = 20_000

Seconds = dict[str, float]


def copper(n_cells: int) -> Atoms:
    """4 * n_cells**3 atoms, shaken."""
    atoms = bulk("Cu", cubic=True) * n_cells
    atoms.rattle(0.05, seed=0)
    return atoms


def decompose(atoms: Atoms, n_partitions: int, **options: float) -> core.Decomposition:
    """Cut on one thread."""
    return core.Decomposition(
        atoms.positions,
        atoms.cell.array,
        atoms.pbc,
        cutoff=CUTOFF,
        n_partitions=n_partitions,
        n_threads=1,
        **options,
    )


def candidates(atoms: Atoms) -> dict[str, Callable[[], object]]:
    """What is compared, by name."""
    vesin_list = vesin.NeighborList(cutoff=CUTOFF, full_list=True)
    calls: dict[str, Callable[[], object]] = {
        "distmlip": lambda: neighbor_list("ijSD", atoms, CUTOFF),
        "matscipy": lambda: matscipy.neighbours.neighbour_list("ijSD", atoms, CUTOFF),
        "vesin": lambda: vesin_list.compute(atoms.positions, atoms.cell.array, True, "ijSD"),
        "distmlip, compact graph": lambda: decompose(atoms, 1),
        "distmlip, compact graph in 8 parts": lambda: decompose(atoms, 8),
        "distmlip, 8 parts with skin and bonds": lambda: decompose(
            atoms, 8, skin=SKIN, bond_cutoff=BOND_CUTOFF
        ),
    }
    if len(atoms) <= MOST_ATOMS_FOR_ASE:
        calls["ase"] = lambda: ase_neighbor_list("ijSD", atoms, CUTOFF)
    return calls


def medians(calls: dict[str, Callable[[], object]], repeats: int) -> Seconds:
    """CPU seconds of each call; the first round, in which memory and caches are new, is left out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if repeat > 0:
                times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[14, 29], help="cubic cells along each axis")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="where to write the results as JSON")
    arguments = parser.parse_args()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        parser.error("set OMP_NUM_THREADS=1: CPU seconds of several threads do not compare")

    results = []
    for n_cells in arguments.cells:
        atoms = copper(n_cells)
        n_pairs = len(neighbor_list("i", atoms, CUTOFF))
        seconds = medians(candidates(atoms), arguments.repeats)
        results.append({"n_atoms": len(atoms), "n_pairs": n_pairs, "cpu_seconds": seconds})
        print(f"\n{len(atoms)} atoms, {n_pairs} pairs within {CUTOFF} Å")
        for name, value in sorted(seconds.items(), key=lambda item: item[1]):
            print(f"  {name:40} {value:9.4f} s   {value / seconds['distmlip']:7.2f} x distmlip")
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
