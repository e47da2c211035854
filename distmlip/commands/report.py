"""What the demo shows: tables for the terminal and one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from distmlip.md.history import History
from distmlip.md.pictures import COLOURS, plain
from distmlip.records.plan import Plan

_GREY = "#C8C8C8"
_OWNED: dict[str, Any] = {"s": 65, "edgecolor": "white", "linewidth": 0.5}
_HALO: dict[str, Any] = {"s": 65, "facecolor": "white", "linewidth": 1.8}


@dataclass(frozen=True)
class Agreement:
    """Ours beside the undivided original, on one structure."""

    energy_per_atom: float
    """eV/atom, ours."""
    max_force: float
    """eV/Å, largest component of ours: the scale of the force difference."""
    energy_difference: float
    """eV/atom."""
    force_difference: float
    """eV/Å, the largest over all components."""
    stress_difference: float
    """eV/Å^3, the largest over all components."""
    force_rounding: float
    """eV/Å: how far our forces are from ours in float64, the largest over all components."""
    original_force_rounding: float
    """eV/Å: how far the original's forces are from ours in float64."""
    seconds: float
    """Per step, ours."""
    original_seconds: float
    """Per step, the original."""


@dataclass(frozen=True)
class Cut:
    """Who owns each atom, and what one partition reads of the others; indices are the user's."""

    owner: np.ndarray
    """(n_atoms,) partition of each atom."""
    shown: int
    """The partition whose halo is drawn."""
    halo: np.ndarray
    """(n_halo,) atoms that the shown partition reads."""


