"""A run at a glance: energies, temperature, pressure, volume, how far atoms have gone and how they stand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from os import PathLike
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from distmlip.graph.neighbors import neighbor_list
from distmlip.md.folder import TRAJECTORY
from distmlip.md.frames import Frames, read

# Okabe and Ito, "Color Universal Design" (2008): told apart with every common kind of colour vision.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
MOST_FRAMES = 100
"""That displacements are computed of, evenly spaced."""
REACH, BIN = 6.0, 0.05
"""Å, of distances between atoms."""
MOST_PAIRS = 2e7
"""Of distances: with more atoms they reach less far."""
PICOSECOND = 1000.0  # fs


def plot(run: str | PathLike[str]) -> Figure:
    """A figure of a run's folder or of its trajectory; that of a run that still goes on, too.

    Raises:
        RunFolderError: there is no trajectory to be read.
    """
    path = Path(run)
    with read(path / TRAJECTORY if path.is_dir() else path) as frames:
        figure = Figure(figsize=(13, 7.5), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(2, 3)
        seen = frames.observables
        n_frames = len(seen["temperature"])  # a run that goes on has more of all that is looked at later
        times, label = _times(frames, n_frames)
        n_atoms = max(1, frames.n_atoms)
        potential, kinetic, conserved = (
            seen[f"{name}_energy"] / n_atoms for name in ("potential", "kinetic", "conserved")
        )
        energies = {"potential": potential, "total": potential + kinetic}
        if not np.array_equal(conserved, potential + kinetic) and np.isfinite(conserved).all():
            energies["conserved"] = conserved
        _lines(panels[0, 0], times, energies)
        panels[0, 0].set(title="energy", ylabel="eV/atom")
        _lines(panels[0, 1], times, {"": seen["temperature"]})
        panels[0, 1].set(title="temperature", ylabel="K")
        _lines(panels[0, 2], times, {"": seen["pressure"]})
        panels[0, 2].set(title="pressure", ylabel="GPa")
        _lines(panels[1, 0], times, {"": frames.volumes[:n_frames] / n_atoms})
        panels[1, 0].set(title="volume", ylabel="Å³/atom")
        evenly = np.linspace(0, n_frames - 1, min(MOST_FRAMES, n_frames))
        chosen = np.unique(evenly.astype(np.int64))
        moved = dict(squared_displacements(frames[int(k)] for k in chosen))
        _lines(panels[1, 1], times[chosen], moved)
        panels[1, 1].set(title="mean squared displacement", ylabel="Å²")
        for axes in panels.flat[:5]:
            axes.set_xlabel(label)
        if n_frames:
            _draw_distances(panels[1, 2], frames[n_frames - 1])
        figure.suptitle(f"{path}: {n_frames} frames of {n_atoms:,} atoms", x=0.01, ha="left")
    return figure


def squared_displacements(frames: Iterator[Atoms]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """(n_frames,) Å² for each element: means over its atoms since the first frame, relative to the centre of
    mass, and to the cell where that changes. Positions must go on over the faces of the cell, as those of
    ASE's drivers do."""
    start: NDArray[np.float64] | None = None
    found: dict[str, list[float]] = {}
    for atoms in frames:
        cell = atoms.cell.array if atoms.cell.rank == 3 else np.eye(3)
        relative = np.linalg.solve(cell.T, (atoms.positions - atoms.get_center_of_mass()).T).T
        start = relative if start is None else start
        squares = np.square((relative - start) @ cell).sum(1)
        for number in np.unique(atoms.numbers):
            mean = float(squares[atoms.numbers == number].mean())
            found.setdefault(chemical_symbols[number], []).append(mean)
    for element, means in found.items():
        yield element, np.array(means)


def radial_distributions(
    atoms: Atoms, reach: float = REACH
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Distances r (Å), in the middle of bins, and g(r) for each pair of elements of a periodic system."""
    density = len(atoms) / atoms.get_volume()
    most = (3 * MOST_PAIRS / (4 * np.pi * density * len(atoms))) ** (1 / 3)
    edges = np.arange(0.0, min(reach, most), BIN)
    i, lengths, j = neighbor_list("idj", atoms, edges[-1])
    places = np.digitize(lengths, edges) - 1
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    found = {}
    for one, other in combinations_with_replacement(np.unique(atoms.numbers), 2):
        ours = (atoms.numbers[i] == one) & (atoms.numbers[j] == other)
        counts = np.bincount(places[ours], minlength=len(edges))[: len(shells)]
        n_one, n_other = (np.count_nonzero(atoms.numbers == number) for number in (one, other))
        expected = n_one * n_other / atoms.get_volume() * shells
        found[f"{chemical_symbols[one]}-{chemical_symbols[other]}"] = counts / expected
    return (edges[:-1] + edges[1:]) / 2, found


def _times(frames: Frames, n_frames: int) -> tuple[NDArray[np.float64], str]:
    times = frames.times[:n_frames]
    if not frames.has_times:
        return times, "step"
    is_long = n_frames > 0 and times[-1] > PICOSECOND
    return (times / PICOSECOND, "time (ps)") if is_long else (times, "time (fs)")


def _draw_distances(axes: Axes, atoms: Atoms) -> None:
    if not atoms.pbc.all():
        axes.set_visible(False)  # of what is open there is no density
        return
    r, of_pairs = radial_distributions(atoms)
    _lines(axes, r, of_pairs)
    axes.set(title="radial distribution, last frame", xlabel="r (Å)", ylabel="g(r)")


def _lines(axes: Axes, x: NDArray[np.float64], lines: dict[str, NDArray[np.float64]]) -> None:
    for (name, y), colour in zip(lines.items(), COLOURS * (1 + len(lines) // len(COLOURS)), strict=False):
        axes.plot(x, y, color=colour, label=name, linewidth=1.3, marker="." if len(x) < 20 else None)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize="small")
    plain(axes)


def plain(axes: Axes) -> None:
    """Numbers as they are, a light grid, no frame."""
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
