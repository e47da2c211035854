"""The measured graph benchmarks as Markdown, for the terminal and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from harness import Facts, seconds

LARGE = 50_000  # atoms
FASTEST = ("distmlip", "vesin")
METHODS = ("slab", "bisection", "auto")
REFERENCE_FACTORS = {("fcc Cu", 10**5): 2.0, ("fcc Cu", 10**6): 2.2, ("fcc Cu, shuffled", 10**6): 24.0}
"""Published DistMLIP's time for a graph in 8 partitions over vesin's for the list of ordered fcc Cu, 5 Å.
Measured once, on such a machine; its code is not at hand here."""


def neighbors(measured: Facts, everything: bool = False) -> str:
    """Both contests on one thread, then on two; without ``everything`` fcc Cu and what is large."""
    cutoff = measured["cases"][0]["cutoff"]

    def is_shown(case: Facts) -> bool:
        return (
            everything or case["system"] == "fcc Cu" or (case["cutoff"] == cutoff and case["n_atoms"] > LARGE)
        )

    def chosen(*kinds: str, one_thread: bool) -> list[Facts]:
        cases = [case for case in measured["cases"] if case["kind"] in kinds and is_shown(case)]
        return [case for case in cases if (case["threads"] == 1) == one_thread]

    edges = chosen("edges", one_thread=True)
    parts = [
        "Edge lists in each package's own form, CPU seconds on one thread (times distmlip's):",
        _contests(edges),
        _instruction_sets(edges, measured["simd"]),
        '`neighbor_list("ijSD")`, new NumPy arrays sorted by `i`, likewise:',
        _contests(chosen("arrays", one_thread=True)),
        _spread(measured["cases"]),
    ]
    several = chosen("edges", "arrays", one_thread=False)
    if several:
        parts += ["Two threads, wall seconds (CPU seconds):", _threads(several)]
    return "\n\n".join(part for part in parts if part)


def _instruction_sets(cases: list[Facts], simd: list[str]) -> str:
    sentences = []
    for case in cases:
        others = [(level, case["results"].get(f"distmlip, {level}")) for level in simd[1:]]
        times = [f"{level} {_seconds(result)}" for level, result in others if result]
        if times:
            times.insert(0, f"{simd[0]} {_seconds(case['results']['distmlip'])}")
            sentences.append(f"{case['n_atoms']:,} atoms, {case['cutoff']:g} Å: {', '.join(times)}")
    return f"distmlip by instruction set, fcc Cu: {'; '.join(sentences)}." if sentences else ""


def _spread(cases: list[Facts]) -> str:
    timed = [result["cpu_s"] for case in cases for result in case["results"].values() if "cpu_s" in result]
    widths = [100 * (upper - lower) / median for _, lower, median, upper, _ in timed]
    half, most = np.quantile(widths, (0.5, 0.9))
    return (
        f"Spread: the middle half of a candidate's turns spans {half:.0f} % of its median for half of the "
        f"candidates, at most {most:.0f} % for nine of ten."
    )


def _contests(cases: list[Facts]) -> str:
    entered = dict.fromkeys(name for case in cases for name in case["results"])
    names = [name for name in entered if not name.startswith("distmlip, ")]
    rows = []
    for case in cases:
        results = case["results"]
        cells = [_compared(results.get(name, {}), results.get("distmlip", {})) for name in names]
        peaks = ", ".join(_peak(results.get(name, {})) for name in FASTEST)
        rows.append([*_head(case), *cells, peaks])
    return table(["system", "atoms", "cutoff, Å", "pairs", *names, "peak MB: distmlip, vesin"], rows)


def _threads(cases: list[Facts]) -> str:
    rows = [
        [
            case["kind"],
            *_head(case),
            *(_wall_and_cpu(case["results"].get(name, {})) for name in FASTEST),
        ]
        for case in cases
    ]
    return table(["contest", "system", "atoms", "cutoff, Å", "pairs", *FASTEST], rows)


def _head(case: Facts) -> list[str]:
    pairs = "" if case["n_pairs"] is None else f"{case['n_pairs']:,}"
    return [case["system"], f"{case['n_atoms']:,}", f"{case['cutoff']:g}", pairs]


def _compared(result: Facts, reference: Facts) -> str:
    if "cpu_s" not in result:
        return str(result.get("status", "–"))
    own = f"{seconds(result):.3g}"
    if result is reference or "cpu_s" not in reference:
        return own
    return f"{own} ({seconds(result) / seconds(reference):.1f} ×)"


def _wall_and_cpu(result: Facts) -> str:
    if "cpu_s" not in result:
        return str(result.get("status", "–"))
    return f"{seconds(result, 'wall_s'):.3g} ({seconds(result):.3g})"


def _peak(result: Facts) -> str:
    return f"{result['peak_mb']:,.0f}" if "peak_mb" in result else "–"


def partition(measured: Facts) -> str:
    """Graphs in 8 partitions with published DistMLIP's reference, graphs with angles, cuts beside METIS."""
    cases = measured["cases"]
    graphs = [row for case in cases if case["kind"] in ("graph", "largest") for row in _graphs(case)]
    angles = [_with_angles(case) for case in cases if case["kind"] in ("angles", "chgnet")]
    cuts = [
        [f"{case['n_atoms']:,}", str(case["n_partitions"])]
        + [_cut(case["results"].get(name, {})) for name in ("METIS", *METHODS)]
        for case in cases
        if case["kind"] == "cut"
    ]
    figures = ["distmlip, CPU s", "2 threads, wall s", "peak MB"]
    return "\n\n".join(
        [
            "Graphs in 8 partitions, 5 Å, beside vesin's undivided list (of atoms in order):",
            table(
                ["system", "atoms", *figures, "vesin, CPU s", "published DistMLIP (reference)"],
                graphs,
            ),
            "Graphs with bonds and angles:",
            table(["", "system", "atoms", *figures, "chgnet, CPU s", "peak MB"], angles),
            "Cuts of water, 5 Å: halo in %, imbalance (most edges of a partition over the mean) "
            "and CPU s (METIS's for the cut of a graph that it is given, distmlip's for cut and graphs):",
            table(["atoms", "partitions", "METIS", *METHODS], cuts),
            *(_gpu(case) for case in cases if case["kind"] == "gpu"),
        ]
    )


