"""What was to be reached (results/limits.toml) beside what was measured (results/*.json), missed or not.

Nothing to run: update_performance.py writes these tables.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness import RESULTS, Facts, seconds
from result_tables import REFERENCE_FACTORS, table

LIMITS = tomllib.loads((RESULTS / "limits.toml").read_text())
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """One line."""

    aim: str
    measured: str
    reached: bool | None
    """None: not measured."""


def as_table(goals: list[Goal]) -> str:
    """One row per goal."""
    words = {True: "yes", False: "**no**", None: "–"}
    rows = [[goal.aim, goal.measured, words[goal.reached]] for goal in goals]
    return table(["goal", "measured", "reached"], rows)


def of_graphs(neighbors: Facts, partition: Facts, overhead: Facts) -> list[Goal]:
    """Of graphs and partitions, by the results of both and of a step beside the model."""
    steps = [{"kind": "overhead", **case} for case in overhead["cases"]]
    cases, simd = [*neighbors["cases"], *partition["cases"], *steps], neighbors["simd"][0]
    return [
        _of_graph(limits | more, cases, simd)
        for limits in LIMITS["graphs"]
        for more in limits.get("each", [{}])
    ]


def _of_graph(limits: Facts, cases: list[Facts], simd: str) -> Goal:
    case = _case(cases, **limits["case"])
    limits["factor"] = REFERENCE_FACTORS.get((limits.get("published"), limits["case"].get("size")), 1.0)
    aim = limits["goal"].format(**limits)
    # Results named "distmlip" are those with the fastest instructions that the machine has.
    results = [case.get("results", {}).get(name.removesuffix(f", {simd}"), {}) for name in limits["of"]]
    if any("status" in result or not {"cpu_s", "first_cpu_s"} & result.keys() for result in results):
        return Goal(aim, case.get("status", NOT_MEASURED), None)
    return Goal(aim, *MEASURED[limits["measured"]](limits, *results))


def _case(cases: list[Facts], size: int = 0, **facts: object) -> Facts:
    """The case with these facts and about so many atoms; empty if there is none."""
    for case in cases:
        fits = size == 0 or 0.9 < case.get("n_atoms", 0) / size < 1.1
        if fits and all(case.get(name) == value for name, value in facts.items()):
            return case
    return {}


def _times_faster(limits: Facts, ours: Facts, theirs: Facts) -> tuple[str, bool]:
    own, peer = seconds(ours), limits["factor"] * seconds(theirs)
    return f"{peer / own:.1f} × ({own:.3g} s, {peer:.3g} s)", peer / own >= limits["least"]


def _ratio(limits: Facts, ours: Facts, theirs: Facts) -> tuple[str, bool]:
    ratio = seconds(ours) / seconds(theirs)
    return f"{ratio:.2f} ×", ratio <= limits["most"]


def _shortest_ratio(limits: Facts, ours: Facts, theirs: Facts) -> tuple[str, bool]:
    ratio = ours["cpu_s"][0] / theirs["cpu_s"][0]
    return f"{ratio:.2f} × its time", ratio <= limits["most"]


def _memory(limits: Facts, ours: Facts) -> tuple[str, bool]:
    gigabytes = ours["peak_mb"] / 1000
    return f"{gigabytes:.2f} GB", gigabytes <= limits["gigabytes"]


def _time_and_memory(limits: Facts, ours: Facts) -> tuple[str, bool]:
    measured, fits = _memory(limits, ours)
    return f"{seconds(ours):.2f} s, {measured}", fits and seconds(ours) <= limits["seconds"]


def _cut(limits: Facts, ours: Facts, metis: Facts) -> tuple[str, bool]:
    halo, times = ours["halo_percent"] / metis["halo_percent"], seconds(metis) / seconds(ours)
    within = halo <= limits["halo"] and ours["imbalance"] <= limits["imbalance"]
    return f"{halo:.2f} ×, {ours['imbalance']:.3f}, 1/{times:.0f}", within and times >= limits["least"]


def _on_gpu(limits: Facts, ours: Facts, theirs: Facts) -> tuple[str, bool]:
    own = seconds(ours, "wall_s")
    times, percent = seconds(theirs, "wall_s") / own, 100 * ours["fill_s"] / own
    return f"{times:.1f} ×, {percent:.0f} %", times >= limits["least"] and percent >= limits["percent"]


def _overhead(limits: Facts, ours: Facts) -> tuple[str, bool]:
    return f"{ours['overhead_cpu_us']:.2f} µs", ours["overhead_cpu_us"] <= limits["microseconds"]


MEASURED: dict[str, Callable[..., tuple[str, bool]]] = {
    "times_faster": _times_faster,
    "ratio": _ratio,
    "shortest_ratio": _shortest_ratio,
    "memory": _memory,
    "time_and_memory": _time_and_memory,
    "cut": _cut,
    "on_gpu": _on_gpu,
    "overhead": _overhead,
}
"""What the limits of a graph ask for: in words, and whether it is within them."""


def of_steps(steps: list[Facts], ranks: list[Facts], gpu: list[Facts]) -> list[Goal]:
    """``steps``: of each family; ``ranks`` and ``gpu``: the cases of bench_ranks and bench_gpu."""
    return [
        *(goal for family in steps for goal in _of_family(family)),
        *_of_ranks(ranks),
        *_of_gpu(gpu),
    ]


def _of_gpu(cases: list[Facts]) -> Iterator[Goal]:
    limits = LIMITS["gpu"]
    if not cases:
        yield from (Goal(limits[of], "not run: there was no GPU", None) for of in ("large", "beside"))
    measured = [case for case in cases if "status" not in case]
    for case in measured:
        most = limits["seconds"].get(case["family"])
        if case["kind"] == "large" and case["size"] == 10**6 and most:
            aim = f"{case['family']}, one GPU, {case['n_atoms']:,} atoms: ≤ {most} s"
            yield Goal(aim, f"{case['seconds']:.1f} s", case["seconds"] <= most)
    largest = {case["family"]: case for case in measured if case["kind"] == "beside"}
    for family, case in largest.items():
        ratio = case["distmlip"]["seconds"] / case["original"]["seconds"]
        aim = f"{family}, one GPU, {case['n_atoms']:,} atoms: ≤ {limits['ratio']} × the original's time"
        yield Goal(aim, f"{ratio:.2f} ×", ratio <= limits["ratio"])


def _of_family(results: Facts) -> Iterator[Goal]:
    family, limits = results["family"], LIMITS["steps"]
    limits = limits | {"family": family, "time": limits["times"].get(family, limits["time"])}
    sizes = [size for size in results["sizes"] if size["n_atoms"] >= 500 and "auto" in size["seconds"]]
    for size in sizes:
        if "original" in size["seconds"]:
            time, memory = (size[kind]["auto"] / size[kind]["original"] for kind in ("seconds", "memory_mb"))
            reached = time <= limits["time"] and memory <= limits["memory"]
            yield Goal(limits["goal"].format(**limits, **size), f"{time:.2f} ×, {memory:.2f} ×", reached)
    if sizes:
        shares = [size["seconds"]["P=4"] / size["seconds"]["P=1"] for size in sizes]
        measured = ", ".join(f"{share:.2f} ×" for share in shares)
        limits = LIMITS["partitions"]
        yield Goal(limits["goal"].format(family=family), measured, max(shares) <= limits["most"])


def _of_ranks(cases: list[Facts]) -> Iterator[Goal]:
    by_family: dict[str, dict[int, Facts]] = {}
    for case in cases:
        if case["size"] >= 4000:
            by_family.setdefault(case["family"], {})[case["n_ranks"]] = case
    limits = LIMITS["ranks"]
    aim = limits["time"].format(**limits)
    if not by_family:
        yield Goal(aim, NOT_MEASURED, None)
    for family, of in by_family.items():
        speed_up = of[1]["seconds"] / of[2]["seconds"]
        yield Goal(f"{family}, {aim}", f"{speed_up:.2f} ×", speed_up >= limits["speed_up"])
        shares = {n: of[n]["largest_growth_mib"] / of[1]["largest_growth_mib"] for n in sorted(of) if n > 1}
        yield Goal(
            limits["memory"].format(family=family, shares=", ".join(f"1/{n}" for n in shares)),
            ", ".join(f"{share:.2f}" for share in shares.values()),
            all(share <= limits["share"] / n for n, share in shares.items()),
        )
