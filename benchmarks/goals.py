"""What graphs and partitions were to reach, beside what was measured: every line from the JSON results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from measure import Facts, seconds
from tables import METHODS, REFERENCE_FACTORS, table

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Goal:
    """One line."""

    aim: str
    measured: str
    reached: bool | None
    """None: not measured."""


def as_markdown(neighbors: Facts, partition: Facts, overhead: Facts) -> str:
    """The table of all goals, those that were missed too."""
    found = [
        *_search_goals(Results(neighbors["cases"]), neighbors["simd"]),
        *_graph_goals(Results(partition["cases"])),
        *_cut_goals(Results(partition["cases"])),
        _gpu_goal(Results(partition["cases"])),
        _overhead_goal(Results(overhead["cases"])),
    ]
    return as_table(found)


def as_table(goals: list[Goal]) -> str:
    """One row per goal."""
    words = {True: "yes", False: "**no**", None: "–"}
    rows = [[goal.aim, goal.measured, words[goal.reached]] for goal in goals]
    return table(["goal", "measured", "reached"], rows)


class Results:
    """Looks up what was measured."""

    def __init__(self, cases: list[Facts]) -> None:
        self.cases = cases

    def case(self, size: int = 0, **facts: Any) -> Facts:
        """The results of the case with these facts and about so many atoms; empty if there is none."""
        for case in self.cases:
            fits = size == 0 or 0.9 < case.get("n_atoms", 0) / size < 1.1
            if fits and all(case.get(name) == value for name, value in facts.items()):
                return dict(case["results"]) if "results" in case else case
        return {}


def faster(aim: str, least: float, ours: Facts | None, theirs: Facts | None, factor: float = 1.0) -> Goal:
    """Whether ``theirs``, times a factor, is at least so many times ours in CPU seconds."""
    if not _timed(ours) or not _timed(theirs):
        return Goal(aim, NOT_MEASURED, None)
    assert ours is not None
    assert theirs is not None
    peer, own = factor * seconds(theirs), seconds(ours)
    return Goal(aim, f"{peer / own:.1f} × ({own:.3g} s, {peer:.3g} s)", peer / own >= least)


def _timed(result: Facts | None) -> bool:
    return result is not None and ("cpu_s" in result or "first_cpu_s" in result) and "status" not in result


def _search_goals(results: Results, simd: list[str]) -> Iterator[Goal]:
    edges = results.case(10**5, kind="edges", system="fcc Cu", cutoff=5.0, threads=1)
    for level, least in (("avx512", 15), ("avx2", 6)):
        name = "distmlip" if simd[:1] == [level] else f"distmlip, {level}"
        aim = f"edge list, 98k Cu, 5 Å, {level}: ≥ {least} × faster than vesin's `ijS`"
        yield faster(aim, least, edges.get(name), edges.get("vesin"))
    arrays = results.case(10**5, kind="arrays", system="fcc Cu", cutoff=5.0, threads=1)
    aim = '`neighbor_list("ijSD")`, the same: ≥ 4 × faster than vesin\'s sorted `ijSD`'
    yield faster(aim, 4, arrays.get("distmlip"), arrays.get("vesin"))
    slab = results.case(48_000, kind="boundaries")
    aim = "slab with vacuum, 48k atoms, open third axis: no slower than periodic (5 % are noise)"
    if not all(_timed(slab.get(f"distmlip {pbc}")) for pbc in ("TTF", "TTT")):
        yield Goal(aim, NOT_MEASURED, None)
        return
    open_axis, periodic = (slab[f"distmlip {pbc}"]["cpu_s"][0] for pbc in ("TTF", "TTT"))
    yield Goal(aim, f"{open_axis / periodic:.2f} × its time", open_axis <= 1.05 * periodic)


def _graph_goals(results: Results) -> Iterator[Goal]:
    for (system, size), factor in REFERENCE_FACTORS.items():
        shuffled = "shuffled" in system
        graph = results.case(size, kind="graph", system="fcc Cu")
        least = 100 if shuffled else 20
        aim = (
            f"graph in 8 partitions, {size:,} atoms{', shuffled' if shuffled else ''}: ≥ {least} × faster "
            f"than published DistMLIP ({factor} × vesin)"
        )
        ours = graph.get("distmlip, shuffled" if shuffled else "distmlip")
        yield faster(aim, least, ours, graph.get("vesin"), factor)
    million = results.case(10**6, kind="graph", system="fcc Cu")
    ordered, shuffled_order = million.get("distmlip"), million.get("distmlip, shuffled")
    aim = "the same, shuffled: ≤ 1.5 × the time of ordered atoms"
    if _timed(ordered) and _timed(shuffled_order):
        ratio = seconds(million["distmlip, shuffled"]) / seconds(million["distmlip"])
        yield Goal(aim, f"{ratio:.2f} ×", ratio <= 1.5)
    else:
        yield Goal(aim, NOT_MEASURED, None)
    yield at_most("its peak memory, 42.8 M edges: ≤ 0.5 GB (published DistMLIP 3.1)", ordered, gigabytes=0.5)
    largest = results.case(10**7, kind="largest").get("distmlip")
    yield at_most("10^7 atoms: ≤ 24 GiB", largest, gigabytes=24 * 1.0737)
    angles = results.case(10**6, kind="angles").get("distmlip")
    aim = "10^6 atoms with bonds and angles (3 Å, 132 M): ≤ 2 s, ≤ 3 GB (published DistMLIP 22 s, 9.6 GB)"
    yield at_most(aim, angles, gigabytes=3.0, limit=2.0)
    chgnet = results.case(11_000, kind="chgnet")
    aim = "both graphs of LiMnO2, 10.6k atoms, 6 and 3 Å: ≥ 200 × faster than chgnet's fast converter"
    yield faster(aim, 200, chgnet.get("distmlip"), chgnet.get("chgnet"))


def at_most(aim: str, result: Facts | None, gigabytes: float, limit: float | None = None) -> Goal:
    """Whether the growth of the peak RSS, and the CPU seconds, stay below limits."""
    if result is None or not _timed(result):
        return Goal(aim, NOT_MEASURED, None)
    peak = result["peak_mb"] / 1000
    if limit is None:
        return Goal(aim, f"{peak:.2f} GB", peak <= gigabytes)
    return Goal(
        aim, f"{seconds(result):.2f} s, {peak:.2f} GB", peak <= gigabytes and seconds(result) <= limit
    )


def _cut_goals(results: Results) -> Iterator[Goal]:
    for n_partitions in (8, 16, 64):
        aim = (
            f"water in {n_partitions} partitions: halo ≤ 1.08 × METIS's, imbalance ≤ 1.03, "
            "graph and cut in ≤ 1/10 of the time of METIS's cut"
        )
        cut = results.case(10**5, kind="cut", n_partitions=n_partitions)
        metis, ours = cut.get("METIS"), cut.get(METHODS[-1])
        if metis is None or ours is None or not (_timed(metis) and _timed(ours)):
            yield Goal(aim, NOT_MEASURED, None)
            continue
        halo = ours["halo_percent"] / metis["halo_percent"]
        share = seconds(ours) / seconds(metis)
        measured = f"{halo:.2f} ×, {ours['imbalance']:.3f}, 1/{1 / share:.0f}"
        yield Goal(aim, measured, halo <= 1.08 and ours["imbalance"] <= 1.03 and share <= 0.1)


def _gpu_goal(results: Results) -> Goal:
    aim = "on a GPU, 10^6 atoms, 5 Å: ≥ 1.5 × faster than nvalchemi-toolkit-ops, ≥ 50 % of its bandwidth"
    found = results.case(kind="gpu")
    ours, theirs = found.get("distmlip"), found.get("nvalchemi")
    if ours is None or theirs is None or not (_timed(ours) and _timed(theirs)):
        return Goal(aim, str(found.get("status", NOT_MEASURED)), None)
    times = seconds(theirs, "wall_s") / seconds(ours, "wall_s")
    share = ours["fill_s"] / seconds(ours, "wall_s")
    return Goal(aim, f"{times:.1f} ×, {100 * share:.0f} %", times >= 1.5 and share >= 0.5)


def _overhead_goal(results: Results) -> Goal:
    aim = "MD step beside the model, 98k atoms: ≤ 1 µs per atom, rebuilds included (one thread, CPU time)"
    step = results.case(10**5, threads=1).get("no exchange")
    if step is None or "overhead_cpu_us" not in step:
        return Goal(aim, NOT_MEASURED, None)
    return Goal(aim, f"{step['overhead_cpu_us']:.2f} µs", step["overhead_cpu_us"] <= 1.0)
