"""Writes the measured tables into README.md, between its `results` marks, from benchmarks/results/*.json."""

from __future__ import annotations

import json
from pathlib import Path

import bench_ranks
import bench_subnormals
import goals
import tables
from bench_step import as_markdown
from goals import as_table
from measure import RESULTS
from step_goals import as_goals

GRAPHS = [RESULTS / f"{name}.json" for name in ("neighbors", "partition", "overhead")]
RANKS = RESULTS / "ranks.json"
SUBNORMALS = RESULTS / "subnormals.json"
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- results: benchmarks/update_readme.py writes what follows -->", "<!-- end of results -->"
TITLES = {
    "chgnet": "CHGNet 0.3.0, pretrained, beside `CHGNetCalculator`",
    "esen": "eSEN of the size sm (6 million random weights), beside fairchem's own modules",
    "m3gnet": "M3GNet-MatPES-PBE-v2025.1 of matgl, pretrained, beside `PESCalculator`",
    "mace": "MACE of MACE-MP-0 medium's size (4.7 million random weights), beside `MACECalculator`",
    "sevennet": "SevenNet-0, pretrained, beside `SevenNetCalculator`",
    "tensornet": "TensorNet-MatPES-PBE-v2025.1 of matgl (warp), pretrained, beside `PESCalculator`",
    "tensornet_torch": "The same TensorNet in plain torch, beside `PESCalculator`",
}


def main() -> None:
    """Replace what stands between the marks."""
    steps = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("step_*.json"))]
    sections = [sweeps(steps), *map(section, steps)]
    if all(path.exists() for path in GRAPHS):
        sections.insert(0, graphs())
    before, rest = README.read_text().split(BEGIN)
    after = rest.split(END)[1]
    README.write_text(f"{before}{BEGIN}\n\n" + "\n\n".join(sections) + f"\n\n{END}{after}")


def graphs() -> str:
    """Neighbour lists, partitions and what a step costs beside the model: goals first, then tables."""
    neighbors, partition, overhead = (json.loads(path.read_text()) for path in GRAPHS)
    machine = neighbors["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in neighbors["versions"].items())
    return "\n\n".join(
        [
            "### Neighbour lists, graphs and partitions, beside their peers",
            f"{machine['cores']} cores ({machine['cpu']}, {machine['memory_gb']} GB), {versions}. "
            "Medians of CPU seconds (user and system) of candidates that take turns; memory is the growth of "
            "the peak RSS in a fresh process. What was to be reached:",
            goals.as_markdown(neighbors, partition, overhead),
            "![CPU time per atom of every package, by number of atoms and by system](docs/graphs.png)",
            tables.neighbors(neighbors),
            tables.partition(partition),
            tables.overhead(overhead),
        ]
    )


def sweeps(steps: list[dict]) -> str:
    """Steps and ranks: goals, then the table of ranks."""
    parts = ["### Steps, ranks and GPUs"]
    ranks = json.loads(RANKS.read_text()) if RANKS.exists() else {"cases": []}
    parts.append(as_table(as_goals(steps, ranks["cases"])))
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
    return "\n\n".join(parts)


def section(results: dict) -> str:
    """One family: what it was measured on, then its tables."""
    machine = results["machine"]
    where = (
        f"Measured on {machine['cores']} cores ({machine['cpu']}, {machine['memory_gb']} GB), "
        f"torch {machine['torch']}, {machine['torch_threads']} threads, float32."
    )
    return f"### {TITLES[results['family']]}\n\n{where}\n\n{as_markdown(results)}"


if __name__ == "__main__":
    main()
