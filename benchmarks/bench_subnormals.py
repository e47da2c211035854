"""What flushing subnormal numbers to zero saves of a step, and what it does to float32's errors.

    OMP_NUM_THREADS=1 python benchmarks/bench_subnormals.py --families chgnet mace tensornet m3gnet
    OMP_NUM_THREADS=1 python benchmarks/bench_subnormals.py --families sevennet esen     in their environment

Some minutes per model.

Gates and envelopes that saturate have subnormal derivatives, which processors compute many times slower than
other numbers; the executor's threads take them for zero. One calculator in float32 takes turns with and
without over slightly moved atoms of LiMnO2, one thread, one partition: medians of CPU seconds, and the
largest and the root mean square difference of forces to float64. Writes benchmarks/results/subnormals.json,
which keeps the families of earlier runs, and prints the table.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import by_family
import numpy as np
import torch
from harness import QUARTILES, RESULTS, Facts
from models import MODELS, step
from result_tables import table
from structures import SUPERCELLS, supercell

from distmlip import DistCalculator
from distmlip.models import adapter_for
from distmlip.models.interface import Adapter, EagerStage, LocalGraph, Stage, Tensors

OUTPUT = RESULTS / "subnormals.json"
WAYS = {"computed": False, "flushed": True}
WARM_UP_ROUNDS = 2
STEP_LENGTH = 2e-3  # Å


class Switch:
    """Tells the thread that runs an adapter's stages how to treat subnormal numbers, at every step anew.

    The executor has no such switch. A worker's thread keeps what it is told, and with one intra-op thread it
    computes everything itself.
    """

    def __init__(self, adapter: Adapter) -> None:
        self.flushes = True
        self._stages = adapter.stages
        adapter.stages = self.stages  # type: ignore[method-assign]

    def stages(self, module: torch.nn.Module, recompute: bool) -> Sequence[Stage]:
        """The adapter's, of which the first tells the thread."""
        first, *others = self._stages(module, recompute)
        assert isinstance(first, EagerStage)
        function = first.function

        def told(graph: LocalGraph, vectors: torch.Tensor, inputs: Tensors) -> Tensors:
            torch.set_flush_denormal(self.flushes)
            return function(graph, vectors, inputs)

        return [replace(first, function=told), *others]


def main() -> None:
    """Measure, write JSON, print the table."""
    by_family.run(__doc__, OUTPUT, 7, measure, as_markdown)


def measure(family: str, size: int, rounds: int) -> Facts:
    """CPU seconds of a step and errors of its forces (eV/Å), both ways in turns."""
    model = MODELS[family]()
    adapter = adapter_for(model, torch.float32)
    switch = Switch(adapter)
    calculator = DistCalculator(adapter, devices="cpu", partitions=1, recompute=False)
    exact = DistCalculator(model, devices="cpu", partitions=1, recompute=False, dtype="float64")
    atoms, random = supercell(SUPERCELLS[size]), np.random.default_rng(1)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    errors: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    largest_difference = 0.0
    for number in range(WARM_UP_ROUNDS + rounds):
        atoms.rattle(STEP_LENGTH, rng=random)
        found = {}
        for way in list(WAYS)[:: -1 if number % 2 else 1]:
            switch.flushes = WAYS[way]
            seconds[way].append(step(calculator, atoms, time.process_time))
            found[way] = calculator.results["forces"]
        step(exact, atoms)
        for way, forces in found.items():
            errors[way].append(forces - exact.results["forces"])
        largest_difference = max(largest_difference, np.abs(found["flushed"] - found["computed"]).max())
    taken = {way: np.array(of_way[WARM_UP_ROUNDS:]) for way, of_way in seconds.items()}
    return {
        "n_atoms": size,
        "rounds": rounds,
        "cpu_s": {way: float(np.median(of_way)) for way, of_way in taken.items()},
        "saved": list(np.quantile(1 - taken["flushed"] / taken["computed"], QUARTILES)),
        "largest_error": {way: float(np.abs(error).max()) for way, error in errors.items()},
        "rms_error": {way: float(np.sqrt(np.mean(np.square(error)))) for way, error in errors.items()},
        "largest_difference": float(largest_difference),
    }  # fmt: skip


def as_markdown(cases: dict[str, Facts]) -> str:
    """For the terminal and docs/performance.md."""
    head = ["model", "atoms", "CPU s: computed", "flushed", "time saved (middle half of rounds)",
            "RMS error of forces, eV/Å: computed", "flushed", "forces differ by"]  # fmt: skip
    rows = []
    for family, case in cases.items():
        seconds, errors = case["cpu_s"], case["rms_error"]
        lower, median, upper = (round(100 * share) for share in case["saved"][1:4])
        times = [f"{seconds[way]:.3g}" for way in WAYS] + [f"{median} % ({lower} to {upper})"]
        rows.append([family, str(case["n_atoms"]), *times, *(f"{errors[way]:.2e}" for way in WAYS),
                     f"{case['largest_difference']:.1e}"])  # fmt: skip
    return table(head, rows)


if __name__ == "__main__":
    main()
