"""What it saves that large tensors of eager stages are on pages that are kept from step to step.

    python benchmarks/bench_eager_memory.py --families chgnet m3gnet mace tensornet tensornet_torch
    python benchmarks/bench_eager_memory.py --families allegro esen mattersim nequip orb sevennet

the second one in the environment that has them; a minute per model.

The model's own modules in float32, one partition and one thread: each calculator takes turns with and without
over slightly moved atoms of LiMnO2. Medians of CPU seconds, of which the system's are mostly those of page
faults. Writes benchmarks/results/eager_memory.json, which keeps the families of earlier runs, and prints the
table.
"""

from __future__ import annotations

import resource

import by_family
import numpy as np
from harness import RESULTS, Facts
from models import MODELS, step
from result_tables import table
from structures import SUPERCELLS, supercell

from distmlip import DistCalculator
from distmlip._native import core

OUTPUT = RESULTS / "eager_memory.json"
WAYS = {"anew": False, "kept": True}
STEP_LENGTH = 2e-3  # Å


def main() -> None:
    """Measure, write JSON, print the table."""
    by_family.run(__doc__, OUTPUT, 5, measure, as_markdown)


def measure(family: str, size: int, rounds: int) -> Facts:
    """Of one family."""
    atoms, random = supercell(SUPERCELLS[size]), np.random.default_rng(0)
    calculator = DistCalculator(MODELS[family](), devices="cpu", partitions=1, kernels="original")
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    try:
        for turn in range(1 + rounds):
            for way, reuses in WAYS.items():
                core.reuse_memory_of_eager_stages(reuses)
                atoms.positions += random.normal(scale=STEP_LENGTH, size=atoms.positions.shape)
                before = resource.getrusage(resource.RUSAGE_SELF)
                step(calculator, atoms)
                after = resource.getrusage(resource.RUSAGE_SELF)
                if turn > 0:
                    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
                    found[way].append([user + system, system, after.ru_minflt - before.ru_minflt])
    finally:
        core.reuse_memory_of_eager_stages(True)
    medians = {way: np.median(of, axis=0).tolist() for way, of in found.items()}
    names = ("cpu_s", "system_s", "page_faults")
    return {
        "n_atoms": len(atoms),
        **{way: dict(zip(names, values, strict=True)) for way, values in medians.items()},
    }


def as_markdown(cases: dict[str, Facts]) -> str:
    """One row per family."""
    rows = []
    for family, case in cases.items():
        anew, kept = (case[way] for way in WAYS)
        rows.append(
            [
                family,
                str(case["n_atoms"]),
                *(f"{of['cpu_s']:.2f} s ({of['system_s']:.2f} s)" for of in (anew, kept)),
                f"{100 * (1 - kept['cpu_s'] / anew['cpu_s']):.0f} %",
                *(f"{of['page_faults']:,.0f}" for of in (anew, kept)),
            ]
        )
    header = ["model", "atoms", "anew (of it the system)", "kept", "saved", "page faults", "kept"]
    return table(header, rows)


if __name__ == "__main__":
    main()
