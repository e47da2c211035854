"""Benchmarks that measure one family after the other in this process, and keep those of earlier runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from harness import Facts, command_line, machine, write
from models import MODELS
from structures import SUPERCELLS


def run(
    doc: str | None,
    output: Path,
    rounds: int,
    measure: Callable[[str, int, int], Facts],
    as_markdown: Callable[[dict[str, Facts]], str],
) -> None:
    """What the command line asks for: ``measure(family, n_atoms, rounds)`` on one thread, into ``output`` and
    as a table. ``doc``: of the benchmark; ``rounds``: unless the command line says otherwise."""
    parser = command_line(doc)
    parser.add_argument("--families", nargs="+", choices=list(MODELS), default=["chgnet", "mace"])
    parser.add_argument("--size", type=int, choices=list(SUPERCELLS), default=128, help="atoms")
    parser.add_argument("--rounds", type=int, default=rounds, help="measured rounds")
    parser.add_argument("--output", type=Path, default=output)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    path: Path = arguments.output
    cases = json.loads(path.read_text())["cases"] if path.exists() else {}
    for family in arguments.families:
        cases[family] = {"machine": machine(), **measure(family, arguments.size, arguments.rounds)}
        write(path, {"cases": dict(sorted(cases.items()))})
    print(as_markdown(cases))