def plan_table(plan: Plan) -> Table:
    """Atoms, edges, bonds and angles of each partition, and what it receives in one forward sweep."""
    table = Table(title=plan.title, title_justify="left")
    table.add_column("partition")
    for name in ("owned", "halo", "edges", "bonds", "angles", "kB received"):
        table.add_column(name, justify="right")
    received = [n_bytes // 1000 for n_bytes in plan.bytes_received]
    columns = [plan.owned, plan.halo, plan.edges, plan.bonds, plan.angles, received]
    for p in range(plan.n_partitions):
        table.add_row(str(p), *(f"{column[p]:,}" for column in columns))
    table.add_section()
    table.add_row("sum", *(f"{sum(column):,}" for column in columns))
    return table


def agreement_table(agreement: Agreement, original_name: str) -> Table:
    """Energy, differences to the original, and the time of a step of both."""
    table = Table(title=f"against the undivided {original_name}", title_justify="left", show_header=False)
    table.add_column("quantity")
    table.add_column("value", justify="right")
    table.add_row("energy", f"{agreement.energy_per_atom:.6f} eV/atom")
    table.add_row("max|F|", f"{agreement.max_force:.4f} eV/Å")
    table.add_section()
    table.add_row("|ΔE|/atom", f"{agreement.energy_difference:.1e} eV/atom")
    table.add_row("max|ΔF|", f"{agreement.force_difference:.1e} eV/Å")
    table.add_row("max|Δσ|", f"{agreement.stress_difference:.1e} eV/Å^3")
    table.add_section()
    table.add_row("max|ΔF| to float64: distmlip", f"{agreement.force_rounding:.1e} eV/Å")
    table.add_row(f"max|ΔF| to float64: {original_name}", f"{agreement.original_force_rounding:.1e} eV/Å")
    table.add_section()
    table.add_row("time: distmlip", f"{agreement.seconds:.2f} s per step")
    table.add_row(f"time: {original_name}", f"{agreement.original_seconds:.2f} s per step")
    table.add_row("ratio", f"{agreement.original_seconds / agreement.seconds:.1f}")
    return table


def draw(
    atoms: Atoms, cut: Cut, relaxation: History, dynamics: History, timestep: float, temperature: float
) -> Figure:
    """The system coloured by partition, one partition with its halo, and the energies and temperature.

    ``timestep`` is in fs; ``temperature``, the thermostat's, in K.
    """
    x, y, x_label, y_label = _project(atoms)
    height = float(np.clip(8.5 * np.ptp(y) / max(np.ptp(x), 1e-9), 2, 5)) + 0.9
    figure = Figure(figsize=(12, 2 * height + 3.5), layout="constrained")
    panels: dict[str, Axes] = figure.subplot_mosaic(
        [["owner"] * 3, ["halo"] * 3, ["relax", "energy", "temperature"]], height_ratios=[height, height, 3.5]
    )
    _draw_owners(panels["owner"], x, y, cut)
    _draw_halo(panels["halo"], x, y, cut)
    for name in ("owner", "halo"):
        panels[name].set(xlabel=x_label, ylabel=y_label, aspect="equal")
    _draw_relaxation(panels["relax"], relaxation)
    _draw_energies(panels["energy"], dynamics, timestep)
    _draw_temperature(panels["temperature"], dynamics, timestep, temperature)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as a PNG; no window and no global state of matplotlib is involved."""
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=130, format="png", bbox_inches="tight")


def _project(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Wrapped positions (Å) in the plane of the two longest directions, the longest one first."""
    positions = atoms.get_positions(wrap=True)
    lengths = atoms.cell.lengths() if atoms.cell.rank == 3 else np.ptp(positions, axis=0)
    first, second = np.argsort(lengths, kind="stable")[::-1][:2]
    directions = atoms.cell.complete()
    along = directions[first] / np.linalg.norm(directions[first])
    across = directions[second] - along * (along @ directions[second])
    across /= np.linalg.norm(across)
    names = "abc"
    return positions @ along, positions @ across, f"along {names[first]} (Å)", f"along {names[second]} (Å)"


def _colours(n_partitions: int) -> list[str]:
    if n_partitions <= len(COLOURS):
        return COLOURS[:n_partitions]
    return list(colormaps["viridis"](np.linspace(0, 1, n_partitions)))


def _draw_owners(axes: Axes, x: np.ndarray, y: np.ndarray, cut: Cut) -> None:
    n_partitions = int(cut.owner.max()) + 1
    for p, colour in enumerate(_colours(n_partitions)):
        mine = cut.owner == p
        axes.scatter(x[mine], y[mine], color=colour, label=f"partition {p} ({mine.sum()})", **_OWNED)
        if mine.any():
            _label(axes, float(np.median(x[mine])), float(np.median(y[mine])), f"{p}")
    axes.set_title(f"{len(x)} atoms by the partition that owns them", loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _draw_halo(axes: Axes, x: np.ndarray, y: np.ndarray, cut: Cut) -> None:
    colours = _colours(int(cut.owner.max()) + 1)
    mine = cut.owner == cut.shown
    label = f"owned by {cut.shown} ({mine.sum()})"
    axes.scatter(x[mine], y[mine], color=colours[cut.shown], zorder=3, label=label, **_OWNED)
    for p in np.unique(cut.owner[cut.halo]):
        rows = cut.halo[cut.owner[cut.halo] == p]
        label = f"halo, owned by {p} ({len(rows)})"
        axes.scatter(x[rows], y[rows], edgecolor=colours[p], zorder=2, label=label, **_HALO)
    axes.scatter(x, y, s=14, color=_GREY, zorder=1, label="not read")
    axes.set_title(f"partition {cut.shown} (full) and the halo that it reads (rings)", loc="left")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    outline = [patheffects.withStroke(linewidth=5, foreground="white")]
    axes.text(x, y, text, fontsize=20, fontweight="bold", ha="center", va="center", path_effects=outline)


def _draw_relaxation(axes: Axes, history: History) -> None:
    axes.plot(
        range(len(history.potential_energy)),
        history.potential_energy,
        marker="o",
        markersize=4,
        color="#0072B2",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="FIRE step", ylabel="potential energy (eV/atom)")
    axes.set_title("relaxation", loc="left")
    plain(axes)


def _draw_energies(axes: Axes, history: History, timestep: float) -> None:
    time = timestep * np.arange(len(history.potential_energy))
    axes.plot(time, history.potential_energy, color="#0072B2", label="potential")
    axes.plot(time, history.total_energy, color="#D55E00", linestyle="--", label="potential + kinetic")
    axes.set(xlabel="time (fs)", ylabel="energy (eV/atom)")
    axes.set_title("NVT: energy", loc="left")
    axes.legend(frameon=False)
    plain(axes)


def _draw_temperature(axes: Axes, history: History, timestep: float, target: float) -> None:
    axes.plot(
        timestep * np.arange(len(history.temperature)), history.temperature, color="#0072B2", label="atoms"
    )
    axes.axhline(target, color="#000000", linestyle=":", label=f"thermostat, {target:g} K")
    axes.set(xlabel="time (fs)", ylabel="temperature (K)")
    axes.set_title("NVT: temperature", loc="left")
    axes.legend(frameon=False)
    plain(axes)
