"""CPU time per atom of every package, by size and by system, as a picture.

    python benchmarks/plot_graphs.py            seconds

Draws docs/graphs.png from benchmarks/results/neighbors.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from harness import RESULTS, Facts, seconds
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from structures import SYSTEMS

OUTPUT = Path(__file__).parents[1] / "docs" / "graphs.png"
CUTOFF = 5.0  # Å
SIZE = 10**5
NAMES = {
    "distmlip": "distmlip",
    "vesin": "vesin",
    "nvalchemi": "nvalchemi",
    "pymatgen": "pymatgen",
    "matscipy": "matscipy",
    "ase": "ASE",
}
# Colours that everyone can tell apart, and shapes for grey prints.
STYLES = {
    "distmlip": ("#0072B2", "o"),
    "vesin": ("#D55E00", "s"),
    "nvalchemi": ("#009E73", "^"),
    "pymatgen": ("#AA4499", "D"),
    "matscipy": ("#7A7A7A", "v"),
    "ase": ("#B8860B", "P"),
}
TITLES = {"edges": "Edge list", "arrays": 'neighbor_list("ijSD")'}
INK, PALE = "#222222", "#DDDDDD"


def main() -> None:
    """Write the picture."""
    cases = [
        case
        for case in json.loads((RESULTS / "neighbors.json").read_text())["cases"]
        if case["threads"] == 1 and case["cutoff"] == CUTOFF
    ]
    plt.rcParams.update({"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": PALE})
    layout = dict(figsize=(9, 6.4), width_ratios=(1, 1.15), layout="constrained", sharey="row")
    figure, axes = plt.subplots(2, 2, **layout)
    for row, kind in zip(axes, TITLES, strict=True):
        chosen = [case for case in cases if case["kind"] == kind]
        _by_size(row[0], [case for case in chosen if case["system"] == "fcc Cu"])
        _by_system(row[1], [case for case in chosen if 0.9 < case["n_atoms"] / SIZE < 1.1])
        row[0].set_ylabel(f"{TITLES[kind]}\nCPU µs per atom")
    axes[0, 0].set_title("fcc Cu, by number of atoms", loc="left", fontsize=10)
    by_system = f"about {SIZE:,} atoms; ×: vesin's time over distmlip's"
    axes[0, 1].set_title(by_system, loc="left", fontsize=10)
    figure.savefig(OUTPUT, dpi=130, facecolor="white")


def _microseconds(case: Facts, name: str) -> float:
    result = case["results"].get(name, {})
    return 1e6 * seconds(result) / case["n_atoms"] if "cpu_s" in result else np.nan


def _by_size(axes: Axes, cases: list[Facts]) -> None:
    sizes = [case["n_atoms"] for case in cases]
    ends = {}
    for name, (colour, marker) in STYLES.items():
        values = np.array([_microseconds(case, name) for case in cases])
        there = np.isfinite(values)
        if not there.any():
            continue
        width = 2.5 if name == "distmlip" else 1.2
        axes.plot(np.array(sizes)[there], values[there], color=colour, marker=marker, lw=width, ms=5)
        ends[name] = (np.array(sizes)[there][-1], values[there][-1])
    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / 1.5, max(sizes) * 6)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.xaxis.set_minor_formatter(NullFormatter())
    finish(axes)
    _label(axes, ends)


def _label(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Names at the ends of the lines, moved apart where they would touch."""
    previous = 0.0
    for name, (x, y) in sorted(ends.items(), key=lambda item: item[1][1]):
        height = max(y, previous * 1.35)
        weight = "bold" if name == "distmlip" else "normal"
        axes.text(x * 1.25, height, NAMES[name], color=STYLES[name][0], va="center", weight=weight)
        previous = height


def _by_system(axes: Axes, cases: list[Facts]) -> None:
    cases = sorted(cases, key=lambda case: list(SYSTEMS).index(case["system"]))
    for name, (colour, marker) in STYLES.items():
        values = [_microseconds(case, name) for case in cases]
        axes.plot(values, marker, color=colour, ms=9 if name == "distmlip" else 6)
    for place, case in enumerate(cases):
        ours, theirs = _microseconds(case, "distmlip"), _microseconds(case, "vesin")
        axes.plot([place, place], [ours, theirs], color=PALE, lw=1.5, zorder=0)
        axes.text(place + 0.12, np.sqrt(ours * theirs), f"{theirs / ours:.0f} ×", va="center", color=INK)
    axes.set_xlim(-0.5, len(cases) - 0.3)
    axes.set_xticks(range(len(cases)), [_broken(case["system"]) for case in cases])
    finish(axes)


def _broken(system: str) -> str:
    """On two lines."""
    return system.replace(", ", "\n") if "," in system else system.replace(" ", "\n")


def finish(axes: Axes, spec: str = "g") -> None:
    """A logarithmic axis of values, written in this format, with pale lines and nothing else around."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format(value, spec)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(axis="y", color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


if __name__ == "__main__":
    main()