def _graphs(case: Facts) -> Iterator[list[str]]:
    results = case["results"]
    vesin = results.get("vesin", {})
    for order in ("", ", shuffled"):
        ours = results.get(f"distmlip{order}")
        if ours is not None:
            system = case["system"] + order
            threads = results.get("distmlip, 2 threads", {}) if not order else {}
            head = [system, f"{case['n_atoms']:,}", _seconds(ours), _seconds(threads, "wall_s"), _peak(ours)]
            yield [*head, _seconds(vesin), _reference(system, case["n_atoms"], vesin)]


def _reference(system: str, n_atoms: int, vesin: Facts) -> str:
    for (known, size), factor in REFERENCE_FACTORS.items():
        if known == system and 0.9 < n_atoms / size < 1.1 and "cpu_s" in vesin:
            return f"{factor * seconds(vesin):.3g} ({factor} × vesin)"
    return "–"


def _with_angles(case: Facts) -> list[str]:
    titles = {"angles": "8 partitions, 5 and 3 Å", "chgnet": "undivided, 6 and 3 Å"}
    ours, theirs = case["results"].get("distmlip", {}), case["results"].get("chgnet", {})
    threads = _seconds(case["results"].get("distmlip, 2 threads", {}), "wall_s")
    head = [titles[case["kind"]], case["system"], f"{case['n_atoms']:,}"]
    return [*head, _seconds(ours), threads, _peak(ours), _seconds(theirs), _peak(theirs)]


def _gpu(case: Facts) -> str:
    if "status" in case:
        return f"On a GPU: {case['status']}."
    rows = [
        [name, f"{seconds(result, 'wall_s'):.3g}", f"{result.get('fill_s', float('nan')):.3g}"]
        for name, result in case["results"].items()
        if "status" not in result
    ]
    return f"On one {case['device']}, {case['n_atoms']:,} atoms of {case['system']}, 5 Å:\n\n" + table(
        ["", "wall s", "to fill as many bytes, s"], rows
    )


