"""What steps, ranks and GPUs were to reach, beside what was measured: every line from the JSON results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from goals import NOT_MEASURED, Goal
from measure import Facts

TIME = {"chgnet": 0.35}
"""Of the original's, with automatic choices; other families: USUAL_TIME."""
USUAL_TIME, MEMORY = 0.6, 0.2
NOISE = 1.05
SPEED_UP = 1.7
SHARE = 1.1
"""Of a rank, beyond one in the number of ranks."""
GPU = (
    "one H200, 10^6 atoms, energy, forces and stress: TensorNet ≤ 10 s, CHGNet ≤ 20 s, MACE medium ≤ 30 s, "
    "eSEN sm ≤ 30 s",
    "one H200, the largest size that the original fits: ≤ 1.0 × its time, every family",
)


def as_goals(steps: list[Facts], ranks: list[Facts]) -> list[Goal]:
    """``steps``: of each family; ``ranks``: the cases of bench_ranks."""
    return [
        *(goal for family in steps for goal in _step_goals(family)),
        *_rank_goals(ranks),
        *(Goal(aim, "not run: there was no GPU", None) for aim in GPU),
    ]


def _step_goals(results: Facts) -> Iterator[Goal]:
    family, sizes = results["family"], [size for size in results["sizes"] if size["n_atoms"] >= 500]
    least = TIME.get(family, USUAL_TIME)
    for size in sizes:
        if "auto" not in size["seconds"] or "original" not in size["seconds"]:
            continue
        time, memory = (_ratio(size[kind], "auto", "original") for kind in ("seconds", "memory_mb"))
        yield Goal(
            f"{family}, {size['n_atoms']} atoms, automatic choices: ≤ {least} × the original's time, "
            f"≤ {MEMORY} × its memory",
            f"{time:.2f} ×, {memory:.2f} ×",
            time <= least and memory <= MEMORY,
        )
    shares = [_ratio(size["seconds"], "P=4", "P=1") for size in sizes if "auto" in size["seconds"]]
    if shares:
        aim = f"{family}: P=4 never slower than P=1 (5 % are noise)"
        yield Goal(aim, ", ".join(f"{share:.2f} ×" for share in shares), max(shares) <= NOISE)


def _ratio(values: dict[str, float], ours: str, theirs: str) -> float:
    return values[ours] / values[theirs]


def _rank_goals(cases: list[Facts]) -> Iterator[Goal]:
    by_family: dict[str, dict[int, Any]] = {}
    for case in cases:
        if case["size"] >= 4000:
            by_family.setdefault(case["family"], {})[case["n_ranks"]] = case
    aim = f"2 ranks with a core each beside one, 4000 atoms: ≥ {SPEED_UP} × as fast"
    if not by_family:
        yield Goal(aim, NOT_MEASURED, None)
    for family, of in by_family.items():
        speed_up = of[1]["seconds"] / of[2]["seconds"]
        yield Goal(f"{family}, {aim}", f"{speed_up:.2f} ×", speed_up >= SPEED_UP)
        shares = {n: of[n]["largest_growth_mib"] / of[1]["largest_growth_mib"] for n in sorted(of) if n > 1}
        yield Goal(
            f"{family}, memory of a rank: 1/{', 1/'.join(map(str, shares))} of one rank's (within 10 %)",
            ", ".join(f"{share:.2f}" for share in shares.values()),
            all(share <= SHARE / n for n, share in shares.items()),
        )
