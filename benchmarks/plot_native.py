"""CPU time per atom of every program, by model, as a picture.

    python benchmarks/plot_native.py            seconds

Draws docs/native.png from the float32 contests of benchmarks/results/native.json, one thread, each model at
the size of which most programs were measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from harness import RESULTS, Facts
from matplotlib.axes import Axes
from native_tables import microseconds
from plot_graphs import finish

OUTPUT = Path(__file__).parents[1] / "docs" / "native.png"
# Colours that everyone can tell apart, the same for a program as in the other pictures.
PROGRAMS = {
    "original": ("original", "#7A7A7A"),
    "distmlip, original kernels": ('distmlip, kernels="original"', "#9CC9E6"),
    "symmetrix-xl": ("symmetrix-xl", "#D55E00"),
    "distmlip, exact": ('distmlip, radial="exact"', "#3C9BD0"),
    "distmlip": ("distmlip", "#0072B2"),
}
INK, PALE = "#222222", "#DDDDDD"
WIDTH = 0.16  # of a bar, where models are 1 apart


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS / "native.json")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    cases = chosen(json.loads(arguments.results.read_text())["cases"])
    plt.rcParams.update({"font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": PALE})
    figure, axes = plt.subplots(figsize=(max(5.5, 1.2 + 1.5 * len(cases)), 4), layout="constrained")
    draw(axes, cases)
    figure.savefig(arguments.output, dpi=130, facecolor="white")


def chosen(cases: list[Facts]) -> list[Facts]:
    """One of each model, in their order."""
    best: dict[str, Facts] = {}
    for case in cases:
        known = best.get(case["model"])
        shown = (
            case["dtype"] == "float32"
            and "steep" not in case["model"]
            and "urea" not in case["model"]
            and n_bars(case)
        )
        if shown and (known is None or n_bars(case) > n_bars(known)):
            best[case["model"]] = case
    return list(best.values())


def n_bars(case: Facts) -> int:
    """How many of the programs were measured."""
    return sum(microseconds(case, name) is not None for name in PROGRAMS)


def draw(axes: Axes, cases: list[Facts]) -> None:
    """Bars of all programs, a group for each model."""
    for number, (name, (label, colour)) in enumerate(PROGRAMS.items()):
        values = np.array([microseconds(case, name) or np.nan for case in cases])
        places = np.arange(len(cases)) + WIDTH * (number - (len(PROGRAMS) - 1) / 2)
        if not np.isfinite(values).any():
            continue
        axes.bar(places, values, 0.92 * WIDTH, color=colour, label=label)
        for place, value in zip(places, values, strict=True):
            if np.isfinite(value):
                axes.text(place, 1.06 * value, _in_short(value), ha="center", fontsize=7)
    finish(axes, ",.0f")
    axes.set_ylabel("CPU µs per atom of a step, one thread")
    axes.set_xticks(range(len(cases)), [_broken(case) for case in cases])
    heights = [value for case in cases for name in PROGRAMS if (value := microseconds(case, name))]
    axes.set_ylim(0.4 * min(heights), 6 * max(heights))  # the legend stands above the bars
    axes.legend(ncols=3, frameon=False, loc="upper left", fontsize=8)


def _in_short(microseconds: float) -> str:
    if microseconds < 1000:
        return f"{microseconds:.0f}"
    return f"{microseconds / 1000:.{0 if microseconds >= 10_000 else 1}f}k"


def _broken(case: Facts) -> str:
    """The blocks of a model on a line of their own."""
    family, *blocks = case["model"].split(", ")
    return "\n".join([family, *filter(None, [", ".join(blocks)]), f"{case['n_atoms']:,} atoms"])


if __name__ == "__main__":
    main()