def on_gpu(cases: list[Facts]) -> str:
    """Steps on a GPU, by bench_gpu.py: alone, and beside the originals; operators of MACE by themselves."""
    rows = []
    operators = [case for case in cases if case["kind"] == "operator"]
    for case in cases:
        if case in operators:
            continue
        head = [str(case["family"]), f"{case.get('n_atoms', case['size']):,}"]
        if "status" in case:
            rows.append([*head, case["kind"], case["status"], *[""] * 3])
        elif case["kind"] == "beside":
            rows += [[*head, who, *_on_gpu(case[who])] for who in ("original", "distmlip")]
        elif case["kind"] == "large":
            rows.append([*head, f"distmlip, P={case['partitions']}", *_on_gpu(case)])
        else:
            rows.append(
                ["exchange", head[1], "P=4", f"{case['seconds']:.3g}", "", "", f"{case['fill_s']:.3g} s"]
            )
    head = ["family", "atoms", "", "s", "µs per atom", "peak MiB", "exchange; or to fill as many bytes"]
    steps = "On one GPU (`bench_gpu.py`), seconds of a step in float32:\n\n" + table(head, rows)
    return steps + ("\n\n" + _operators(operators) if operators else "")


def _operators(cases: list[Facts]) -> str:
    rows = []
    for case in cases:
        head = [case["operator"], f"{case.get('n_atoms', case['size']):,}"]
        if "status" in case:
            rows.append([*head, case["status"], "", ""])
            continue
        names = [name.removeprefix("seconds_") for name in case if name.startswith("seconds_")]
        fastest = min(names, key=lambda name: case[f"seconds_{name}"])
        for name in names:
            seconds, error = case[f"seconds_{name}"], case[f"error_{name}"]
            rows.append([*head, name, f"{1e3 * seconds:.3g}{' *' * (name == fastest)}", f"{error:.1e}"])
    return (
        "Operators of the models' second layers on one GPU (`bench_operators.py`), forward and backward in "
        "float32; *: the fastest:\n\n"
        + table(["operator", "atoms", "", "ms", "largest relative error"], rows)
    )


def _on_gpu(result: Facts) -> list[str]:
    share = f"{result['exchange_share']:.1%}" if "exchange_share" in result else "–"
    peak = "–" if result["peak_mib"] is None else f"{result['peak_mib']:,.0f}"
    return [f"{result['seconds']:.3g}", f"{result['us_per_atom']:.2f}", peak, share]


def _seconds(result: Facts, clock: str = "cpu_s") -> str:
    if "status" in result or not result:
        return str(result.get("status", "–"))
    return f"{seconds(result, clock):.3g}"


def _cut(result: Facts) -> str:
    if "halo_percent" not in result:
        return str(result.get("status", "–"))
    return f"{result['halo_percent']:.0f} %, {result['imbalance']:.3f}, {seconds(result):.2g} s"


def overhead(measured: Facts) -> str:
    """What an MD step costs beside the model, and the parts of it."""
    rows = []
    for case in measured["cases"]:
        for name, result in case["results"].items():
            rows.append([f"{case['n_atoms']:,}", str(case["threads"]), name, *_overhead(result)])
    parts = ["update", "forces", "a rebuild", "ASE"]
    return "Microseconds per atom and step of MD, graph rebuilds included; parts are CPU time:\n\n" + table(
        ["atoms", "threads", "", "overhead: CPU", "wall", *parts, "the stages: wall", "steps, rebuilds"], rows
    )


def _overhead(result: Facts) -> list[str]:
    if "status" in result:
        return [str(result["status"]), *[""] * 7]
    parts = result["parts_cpu_us"]
    numbers = [
        *(result[name] for name in ("overhead_cpu_us", "overhead_wall_us")),
        *(parts[name] for name in ("update", "forces", "rebuild")),
        *(result[name] for name in ("ase_cpu_us", "stages_wall_us")),
    ]
    return [*(f"{number:.2f}" for number in numbers), f"{result['n_steps']}, {result['rebuilds']}"]


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
