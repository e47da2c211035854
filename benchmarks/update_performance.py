"""Writes what benchmarks/results/*.json hold into docs/performance.md, and chosen rows of it into README.md.

    python benchmarks/update_performance.py     seconds

Both have marks around what is written here; what stands outside of them is not touched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import bench_eager_memory
import bench_ranks
import bench_runs
import bench_subnormals
import goals
import million
import native_goals
import native_tables
import result_tables
from bench_step import as_markdown, cell
from harness import RESULTS

GRAPHS = [RESULTS / f"{name}.json" for name in ("neighbors", "partition", "overhead")]
RANKS = RESULTS / "ranks.json"
GPU_GRAPHS = "gpu_graphs.json"
SUBNORMALS = RESULTS / "subnormals.json"
EAGER_MEMORY = RESULTS / "eager_memory.json"
NATIVE = RESULTS / "native.json"
MILLION = RESULTS / "million.json"
RUNS = RESULTS / "runs.json"
ROOT = Path(__file__).parents[1]
PERFORMANCE, README = ROOT / "docs" / "performance.md", ROOT / "README.md"
MODEL_PAGES = ROOT / "docs" / "models"
BEGIN, END = (
    "<!-- results: benchmarks/update_performance.py writes what follows -->",
    "<!-- end of results -->",
)
TITLES = {
    "chgnet": "CHGNet 0.3.0, pretrained, beside `CHGNetCalculator`",
    "esen": "eSEN of the size sm (6 million random weights), beside fairchem's own modules",
    "m3gnet": "M3GNet-MatPES-PBE-v2025.1 of matgl, pretrained, beside `PESCalculator`",
    "mace": "MACE of MACE-MP-0 medium's size (4.7 million random weights), beside `MACECalculator`",
    "allegro": "Allegro (l = 2, 2 layers, 64 and 32 features, random weights), beside `NequIPCalculator`",
    "nequip": "NequIP of the size M of its presets (3.2 million random weights), beside `NequIPCalculator`",
    "orb": "Orb-v3 conservative, neighbours within 6 Å (random weights), beside Orb's own modules",
    "mattersim": "MatterSim of the size 1M (random weights), beside MatterSim's own modules",
    "sevennet": "SevenNet-0, pretrained, beside `SevenNetCalculator`",
    "tensornet": "TensorNet-MatPES-PBE-v2025.1 of matgl (warp), pretrained, beside `PESCalculator`",
    "tensornet_torch": "The same TensorNet in plain torch, beside `PESCalculator`",
}
SHORT_TITLES = {
    "chgnet": "CHGNet 0.3.0",
    "esen": "eSEN, size sm",
    "m3gnet": "M3GNet (matgl)",
    "mace": "MACE, size of MP-0 medium",
    "allegro": "Allegro, l = 2",
    "nequip": "NequIP, preset M",
    "orb": "Orb-v3 conservative",
    "mattersim": "MatterSim, size 1M",
    "sevennet": "SevenNet-0",
    "tensornet": "TensorNet (matgl, warp)",
}
CHOSEN_ROWS = [
    ("chgnet", 1024),
    ("chgnet", 2000),
    ("mace", 1024),
    ("tensornet", 2000),
    ("m3gnet", 504),
    ("sevennet", 128),
    ("esen", 128),
    ("nequip", 504),
    ("allegro", 504),
    ("orb", 504),
    ("mattersim", 504),
]
"""Families and atoms of the README's table: the largest of each that was measured beside its original, and
CHGNet at a size that its original does not reach."""
CHOSEN_VARIANTS = ("original", "auto", "P=4", "P=4, recompute")
PAGES = {
    "chgnet": (["chgnet"], ["CHGNet 0.3.0"]),
    "mace": (["mace"], ["MACE medium"]),
    "matgl": (["tensornet", "m3gnet"], ["TensorNet, warp", "TensorNet, torch", "M3GNet", "CHGNet of matgl"]),
    "fairchem": (["esen"], ["eSEN sm", "UMA, published size", "UMA, 64 channels"]),
    "sevennet": (["sevennet"], ["SevenNet-0"]),
    "nequip": (["nequip", "allegro"], ["NequIP, preset M"]),
    "orb": (["orb"], []),
    "mattersim": (["mattersim"], ["MatterSim, size 1M"]),
}
"""Of docs/models: the families whose steps, and the models whose native stages it shows."""


def main() -> None:
    """Replace what stands between the marks of both files."""
    steps = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("step_*.json"))]
    sections = [sweeps(steps), *map(section, steps)]
    if RUNS.exists():
        sections.insert(0, runs(json.loads(RUNS.read_text())))
    if MILLION.exists():
        sections.insert(0, of_a_million(json.loads(MILLION.read_text())["cases"]))
    if NATIVE.exists():
        sections.insert(0, native(json.loads(NATIVE.read_text())["cases"]))
    if all(path.exists() for path in GRAPHS):
        sections.insert(0, graphs())
    replace(PERFORMANCE, "\n\n".join(sections))
    replace(README, chosen_rows(steps, CHOSEN_ROWS))
    cases = json.loads(NATIVE.read_text())["cases"] if NATIVE.exists() else []
    for page, (families, models) in PAGES.items():
        replace(MODEL_PAGES / f"{page}.md", of_page(steps, cases, families, models))


def replace(path: Path, text: str) -> None:
    """Put ``text`` between the marks of a file that has them once."""
    before, rest = path.read_text().split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def chosen_rows(steps: list[dict], rows: Sequence[tuple[str, int]]) -> str:
    """Seconds per step and memory of these families and atoms, beside the originals."""
    sizes = {(results["family"], size["n_atoms"]): size for results in steps for size in results["sizes"]}
    lines = ["| model | atoms | " + " | ".join(CHOSEN_VARIANTS) + " |"]
    lines.append("|" + "---|" * (len(CHOSEN_VARIANTS) + 2))
    for family, n_atoms in rows:
        cells = [cell(sizes[family, n_atoms], variant) for variant in CHOSEN_VARIANTS]
        lines.append(f"| {SHORT_TITLES[family]} | {n_atoms} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def of_page(steps: list[dict], cases: list[dict], families: list[str], models: list[str]) -> str:
    """What was measured of a family: steps, and native stages on one core."""
    measured = [results for results in steps if results["family"] in families]
    rows = [(results["family"], size["n_atoms"]) for results in measured for size in results["sizes"]]
    cores = {f"{of['cores']} cores, {of['cpu']}" for of in (results["machine"] for results in measured)}
    parts = [f"LiMnO2, float32 ({'; '.join(sorted(cores))}):", chosen_rows(steps, rows)]
    native_cases = [case for case in cases if case["model"] in models and case["dtype"] == "float32"]
    if native_cases:
        lines = ["| model | atoms | original | exact | tables | processor |", "|---|---|---|---|---|---|"]
        for case in native_cases:
            programs = ("original", "distmlip, exact", "distmlip")
            values = [native_tables.microseconds(case, name) for name in programs]
            of = ["–" if value is None else f"{value:,.0f}" for value in values]
            lines.append(
                f"| {case['model']} | {case['n_atoms']:,} | {' | '.join(of)} | {case['machine']['cpu']} |"
            )
        parts += ["In C++, CPU µs per atom of a whole step on one core:", "\n".join(lines)]
    return "\n\n".join(parts)


def graphs() -> str:
    """Neighbour lists, partitions and what a step costs beside the model: goals first, then tables."""
    neighbors, partition, overhead = (json.loads(path.read_text()) for path in GRAPHS)
    if (of_gpu := RESULTS / GPU_GRAPHS).exists():
        elsewhere = [case for case in partition["cases"] if case["kind"] != "gpu"]
        partition["cases"] = elsewhere + json.loads(of_gpu.read_text())["cases"]
    machine = neighbors["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in neighbors["versions"].items())
    return "\n\n".join(
        [
            "## Neighbour lists, graphs and partitions, beside their peers",
            f"{machine['cores']} cores ({machine['cpu']}, {machine['memory_gb']} GB), {versions}. "
            "Medians of CPU seconds (user and system) of candidates that take turns; memory is the growth of "
            "the peak RSS in a fresh process. What was to be reached:",
            goals.as_table(goals.of_graphs(neighbors, partition, overhead)),
            "![CPU time per atom of every package, by number of atoms and by system](graphs.png)",
            result_tables.neighbors(neighbors),
            result_tables.partition(partition),
            result_tables.overhead(overhead),
        ]
    )


def native(cases: list[dict]) -> str:
    """Stages in C++ beside the original and symmetrix-xl: goals first, then tables."""
    versions = {name: of for case in cases for name, of in case["machine"]["versions"].items()}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return "\n\n".join(
        [
            "## Stages in C++, beside the original and symmetrix-xl",
            "LiMnO2, each program in a process of its own with as many cores as threads, all in turns "
            f"(`bench_native.py`; {packages}). Medians of CPU time (user and system) of whole steps of ASE. "
            "What was to be reached:",
            goals.as_table(native_goals.of_native(cases)),
            "![CPU time per atom of every program, by model](native.png)",
            native_tables.as_markdown(cases),
        ]
    )


def of_a_million(cases: list[dict]) -> str:
    """The largest system, with automatic choices: goals first, then tables."""
    machines = {machine["cpu"]: machine for case in cases for machine in [case["machine"]]}
    where = "; ".join(f"{cpu}, {of['cores']} cores, {of['memory_gb']} GB" for cpu, of in machines.items())
    of_each = {case["structure"]: case["density"] for case in cases}
    what = "; ".join(f"{name} ({density:.3f} atoms per Å³)" for name, density in of_each.items())
    return "\n\n".join(
        [
            "## A million atoms on two cores",
            f"Energy, forces and stress by `DistCalculator(model)`, without any option, in float32 "
            f"(`million.py`; {where}). {what}. What was to be reached:",
            million.as_markdown(cases),
        ]
    )


def runs(measured: dict) -> str:
    """Trajectories and checkpoints."""
    machine = measured["machine"]
    return "\n\n".join(
        [
            "## Trajectories and checkpoints of a million atoms",
            f"What they cost (`bench_runs.py`; {machine['cores']} cores, {machine['cpu']}), medians. "
            "Steps wait while a frame is copied; a thread compresses and writes it. A checkpoint is written "
            "once in a minute at most.",
            bench_runs.as_markdown(measured["cases"]),
        ]
    )


def sweeps(steps: list[dict]) -> str:
    """Steps and ranks: goals, then the table of ranks."""
    parts = ["## Steps, ranks and GPUs"]
    ranks = json.loads(RANKS.read_text()) if RANKS.exists() else {"cases": []}
    gpu = gpu_cases()
    parts.append(goals.as_table(goals.of_steps(steps, ranks["cases"], gpu)))
    if gpu:
        parts.append(result_tables.on_gpu(gpu))
    if ranks["cases"]:
        parts.append(
            "Ranks with one core each on one machine (more ranks than cores: memory only): medians, the time "
            "of the slowest rank, and the most that a rank's memory grows above the loaded model:"
        )
        parts.append(bench_ranks.as_markdown(ranks["cases"]))
    if SUBNORMALS.exists():
        parts.append(
            "What the executor's threads save by taking subnormal numbers for zero (`bench_subnormals.py`): "
            "one thread, one partition, float32, medians of CPU seconds of a step, both ways in turns:"
        )
        parts.append(bench_subnormals.as_markdown(json.loads(SUBNORMALS.read_text())["cases"]))
    if EAGER_MEMORY.exists():
        parts.append(
            "What it saves that large tensors of eager stages are on pages that are kept from step to step "
            "(`bench_eager_memory.py`): the models' own modules in float32, one thread, one partition, "
            "medians of CPU seconds of a step, both ways in turns:"
        )
        parts.append(bench_eager_memory.as_markdown(json.loads(EAGER_MEMORY.read_text())["cases"]))
    return "\n\n".join(parts)


def gpu_cases() -> list[dict]:
    """Of bench_gpu.py, in the order of their files."""
    paths = sorted(path for path in RESULTS.glob("gpu_*.json") if path.name != GPU_GRAPHS)
    return [case for path in paths for case in json.loads(path.read_text())["cases"]]


def section(results: dict) -> str:
    """One family: what it was measured on, then its tables."""
    machine = results["machine"]
    where = (
        f"Measured on {machine['cores']} cores ({machine['cpu']}, {machine['memory_gb']} GB), "
        f"torch {machine['torch']}, {machine['torch_threads']} threads, float32."
    )
    return f"## {TITLES[results['family']]}\n\n{where}\n\n{as_markdown(results)}"


if __name__ == "__main__":
    main()
