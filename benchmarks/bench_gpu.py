"""Steps on one GPU, every size in a process of its own: beside the original, large systems, the exchange.

    python benchmarks/bench_gpu.py beside chgnet          1000 atoms, then twice as many until it does not fit
    python benchmarks/bench_gpu.py large chgnet           10^5 and 10^6 atoms
    python benchmarks/bench_gpu.py exchange               of 4 partitions, beside the memory's bandwidth

A step is energy, forces and stress after all atoms have moved a little. An original gets at most 50,000
atoms, because its graph is made on one core. Large systems run as distmlip chooses; if that fails, with
partitions and recompute that need less and less memory. What fails, or takes longer than --limit, has a
status that says so. Prints every case, and writes JSON, which grows with each, where --output says.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from candidates import seconds_to_fill
from harness import Facts, attempt, command_line, record
from models import MODELS, exchange, original, step
from pair_potential import Clock, PairAdapter
from structures import copper, lithium_manganese_oxide

from distmlip import DistCalculator

SIZES = {
    "beside": [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 50_000],
    "large": [10**5, 10**6],
    "exchange": [10**6],
}
SYSTEMS = {"chgnet": lithium_manganese_oxide}
"""What is not here runs on copper."""
WAYS: list[Facts] = [
    {},
    {"partitions": 16, "recompute": True},
    {"partitions": 64, "recompute": "host"},
]
"""Options for large systems, from what is chosen to what needs the least memory."""
WIDTH = 64  # numbers of float32 per atom that are exchanged
WARM_UP_STEPS, STEPS = 1, 2
MIB = 2.0**20


def main() -> None:
    """Measure and write JSON."""
    parser = command_line(__doc__)
    parser.add_argument("what", choices=list(SIZES))
    parser.add_argument("family", nargs="?", choices=list(MODELS), help="not of the exchange")
    parser.add_argument("--sizes", nargs="+", type=int, help="atoms, about")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds of a process")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    arguments.sizes = sorted(arguments.sizes or SIZES[arguments.what])
    if arguments.what != "exchange" and arguments.family is None:
        parser.error(f"{arguments.what} needs a family: one of {', '.join(MODELS)}")
    cases = record(arguments.output, measured(arguments), device=name_of(arguments.device))["cases"]
    if all("status" in case for case in cases):
        parser.exit(1, "nothing was measured\n")


def measured(arguments: argparse.Namespace) -> Iterator[Facts]:
    """Cases in the order of their sizes, up to the first that fails; printed as they come."""
    for size in arguments.sizes:
        for found in CASES[arguments.what](arguments, size):
            case = {"kind": arguments.what, "family": arguments.family, "size": size, **found}
            print(case, flush=True)
            yield case
        if "status" in case:
            return


def beside(arguments: argparse.Namespace, size: int) -> Iterator[Facts]:
    """The original, then distmlip with one partition, in one process."""
    asked = {"family": arguments.family, "size": size, "device": arguments.device}
    yield attempt(arguments.limit, steps_of_both, **asked)


def large(arguments: argparse.Namespace, size: int) -> Iterator[Facts]:
    """One way after another, until one works."""
    for options in WAYS:
        asked = {"family": arguments.family, "size": size, "device": arguments.device, "options": options}
        found = attempt(arguments.limit, steps_of_ours, **asked)
        yield {"options": options, **found}
        if "status" not in found:
            return


def exchanged(arguments: argparse.Namespace, size: int) -> Iterator[Facts]:
    """One case."""
    yield attempt(arguments.limit, exchange_of_a_pair_potential, size=size, device=arguments.device)


CASES: dict[str, Callable[[argparse.Namespace, int], Iterator[Facts]]] = {
    "beside": beside,
    "large": large,
    "exchange": exchanged,
}


def steps_of_both(family: str, size: int, device: str) -> Facts:
    """Steps of the original and of distmlip."""
    model, atoms = MODELS[family](), system(family, size)
    theirs = steps(original(model.to(device)), atoms, device)
    gc.collect()
    ours = steps(DistCalculator(model, devices=device, partitions=1, recompute=False), atoms, device)
    return {"n_atoms": len(atoms), "original": theirs, "distmlip": ours}


def steps_of_ours(family: str, size: int, device: str, options: Facts) -> Facts:
    """Steps of distmlip, what it chose, and its exchanges."""
    atoms, calculator = system(family, size), DistCalculator(MODELS[family](), devices=device, **options)
    facts = steps(calculator, atoms, device)
    plan = calculator.plan(atoms)
    in_exchange, in_all = exchange(calculator, atoms)
    return {
        "n_atoms": len(atoms),
        **facts,
        "partitions": len(plan.owned),
        "exchanged_mib": sum(plan.bytes_received) / MIB,
        "exchange_share": in_exchange / in_all,
    }


def exchange_of_a_pair_potential(size: int, device: str) -> Facts:
    """Of 4 partitions: seconds there and back, and seconds to fill as many bytes of the device's memory."""
    atoms = copper(size)
    calculator = DistCalculator(PairAdapter(Clock(), WIDTH), devices=device, partitions=4)
    step(calculator, atoms)
    taken = min(exchange(calculator, atoms)[0] for _ in range(STEPS))
    n_bytes = 2 * sum(calculator.plan(atoms).bytes_received)
    filled = seconds_to_fill(n_bytes, device)
    return {"n_atoms": len(atoms), "seconds": taken, "exchanged_mib": n_bytes / MIB, "fill_s": filled}


def system(family: str, size: int) -> Atoms:
    """About so many atoms."""
    return SYSTEMS.get(family, copper)(size)


def steps(calculator: Calculator, atoms: Atoms, device: str) -> Facts:
    """Seconds of the first step and of a later one, and the peak memory of a later one on the device."""
    on_gpu = torch.device(device).type == "cuda"
    rng, taken = np.random.default_rng(0), []
    for k in range(WARM_UP_STEPS + STEPS):
        atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
        if on_gpu and k == WARM_UP_STEPS:
            torch.cuda.reset_peak_memory_stats()
        taken.append(step(calculator, atoms))
    seconds = statistics.median(taken[WARM_UP_STEPS:])
    return {
        "first_s": taken[0],
        "seconds": seconds,
        "us_per_atom": 1e6 * seconds / len(atoms),
        "peak_mib": torch.cuda.max_memory_allocated() / MIB if on_gpu else None,
    }


def name_of(device: str) -> str:
    """Of the GPU; or that there is none."""
    return torch.cuda.get_device_name() if torch.device(device).type == "cuda" else device


if __name__ == "__main__":
    main()
