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
import json
import math
import os
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_models import MODELS
from measure import RESULTS, Facts, machine, peak_rss, versions, write_results
from tables import table

from distmlip import DistCalculator
from distmlip.commands.demo import rattled_supercell
from distmlip.commands.launch import free_port
from distmlip.machine.limits import available_cores
from distmlip.settings import ATOMS_PER_CPU_PARTITION

OUTPUT = RESULTS / "ranks.json"
SUPERCELLS = {128: (2, 2, 4), 504: (3, 3, 7), 2000: (5, 5, 10), 4000: (10, 5, 10)}
MOST_RANKS = 4
MARK = "measured: "
MIB = 2.0**20


def main() -> None:
    """Measure, write JSON, print the table; or be one rank."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=list(MODELS), default=["chgnet"])
    parser.add_argument("--sizes", nargs="+", type=int, choices=list(SUPERCELLS), default=[4000])
    parser.add_argument("--ranks", nargs="+", type=int, choices=range(1, MOST_RANKS + 1), default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=2, help="measured steps of a round")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--rank-of", nargs=3, metavar=("FAMILY", "SIZE", "STEPS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.rank_of:
        family, size, steps = arguments.rank_of
        measure(family, int(size), int(steps))
        return
    header, cases = {"machine": machine(), "versions": versions()}, []
    for family in arguments.families:
        for size in arguments.sizes:
            rounds: dict[int, list[Facts]] = {n: [] for n in arguments.ranks}
            for _ in range(arguments.rounds):
                for n_ranks, found in rounds.items():
                    print(f"{family}, {size} atoms, {n_ranks} ranks", file=sys.stderr)
                    found.append(run(n_ranks, family, size, arguments.steps))
            cases += [summary(family, size, n_ranks, found) for n_ranks, found in rounds.items()]
            write_results(arguments.output, header, cases)
    print(as_markdown(cases))


def measure(family: str, size: int, steps: int) -> None:
    """One rank: rank 0 prints what all of them measured."""
    torch.set_num_threads(1)
    with redirect_stdout(sys.stderr):
        model = MODELS[family]()
        atoms = rattled_supercell(SUPERCELLS[size], seed=0)
        # The same work, however many ranks share it, and the same for each of them.
        partitions = MOST_RANKS * math.ceil(size / ATOMS_PER_CPU_PARTITION / MOST_RANKS)
        calculator = DistCalculator(model, devices="cpu", partitions=partitions, recompute=False)
    rng = np.random.default_rng(0)
    with peak_rss() as growth:
        seconds = []
        for _ in range(1 + steps):
            atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
            start = time.perf_counter()
            calculator.calculate(atoms, ["energy", "forces", "stress"])
            seconds.append(time.perf_counter() - start)
    evaluator = calculator._evaluator
    costs = evaluator.measure(atoms)
    mine = {"seconds": seconds[1:], "growth": growth[0]}
    ranks = evaluator.settings.ranks
    everyone = [mine] if ranks is None else ranks.gather(mine)
    if ranks is None or ranks.rank == 0:
        facts = {
            "n_atoms": len(atoms),
            "n_partitions": partitions,
            "exchange_s": sum(there.seconds + back.seconds for *_, there, back in costs.stages),
            "seconds": np.max([one["seconds"] for one in everyone], axis=0).tolist(),
            "growth_mib": [one["growth"] / MIB for one in everyone],
            "energy": calculator.results["energy"],
        }
        print(MARK + json.dumps(facts), flush=True)


def run(n_ranks: int, family: str, size: int, steps: int) -> Facts:
    """One round: the ranks as processes."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(n_ranks),
    }
    command = [sys.executable, __file__, "--rank-of", family, str(size), str(steps)]
    ranks = [
        subprocess.Popen(command, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(n_ranks)
    ]
    outputs = [rank.communicate()[0] for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit(f"a rank failed: exit codes {[rank.returncode for rank in ranks]}")
    (line,) = [line for line in outputs[0].splitlines() if line.startswith(MARK)]
    facts: Facts = json.loads(line.removeprefix(MARK))
    return facts


def summary(family: str, size: int, n_ranks: int, rounds: list[Facts]) -> Facts:
    """The rounds of one count of ranks."""
    return {
        "family": family,
        "size": size,
        "n_ranks": n_ranks,
        "n_partitions": rounds[0]["n_partitions"],
        "seconds": statistics.median(s for one in rounds for s in one["seconds"]),
        "exchange_s": statistics.median(one["exchange_s"] for one in rounds),
        "largest_growth_mib": statistics.median(max(one["growth_mib"]) for one in rounds),
        "energy": rounds[0]["energy"],
    }


def as_markdown(cases: list[dict[str, Any]]) -> str:
    """Times beside that of one rank, where there are enough cores."""
    rows, cores = [], available_cores()
    for case in cases:
        alone = next(
            one
            for one in cases
            if (one["family"], one["size"], one["n_ranks"]) == (case["family"], case["size"], 1)
        )
        speed_up = f"{alone['seconds'] / case['seconds']:.2f}" if case["n_ranks"] <= cores else "–"
        rows.append(
            [
                case["family"],
                f"{case['size']:,}",
                str(case["n_ranks"]),
                str(case["n_partitions"]),
                f"{case['seconds']:.2f}",
                speed_up,
                f"{case['exchange_s']:.2f}",
                f"{case['largest_growth_mib']:.0f}",
                f"{abs(case['energy'] - alone['energy']) / case['size']:.1e}",
            ]
        )
    head = [
        "model",
        "atoms",
        "ranks",
        "partitions",
        "s/step",
        "speed-up",
        "exchange, s",
        "memory of a rank, MiB",
    ]
    return table([*head, "ΔE, eV/atom"], rows)


if __name__ == "__main__":
    main()
