"""Ranks with one core each beside one rank with one core: time of a step, and memory of each rank.

    python benchmarks/bench_ranks.py                       about ten minutes on 2 cores
    python benchmarks/bench_ranks.py --sizes 504 --ranks 1 2

More ranks than cores show memory only. Every count of ranks runs by itself, in rounds that take turns; the
time is the median of all steps, that of the slowest rank; of the exchange that of the rank which did not
wait in it, measured in a step of its own. Memory is the growth of a rank's peak RSS above the
loaded model.

Writes benchmarks/results/ranks.json and prints it as a table.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from harness import RESULTS, Facts, command_line, in_ranks, record
from memory import peak_rss
from models import MODELS, exchange, step
from result_tables import table
from structures import SUPERCELLS, supercell

from distmlip import DistCalculator
from distmlip.evaluation.settings import ATOMS_PER_CPU_PARTITION
from distmlip.machine.limits import available_cores

OUTPUT = RESULTS / "ranks.json"
MOST_RANKS = 4
MIB = 2.0**20


def main() -> None:
    """Measure, write JSON, print the table."""
    parser = command_line(__doc__)
    parser.add_argument("--families", nargs="+", choices=list(MODELS), default=["chgnet"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=list(SUPERCELLS), default=[4000])
    parser.add_argument("--ranks", nargs="+", type=int, choices=range(1, MOST_RANKS + 1), default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="measured steps of a round")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    print(as_markdown(record(arguments.output, measured(arguments))["cases"]))


def measured(arguments: argparse.Namespace) -> Iterator[Facts]:
    """A case for every count of ranks; their rounds take turns."""
    for family in arguments.families:
        for size in arguments.sizes:
            rounds: dict[int, list[list[Facts]]] = {n: [] for n in arguments.ranks}
            for _ in range(arguments.rounds):
                for n_ranks, found in rounds.items():
                    print(f"{family}, {size} atoms, {n_ranks} ranks", file=sys.stderr)
                    found.append(in_ranks(n_ranks, rank, family=family, size=size, steps=arguments.steps))
            for n_ranks, found in rounds.items():
                yield {"family": family, "size": size, "n_ranks": n_ranks, **summary(found)}


def rank(family: str, size: int, steps: int) -> Facts:
    """What one rank measures."""
    torch.set_num_threads(1)
    model, atoms = MODELS[family](), supercell(SUPERCELLS[size])
    # The same work, however many ranks share it, and the same for each of them.
    partitions = MOST_RANKS * math.ceil(size / ATOMS_PER_CPU_PARTITION / MOST_RANKS)
    calculator = DistCalculator(model, devices="cpu", partitions=partitions, recompute=False)
    rng = np.random.default_rng(0)
    seconds = []
    with peak_rss() as growth:
        for _ in range(1 + steps):
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
            seconds.append(step(calculator, atoms))
    return {
        "n_partitions": partitions,
        "seconds": seconds[1:],
        "exchange_s": exchange(calculator, atoms)[0],
        "growth_mib": growth[0] / MIB,
        "energy": calculator.results["energy"],
    }


def summary(rounds: list[list[Facts]]) -> Facts:
    """Of the ranks of every round."""
    slowest = [
        max(of_step) for ranks in rounds for of_step in zip(*(one["seconds"] for one in ranks), strict=True)
    ]
    return {
        "n_partitions": rounds[0][0]["n_partitions"],
        "seconds": statistics.median(slowest),
        "exchange_s": statistics.median(ranks[0]["exchange_s"] for ranks in rounds),
        "largest_growth_mib": statistics.median(max(one["growth_mib"] for one in ranks) for ranks in rounds),
        "energy": rounds[0][0]["energy"],
    }


def as_markdown(cases: list[Facts]) -> str:
    """Times beside that of one rank, where there are enough cores."""
    head = ["model", "atoms", "ranks", "partitions", "s/step", "speed-up", "exchange, s",
            "memory of a rank, MiB", "ΔE, eV/atom"]  # fmt: skip
    alone = {(case["family"], case["size"]): case for case in cases if case["n_ranks"] == 1}
    rows, cores = [], available_cores()
    for case in cases:
        one = alone[case["family"], case["size"]]
        speed_up = f"{one['seconds'] / case['seconds']:.2f}" if case["n_ranks"] <= cores else "–"
        names = [case["family"], f"{case['size']:,}", str(case["n_ranks"]), str(case["n_partitions"])]
        figures = [f"{case['seconds']:.2f}", speed_up, f"{case['exchange_s']:.2f}",
                   f"{case['largest_growth_mib']:.0f}",
                   f"{abs(case['energy'] - one['energy']) / case['size']:.1e}"]  # fmt: skip
        rows.append([*names, *figures])
    return table(head, rows)


if __name__ == "__main__":
    main()
