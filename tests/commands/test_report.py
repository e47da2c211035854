from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from matplotlib.image import imread
from rich.console import Console

from distmlip._native import core
from distmlip.commands.report import Agreement, Cut, agreement_table, draw, plan_table, save
from distmlip.md import History
from distmlip.records.plan import Plan, Received


def history(n: int) -> History:
    values = [float(k) for k in range(n)]
    return History(values, [value + 1 for value in values], values)


def system(n_partitions: int) -> tuple[Atoms, Cut]:
    atoms = bulk("Cu", cubic=True) * (2, 2, 6)
    owner = np.argsort(np.argsort(atoms.positions[:, 2])) * n_partitions // len(atoms)
    halo = np.flatnonzero(owner == 1)
    return atoms, Cut(owner, 0, halo)


@pytest.mark.parametrize("n_partitions", [2, 4, 20])
def test_picture_shows_every_atom_once_and_the_halo_as_rings(tmp_path: Path, n_partitions: int) -> None:
    atoms, cut = system(n_partitions)
    figure = draw(atoms, cut, history(3), history(5), timestep=2.0, temperature=300.0)
    panels = {axes.get_label(): axes for axes in figure.axes}

    assert sum(len(points.get_offsets()) for points in panels["owner"].collections) == len(atoms)
    rings = [points for points in panels["halo"].collections if "halo" in str(points.get_label())]
    assert sum(len(points.get_offsets()) for points in rings) == len(cut.halo)

    save(figure, tmp_path / "picture.png")
    pixels = imread(tmp_path / "picture.png")
    assert min(pixels.shape[:2]) > 1000
    assert pixels.std() > 0.05


def test_time_axes_are_in_femtoseconds() -> None:
    atoms, cut = system(2)
    figure = draw(atoms, cut, history(3), history(5), timestep=2.0, temperature=300.0)
    panels = {axes.get_label(): axes for axes in figure.axes}
    for name in ("energy", "temperature"):
        assert panels[name].get_xlabel() == "time (fs)"
        np.testing.assert_array_equal(panels[name].lines[0].get_xdata(), [0, 2, 4, 6, 8])


def test_tables_show_sums_and_units() -> None:
    exchanges = [Received("layer", "halo", "a", [1000, 2000]), Received("layer", "add", "b", [500, 0])]
    plan = Plan(2, "slab", core.Recompute.never, [5, 4], [2, 3], [70, 60], [30, 31], [9, 8], exchanges)
    agreement = Agreement(-7.25, 1.5, 1e-7, 2e-5, 3e-9, 1e-6, 2e-6, seconds=0.5, original_seconds=1.5)
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(plan_table(plan))
        console.print(agreement_table(agreement, "Original"))
    text = capture.get()
    sums = next(line for line in text.splitlines() if "sum" in line)
    assert [int(number) for number in sums.replace("│", " ").split()[1:]] == [9, 5, 130, 61, 17, 3]
    for value in ("-7.250000 eV/atom", "2.0e-05 eV/Å", "3.0e-09 eV/Å^3", "0.50 s per step", "3.0"):
        assert value in text
