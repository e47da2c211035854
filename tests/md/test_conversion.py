"""Trajectories for other programs, as these programs read them."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read as read_with_ase

from distmlip.errors import InvalidInputError, RunFolderError
from distmlip.md import convert, read, run
from distmlip.md.trajectory import Contents, TrajectoryWriter

TRICLINIC = np.array([[1.0, 4.0, 0.3], [0.2, 0.5, 5.0], [6.0, 0.7, 0.4]])
CELLS = {
    "cubic": (np.diag([4.0, 5.0, 6.0]), True),
    "turned": (TRICLINIC, True),
    "left-handed": (TRICLINIC[[1, 0, 2]], [True, False, True]),
    "slab": (np.array([[0.0, 4.0, 0.0], [4.0, 0.5, 0.0], [0.0, 0.0, 0.0]]), [True, True, False]),
    "cluster": (np.zeros((3, 3)), False),
}
OBSERVED = dict.fromkeys(
    ("potential_energy", "kinetic_energy", "conserved_energy", "temperature", "pressure"), 1.0
)


def frames(cell: np.ndarray, pbc: object) -> list[Atoms]:
    """Three, of atoms that leave the cell, with all that a frame may have."""
    random = np.random.default_rng(0)
    found = []
    for k in range(3):
        grown = cell * (1 + 0.01 * k)
        atoms = Atoms("CuAuCuO2", 6 * random.normal(size=(5, 3)), cell=grown, pbc=pbc)
        atoms.set_velocities(random.normal(size=(5, 3)))
        atoms.calc = SinglePointCalculator(atoms, energy=float(k), forces=random.normal(size=(5, 3)))
        found.append(atoms)
    return found


def trajectory(folder: Path, of: list[Atoms]) -> Path:
    path = folder / "trajectory.h5"
    contents = Contents(velocities=True, forces=True, precision="float64")
    with TrajectoryWriter.new(path, of[0], contents) as writer:
        for k, atoms in enumerate(of):
            writer.append(10 * k, 20.0 * k, atoms, OBSERVED)
    return path


def shape(positions: np.ndarray, *vectors: np.ndarray) -> np.ndarray:
    """What stays as it is when everything is turned and moved, and changes when it is mirrored: scalar
    products of all that has a direction, and a volume."""
    relative = positions - positions[0]
    rows = np.vstack([relative, *vectors])
    return np.append((rows @ rows.T).ravel(), np.linalg.det(relative[1:4]))


def lattice_of(cell: np.ndarray) -> np.ndarray:
    """Sorted lengths and |scalar products| of vectors: the same in whatever order they stand."""
    return np.append(np.sort(np.linalg.norm(cell, axis=1)), np.sort(np.abs(cell @ cell.T).ravel()))


def require_same_cell(ending: str, data: Any, atoms: Atoms) -> None:
    """As far as the format can say it."""
    if data.cell is None:
        assert not atoms.pbc.any()
        return
    if ending == ".extxyz" and not atoms.cell.any():
        return  # OVITO makes a cell of its own
    assert sorted(data.cell.pbc) == sorted(atoms.pbc)
    if atoms.cell.rank < 3 or (ending == ".nc" and not atoms.pbc.all()):
        return  # AMBER's has no cell along other axes
    found = np.array(data.cell[:3, :3]).T
    assert np.linalg.det(found) > 0 or ending == ".extxyz"
    np.testing.assert_allclose(lattice_of(found), lattice_of(atoms.cell.array), rtol=1e-6, atol=1e-9)
    if ending == ".lammpstrj":
        corner = np.array(data.cell[:3, 3])
        scaled = (np.array(data.particles.positions) - corner) @ np.linalg.inv(found)
        order = [1, 0, 2] if np.linalg.det(atoms.cell.array) < 0 else [0, 1, 2]
        np.testing.assert_allclose(scaled, atoms.cell.scaled_positions(atoms.positions)[:, order], atol=1e-5)


@pytest.mark.parametrize(("cell", "pbc"), CELLS.values(), ids=CELLS)
@pytest.mark.parametrize("ending", [".lammpstrj", ".nc", ".extxyz"])
def test_ovito_sees_the_same_system(ending: str, cell: np.ndarray, pbc: object, tmp_path: Path) -> None:
    ovito = pytest.importorskip("ovito.io", reason="no OVITO")
    written = frames(cell, pbc)
    output = tmp_path / f"t{ending}"
    assert convert(trajectory(tmp_path, written), output) == 3
    pipeline = ovito.import_file(str(output))
    assert pipeline.source.num_frames == 3
    force = units.mol / units.kcal if ending == ".nc" else 1.0
    for k, atoms in enumerate(written):
        data = pipeline.compute(k)
        ours, theirs = [np.array(data.particles["Force"]) / force], [atoms.get_forces()]
        if ending != ".extxyz":  # which has momenta
            ours.append(np.array(data.particles["Velocity"]) / (1000 * units.fs))
            theirs.append(atoms.get_velocities())
        np.testing.assert_allclose(
            shape(np.array(data.particles.positions), *ours),
            shape(atoms.positions, *theirs),
            atol=3e-4,  # of hundreds: single precision, and eight digits
            rtol=1e-5,
        )
        kinds = data.particles.particle_types
        names = [kinds.type_by_id(kind).name or kind for kind in kinds[...]]
        assert names == (list(atoms.numbers) if ending == ".nc" else list(atoms.symbols))
        require_same_cell(ending, data, atoms)


@pytest.mark.parametrize(("cell", "pbc"), CELLS.values(), ids=CELLS)
def test_atoms_without_cell_vectors_are_inside_the_box(cell: np.ndarray, pbc: object, tmp_path: Path) -> None:
    convert(trajectory(tmp_path, frames(cell, pbc)), tmp_path / "t.dump")
    for atoms in read_with_ase(tmp_path / "t.dump", ":", format="lammps-dump-text"):
        inside = atoms.cell.scaled_positions(atoms.positions - atoms.get_celldisp().ravel())
        of_axis = inside[:, ~atoms.pbc] if not cell.all() else inside[:, :0]
        if cell.any(1).all():
            continue  # atoms may be anywhere
        assert of_axis.size
        assert (of_axis >= 0).all()
        assert (of_axis <= 1).all()


def test_mdanalysis_reads_the_trajectory_and_what_is_made_of_it(tmp_path: Path) -> None:
    """Both with the topology of ``convert``."""
    mda = pytest.importorskip("MDAnalysis", reason="no MDAnalysis")
    written = frames(*CELLS["cubic"])
    source = trajectory(tmp_path, written)
    assert convert(source, tmp_path / "topology.xyz", 0) == 1
    convert(source, tmp_path / "t.nc")
    for path, of_format in ((source, "H5MD"), (tmp_path / "t.nc", "NCDF")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            universe = mda.Universe(str(tmp_path / "topology.xyz"), str(path), format=of_format)
        assert list(universe.atoms.names) == list(written[0].symbols)
        assert len(universe.trajectory) == 3
        for k, frame in enumerate(universe.trajectory):
            atoms = written[k]
            assert frame.time == pytest.approx(0.02 * k)  # ps
            np.testing.assert_allclose(frame.dimensions, atoms.cell.cellpar(), rtol=1e-6)
            np.testing.assert_allclose(frame.positions, atoms.positions, rtol=1e-5, atol=1e-5)
            per_ps = atoms.get_velocities() * 1000 * units.fs
            np.testing.assert_allclose(frame.velocities, per_ps, rtol=1e-5)
            kj = atoms.get_forces() * units.mol / units.kJ
            np.testing.assert_allclose(frame.forces, kj, rtol=1e-5)


def test_ase_reads_its_own_formats(tmp_path: Path) -> None:
    written = frames(*CELLS["turned"])
    source = trajectory(tmp_path, written)
    for name in ("t.traj", "t.xyz"):
        convert(source, tmp_path / name)
        with read(source) as ours:
            for mine, theirs in zip(ours, read_with_ase(tmp_path / name, ":"), strict=True):
                np.testing.assert_allclose(theirs.positions, mine.positions, atol=1e-8)
                np.testing.assert_allclose(theirs.cell.array, mine.cell.array, atol=1e-8)
                np.testing.assert_allclose(theirs.get_momenta(), mine.get_momenta(), atol=1e-7)
                assert theirs.get_potential_energy() == mine.get_potential_energy()
                assert theirs.info["step"] == mine.info["step"]


@pytest.mark.parametrize(
    ("frames_of", "steps"),
    [("::2", [0, 20]), ("-1", [20]), (1, [10]), (slice(1, None), [10, 20]), (":", [0, 10, 20])],
    ids=str,
)
def test_frames_are_chosen(frames_of: int | slice | str, steps: list[int], tmp_path: Path) -> None:
    source = trajectory(tmp_path, frames(*CELLS["cubic"]))
    assert convert(tmp_path, tmp_path / "t.extxyz", frames_of) == len(steps)
    assert [atoms.info["step"] for atoms in read_with_ase(tmp_path / "t.extxyz", ":")] == steps
    assert source.exists()


def test_one_frame_becomes_whatever_ase_writes(tmp_path: Path) -> None:
    written = frames(*CELLS["cubic"])
    source = trajectory(tmp_path, written)
    for name in ("t.cif", "POSCAR"):
        convert(source, tmp_path / name, -1)
        assert sorted(read_with_ase(tmp_path / name).symbols) == sorted(written[-1].symbols)


def test_the_newest_checkpoint_is_a_structure_to_begin_with(tmp_path: Path) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.set_masses(60.0 + np.arange(len(atoms)))
    atoms.calc = EMT()
    run(atoms, 7, temperature=300.0, output=tmp_path / "run")
    for name in ("state.extxyz", "state.LAMMPSTRJ"):
        assert convert(tmp_path / "run", tmp_path / name, "checkpoint") == 1
    again = read_with_ase(tmp_path / "state.extxyz")
    np.testing.assert_allclose(again.positions, atoms.positions, atol=1e-7)
    np.testing.assert_allclose(again.get_momenta(), atoms.get_momenta(), atol=1e-7)
    np.testing.assert_allclose(again.get_masses(), atoms.get_masses())
    assert again.info["step"] == 7
    with pytest.raises(RunFolderError, match="there is no checkpoint in"):
        convert(tmp_path, tmp_path / "x.extxyz", "checkpoint")


REFUSED = {
    "there": ("there.extxyz", ":", r"there\.extxyz is there already; give another name"),
    "ending": ("t.cif", ":", r"t\.cif for 3 frames; several go into \.xyz"),
    "no such format": ("t.nothing", "-1", r"t\.nothing: .*give a name that ends in"),
    "index": ("t.xyz", "7", "frames='7' of 3"),
    "word": ("t.xyz", "all", "frames='all' of 3"),
    "none": ("t.xyz", "2:1", "are none of 3"),
}


@pytest.mark.parametrize(("name", "which", "message"), REFUSED.values(), ids=REFUSED)
def test_mistakes_leave_nothing_behind(name: str, which: str, message: str, tmp_path: Path) -> None:
    source = trajectory(tmp_path, frames(*CELLS["cubic"]))
    (tmp_path / "there.extxyz").write_text("mine")
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(InvalidInputError, match=message):
        convert(source, tmp_path / name, which)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "there.extxyz").read_text() == "mine"


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    source = trajectory(tmp_path, frames(*CELLS["cubic"]))
    with pytest.raises(RunFolderError, match=r"nowhere/t\.xyz cannot be written: .*give another place"):
        convert(source, tmp_path / "nowhere" / "t.xyz")
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"file/t\.xyz cannot be written"):
        convert(source, tmp_path / "file" / "t.xyz")
    with pytest.raises(RunFolderError, match=r"there is no .*nowhere; give the folder of a run"):
        convert(tmp_path / "nowhere", tmp_path / "t.xyz")


def test_netcdf_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    source = trajectory(tmp_path, frames(*CELLS["cubic"]))
    with pytest.raises(InvalidInputError, match="pip install netCDF4"):
        convert(source, tmp_path / "t.nc")
