"""What a run's picture shows, against what is known of crystals and of numbers made up for it."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from matplotlib.image import imread

from distmlip.errors import RunFolderError
from distmlip.md import Frames, plot, read, run
from distmlip.md.pictures import radial_distributions, squared_displacements
from distmlip.md.trajectory import Contents, TrajectoryWriter


def test_displacements_are_those_of_each_element_beside_the_centre() -> None:
    start = Atoms("CuAuCuAu", np.random.default_rng(0).normal(size=(4, 3)), cell=[9, 9, 9], pbc=True)
    later = start.copy()
    later.positions += 5.0  # of everything: no displacement
    last = later.copy()
    last.positions[[0, 2]] += [[0.0, 3.0, 0.0], [0.0, -3.0, 0.0]]  # the centre stays
    moved = dict(squared_displacements(iter([start, later, last])))
    assert list(moved) == ["Cu", "Au"]
    np.testing.assert_allclose(moved["Cu"], [0, 0, 9], atol=1e-12)
    np.testing.assert_allclose(moved["Au"], [0, 0, 0], atol=1e-12)


def test_a_cell_that_grows_moves_no_atom() -> None:
    start = bulk("Cu", cubic=True) * (3, 3, 3)
    grown = start.copy()
    grown.set_cell(1.1 * start.cell, scale_atoms=True)
    grown.positions[0] += [0.0, 0.0, 2.0]
    moved = dict(squared_displacements(iter([start, grown])))
    assert moved["Cu"][1] == pytest.approx(4 / len(start), rel=0.02)


def test_neighbours_are_counted_by_distributions() -> None:
    """Twelve at a/√2 in fcc, in the order L1_2: Au has twelve Cu, Cu has four Au and eight Cu."""
    atoms = bulk("Cu", cubic=True, a=4.0) * (3, 3, 3)
    atoms.numbers[::4] = 79
    r, of_pairs = radial_distributions(atoms, reach=3.5)
    assert list(of_pairs) == ["Cu-Cu", "Cu-Au", "Au-Au"]
    width, volume = r[1] - r[0], atoms.get_volume()
    counts = {number: np.count_nonzero(atoms.numbers == number) for number in (29, 79)}

    def neighbours(pair: str, of: int) -> float:
        return float((of_pairs[pair] * 4 * np.pi * r**2 * width).sum() * counts[of] / volume)

    assert neighbours("Cu-Au", 79) == pytest.approx(4, rel=0.01)
    assert neighbours("Cu-Au", 29) == pytest.approx(12, rel=0.01)
    assert neighbours("Cu-Cu", 29) == pytest.approx(8, rel=0.01)
    assert of_pairs["Au-Au"].max() == 0


def test_a_gas_has_no_structure() -> None:
    positions = 20 * np.random.default_rng(0).random((4000, 3))
    r, of_pairs = radial_distributions(Atoms("Ar4000", positions, cell=[20] * 3, pbc=True))
    assert np.abs(of_pairs["Ar-Ar"][r > 2] - 1).max() < 0.1


@pytest.mark.parametrize("pbc", [True, False], ids=["crystal", "cluster"])
@pytest.mark.parametrize("steps", [0, 12])
def test_a_run_is_drawn(steps: int, pbc: bool, tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.pbc = pbc
    atoms.calc = EMT()
    run(atoms, steps, temperature=300.0, output=tmp_path / "run", frames_every=4)
    figure = plot(tmp_path / "run")
    visible = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert visible[:5] == ["energy", "temperature", "pressure", "volume", "mean squared displacement"]
    assert len(visible) == 5 + pbc
    energy = figure.axes[0].lines[0].get_ydata()
    assert len(energy) == 1 + steps // 4
    assert energy[-1] == pytest.approx(atoms.get_potential_energy() / len(atoms))
    figure.savefig(tmp_path / "picture.png")
    assert imread(tmp_path / "picture.png").std() > 0.05
    assert plot(tmp_path / "run" / "trajectory.h5").axes


def test_a_run_is_drawn_while_it_grows(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    drawn = []

    def draw(step: int, _: Atoms) -> None:
        if step % 20 == 10:
            drawn.append(len(plot(tmp_path / "run").axes[0].lines[0].get_ydata()))

    run(atoms, 100, temperature=300.0, output=tmp_path / "run", frames_every=1, on_step=draw)
    assert len(drawn) == 5


def test_what_is_asked_for_has_one_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that comes while columns are read is in none of them."""
    atoms = bulk("Cu", cubic=True)
    atoms.calc = EMT()
    names = ("potential_energy", "kinetic_energy", "conserved_energy", "temperature", "pressure")
    with TrajectoryWriter.new(tmp_path / "t.h5", atoms, Contents()) as writer:
        before, steps = Frames._read, count()

        def append() -> None:
            writer.append(next(steps), 0.0, atoms, dict.fromkeys(names, 1.0))
            writer.flush()

        def slowly(self: Frames, *arguments: Any) -> Any:
            append()
            return before(self, *arguments)

        append()
        monkeypatch.setattr(Frames, "_read", slowly)
        with read(tmp_path / "t.h5") as frames:
            assert len({len(values) for values in frames.observables.values()}) == 1
            assert plot(tmp_path / "t.h5").axes


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"there is no .*trajectory\.h5"):
        plot(tmp_path)
