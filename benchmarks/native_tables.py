"""The results of bench_native.py as Markdown, for the terminal and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator

from harness import Facts, seconds
from result_tables import table

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
IN_MEMORY = (*PROGRAMS, "distmlip, P=8", "distmlip, P=auto")
LARGE = 1000  # atoms
SETS = ("avx512", "avx2", "portable")


def as_markdown(cases: list[Facts]) -> str:
    """Times, errors, threads, instruction sets and memory, as far as they were measured."""
    tables = [
        (
            "CPU µs per atom of a whole step on one thread, ours with one partition (times ours, auto):",
            [*PROGRAMS.values(), "processor; FMA peak of a core"],
            times(cases),
        ),
        (
            "Largest error of a force component to the original in float64, eV/Å:",
            ["max\\|F\\|, eV/Å", *PROGRAMS.values()],
            errors(cases),
        ),
        (
            "Partitions and threads: CPU µs per atom on one thread; wall time on one over that on two:",
            list(SHARED),
            shared(cases),
        ),
        ("By instruction set, CPU µs per atom on one thread:", ["", *SETS], sets(cases)),
        (
            "Growth of the peak RSS above the loaded model in the first step, MB (per atom):",
            [*(PROGRAMS.get(name, name) for name in IN_MEMORY)],
            memory(cases),
        ),
    ]
    parts = []
    for title, head, rows in tables:
        if found := list(rows):
            parts += [title, table(["model", "dtype", "atoms", *head], found)]
    if failed := list(failures(cases)):
        parts += ["What failed:", "\n".join(f"- {line}" for line in failed)]
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
        timed = [name for name in SHARED if microseconds(case, name) is not None]
        if "distmlip, P=8" in timed or any(speed_up(case, name) for name in timed):
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
    """Rows of what is large enough for that which every step needs to matter."""
    for case in cases:
        if case["n_atoms"] >= LARGE:
            yield [*_head(case), *(_peak(case, name) for name in IN_MEMORY)]


def _peak(case: Facts, name: str) -> str:
    results = case["results"]
    result = results.get(name) or results.get(f"{name}, 2 threads", {})
    if "peak_mb" not in result:
        return "–"
    return f"{result['peak_mb']:,.0f} ({result['peak_mb'] / case['n_atoms']:.3f})"


def failures(cases: list[Facts]) -> Iterator[str]:
    """What has a status instead of a time."""
    for case in cases:
        for name, result in case["results"].items():
            if "status" in result:
                yield f"{', '.join(_head(case))} atoms: {name}: {result['status']}"


def _head(case: Facts) -> list[str]:
    return [case["model"], case["dtype"], f"{case['n_atoms']:,}"]
