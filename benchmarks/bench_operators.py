"""Our operators for devices beside those of the models' own layers, forward and backward: the convolution
and the symmetric contraction of MACE medium's second layer, interactions of TensorNet's, gated messages of
CHGNet's.

    python benchmarks/bench_operators.py                  on a GPU
    python benchmarks/bench_operators.py --device cpu --sizes 100

Peers are the model's modules as they are, cuEquivariance's convolution and matgl's warp kernels where they
are installed. All get the same numbers in float32, each in its own layout; errors are the largest difference
of outputs and gradients to the model's modules in float64, over the largest value there. Contestants take
turns; seconds are medians. Prints every case, and writes JSON, which grows with each, where --output says.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from bench_gpu import name_of
from candidates import wait
from harness import Facts, attempt, command_line, record
from operator_contests import Contest

SIZES = [1_000, 10_000]
ROUNDS = 9
OPERATORS = {
    "convolution": ("operators_of_mace", "convolutions"),
    "contraction": ("operators_of_mace", "contractions"),
    "tensors": ("operators_of_tensornet", "interactions"),
    "gated messages": ("operators_of_chgnet", "gated_messages"),
}
"""By their names: the module, which imports the model's package, and the function that makes the contest."""


def main() -> None:
    """Measure and write JSON."""
    parser = command_line(__doc__)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="atoms, about")
    parser.add_argument("--operators", nargs="+", choices=list(OPERATORS), default=list(OPERATORS))
    parser.add_argument("--limit", type=float, default=100.0, help="seconds of a process")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()

    def cases() -> Iterator[Facts]:
        for size in arguments.sizes:
            for operator in arguments.operators:
                asked = {"operator": operator, "size": size, "device": arguments.device}
                case = {"kind": "operator", **asked, **attempt(arguments.limit, measured, **asked)}
                print(case, flush=True)
                yield case

    found = record(arguments.output, cases(), device=name_of(arguments.device))["cases"]
    if all("status" in case for case in found):
        parser.exit(1, "nothing was measured\n")


def measured(operator: str, size: int, device: str) -> Facts:
    """Seconds and errors of all contestants."""
    module, function = OPERATORS[operator]
    contest: Contest = getattr(import_module(module), function)(size, device)
    largest = [tensor.abs().max().item() for tensor in contest.exact]
    facts: Facts = {"n_atoms": contest.n_atoms}
    taken: dict[str, list[float]] = {name: [] for name in contest.contestants}
    for name, contestant in contest.contestants.items():
        errors = [
            (found.double() - right).abs().max().item() / scale
            for found, right, scale in zip(
                contestant.in_their_layout(*contestant.compute()), contest.exact, largest, strict=True
            )
        ]
        facts[f"error_{name}"] = float(f"{max(errors):.2g}")
    for _ in range(ROUNDS):
        for name, contestant in contest.contestants.items():
            wait(device)
            start = time.perf_counter()
            contestant.compute()
            wait(device)
            taken[name].append(time.perf_counter() - start)
    return facts | {f"seconds_{name}": statistics.median(times) for name, times in taken.items()}


if __name__ == "__main__":
    main()
