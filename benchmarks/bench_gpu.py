"""Large systems on one GPU: seconds, memory and bytes exchanged of a step; the original where it still fits.

    python benchmarks/bench_gpu.py tensornet                    10^6 atoms, or fewer if they do not fit
    python benchmarks/bench_gpu.py chgnet --sizes 1000 8000     smaller ones; gpu.sh gives a model 100 s

A step is energy, forces and stress after all atoms have moved a little. Sizes are taken from the largest down
until one fits, for DistCalculator and for the original; both then run at the largest size that fits the
original. Prints every case, and writes JSON where --output says.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from harness import Facts, command_line, record
from models import MODELS, exchange, original, step
from structures import copper, lithium_manganese_oxide

from distmlip import DistCalculator

SIZES = [10**6, 500_000, 250_000, 100_000, 50_000, 25_000, 10_000, 5_000, 2_500, 1_000]
SYSTEMS = {"chgnet": lithium_manganese_oxide}
"""What is not here runs on copper."""
STEPS = 2
MIB = 2.0**20


def main() -> None:
    """Measure and write JSON."""
    parser = command_line(__doc__)
    parser.add_argument("family", choices=list(MODELS))
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--partitions", nargs="+", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    record(arguments.output, measured(arguments, device), device=name_of(device))


def measured(arguments: argparse.Namespace, device: torch.device) -> Iterator[Facts]:
    """Cases of distmlip, of the original, of distmlip at the original's size; printed as they come."""
    family, model, sizes = arguments.family, MODELS[arguments.family](), sorted(arguments.sizes, reverse=True)

    def shown(case: Facts) -> Facts:
        case = {"family": family, **case}
        print(case, flush=True)
        return case

    largest = None
    ways: list[tuple[int, bool | str]] = [(n_partitions, True) for n_partitions in arguments.partitions]
    for n_partitions, recompute in [*ways, (arguments.partitions[-1], "host")]:
        options = {"partitions": n_partitions, "recompute": recompute}
        make = partial(DistCalculator, model, devices=device, **options)
        largest = first_that_fits(make, family, sizes, options)
        if largest:
            yield shown(largest)
            if largest["n_atoms"] > 0.9 * sizes[0]:
                break
    make_original = partial(original, model.to(device))
    theirs = first_that_fits(make_original, family, sizes, {"calculator": "original"})
    if theirs:
        yield shown(theirs)
        ours = DistCalculator(model, devices=device, partitions=1, recompute=False)
        alone = measure(ours, system(family, theirs["size"]))
        yield shown({**alone, "partitions": 1, "recompute": False})
    if largest is None:
        sys.exit("nothing fitted")


def first_that_fits(
    make: Callable[[], Calculator], family: str, sizes: list[int], options: Facts
) -> Facts | None:
    """The largest size that runs."""
    for size in sizes:
        try:
            return measure(make(), system(family, size)) | options | {"size": size}
        except (torch.OutOfMemoryError, MemoryError) as error:
            print(f"{size} atoms do not fit: {error}"[:200], file=sys.stderr)
        free()
    return None


def system(family: str, size: int) -> Atoms:
    """About so many atoms."""
    return SYSTEMS.get(family, copper)(size)


def measure(calculator: Calculator, atoms: Atoms) -> Facts:
    """Seconds of a step, peak memory on the device, and what crosses partitions."""
    on_gpu = torch.cuda.is_available()
    rng, seconds = np.random.default_rng(0), []
    for _ in range(1 + STEPS):
        atoms.positions += rng.normal(scale=0.01, size=atoms.positions.shape)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        seconds.append(step(calculator, atoms))
    facts: Facts = {
        "n_atoms": len(atoms),
        "seconds": statistics.median(seconds[1:]),
        "us_per_atom": 1e6 * statistics.median(seconds[1:]) / len(atoms),
        "peak_mib": torch.cuda.max_memory_allocated() / MIB if on_gpu else None,
    }
    if isinstance(calculator, DistCalculator):
        facts["exchanged_mib"] = sum(calculator.plan(atoms).bytes_received) / MIB
        in_exchange, in_all = exchange(calculator, atoms)
        facts["exchange_share"] = in_exchange / in_all
    return facts


def name_of(device: torch.device) -> str:
    """Of the GPU; or that there is none."""
    return torch.cuda.get_device_name() if device.type == "cuda" else str(device)


def free() -> None:
    """What a failed attempt has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
