"""The results of bench_native.py as Markdown, for the terminal and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator

from harness import Facts, seconds
from tables import table

PROGRAMS = {
    "original": "original",
    "distmlip, original kernels": "distmlip, `original`",
    "symmetrix-xl": "symmetrix-xl",
    "distmlip, exact": "distmlip, exact",
    "distmlip": "distmlip, auto",
}
"""On one thread and, ours, with one partition: columns of the first tables."""
SHARED = ("symmetrix-xl", "distmlip", "distmlip, P=8", "distmlip, P=auto")
"""Those that run with one and with two threads."""
SETS = ("avx512", "avx2", "portable")


def as_markdown(cases: list[Facts]) -> str:
    """Times, errors, threads, instruction sets and memory."""
    parts = [
        "CPU µs per atom of a whole step on one thread, ours undivided (in brackets: times ours, auto):",
        table(["model", "dtype", "atoms", *PROGRAMS.values(), "processor; FMA peak of a core"], times(cases)),
        "Errors of forces to the original in float64, max|ΔF| in eV/Å:",
        table(["model", "dtype", "atoms", "max\\|F\\|, eV/Å", *PROGRAMS.values()], errors(cases)),
        "Partitions and threads, CPU µs per atom on one thread, and the wall time of two threads beside one:",
        table(["model", "dtype", "atoms", *SHARED], shared(cases)),
        "By instruction set, CPU µs per atom on one thread:",
        table(["model", "dtype", "atoms", "", *SETS], sets(cases)),
        "Peak memory of the first step above the loaded model, and its wall time:",
        table(["model", "dtype", "atoms", "", "MB", "MB per atom", "s"], memory(cases)),
        *(f"Not measured: {line}" for line in failures(cases)),
    ]
    return "\n\n".join(parts)


def microseconds(case: Facts, name: str) -> float | None:
    """CPU time per atom of the median turn; None if there is none."""
    result = case["results"].get(name, {})
    return 1e6 * seconds(result) / case["n_atoms"] if "cpu_s" in result else None


def times(cases: list[Facts]) -> Iterator[list[str]]:
    """Rows of the programs beside each other."""
    for case in cases:
        taken = {name: microseconds(case, name) for name in PROGRAMS}
        if any(taken.values()):
            cells = [_beside(value, taken["distmlip"], name) for name, value in taken.items()]
            yield [*_head(case), *cells, _machine(case["machine"])]


def _beside(value: float | None, ours: float | None, name: str) -> str:
    if value is None:
        return "–"
    ratio = f" ({value / ours:.1f} ×)" if ours and name != "distmlip" else ""
    return f"{value:,.0f}{ratio}"


def _machine(machine: Facts) -> str:
    isa, peak = next(iter(machine["fma_gflops"].items()))
    return f"{machine['cpu']}; {peak:.0f} GFLOP/s ({isa})"


def errors(cases: list[Facts]) -> Iterator[list[str]]:
    """Rows of the sizes for which the original fits in float64."""
    for case in cases:
        found = [case["results"].get(name, {}).get("force_error") for name in PROGRAMS]
        if case["max_force"] is not None:
            cells = ["–" if error is None else f"{error:.1e}" for error in found]
            yield [*_head(case), f"{case['max_force']:.2f}", *cells]


def shared(cases: list[Facts]) -> Iterator[list[str]]:
    """Rows of the contests in which programs have partitions, or two threads."""
    for case in cases:
        results = case["results"]
        if "distmlip, P=8" in results or any(of["threads"] == 2 for of in results.values()):
            yield [*_head(case), *(_shared(case, name) for name in SHARED)]


def _shared(case: Facts, name: str) -> str:
    one = microseconds(case, name)
    if one is None:
        return "–"
    partitions = case["results"][name].get("partitions")
    chosen = f" (P={partitions})" if name.endswith("auto") else ""
    gain = speed_up(case, name)
    return f"{one:,.0f}{chosen}" + (f", {gain:.2f} ×" if gain else "")


def speed_up(case: Facts, name: str) -> float | None:
    """The wall time of a program on one thread over that on two."""
    one, two = (case["results"].get(of, {}) for of in (name, f"{name}, 2 threads"))
    return seconds(one, "wall_s") / seconds(two, "wall_s") if "wall_s" in one and "wall_s" in two else None


def sets(cases: list[Facts]) -> Iterator[list[str]]:
    """Rows of the programs that were held to an instruction set."""
    for case in cases:
        for name in ("distmlip", "distmlip, exact", "symmetrix-xl"):
            own = case["results"].get(name, {}).get("isa")
            taken = {own: microseconds(case, name)}
            taken |= {isa: microseconds(case, f"{name}, {isa}") for isa in SETS if isa != own}
            if sum(value is not None for value in taken.values()) > 1:
                cells = [taken.get(isa) for isa in SETS]
                yield [*_head(case), PROGRAMS[name], *("–" if of is None else f"{of:,.0f}" for of in cells)]


def memory(cases: list[Facts]) -> Iterator[list[str]]:
    """Rows of the largest systems that each program was measured with, by model and dtype."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for case in sorted(cases, key=lambda case: int(case["n_atoms"])):
        for name, result in case["results"].items():
            if "peak_mb" in result and not name.endswith(SETS):
                peak = result["peak_mb"]
                cells = [name, f"{peak:,.0f}", f"{peak / case['n_atoms']:.3f}", f"{result['first_wall_s']:.3g}"]
                rows[case["model"], case["dtype"], name] = [*_head(case), *cells]
    yield from rows.values()


def failures(cases: list[Facts]) -> Iterator[str]:
    """What has a status instead of a time."""
    for case in cases:
        for name, result in case["results"].items():
            if "status" in result:
                yield f"{', '.join(_head(case))} atoms: {name}: {result['status']}"


def _head(case: Facts) -> list[str]:
    return [case["model"], case["dtype"], f"{case['n_atoms']:,}"]
