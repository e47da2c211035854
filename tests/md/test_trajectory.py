"""Trajectories in HDF5: what is written is read, also while a run goes on and after it was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from distmlip.errors import RunFolderError
from distmlip.md import read
from distmlip.md.superblock import mend
from distmlip.md.trajectory import Contents, TrajectoryWriter

OBSERVED = {
    "potential_energy": 1.5,
    "kinetic_energy": 2.5,
    "conserved_energy": 4.0,
    "temperature": 300.0,
    "pressure": -0.5,
}
ALL = Contents(velocities=True, forces=True, precision="float64", compression="gzip")


def copper(seed: int = 0) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.rattle(0.1, seed=seed)
    atoms.set_velocities(np.random.default_rng(seed).normal(size=(len(atoms), 3)))
    atoms.calc = EMT()
    return atoms


def written(path: Path, contents: Contents, frames: list[Atoms]) -> Path:
    with TrajectoryWriter.new(path, frames[0], contents) as writer:
        for k, atoms in enumerate(frames):
            writer.append(10 * k, 20.0 * k, atoms, {**OBSERVED, "potential_energy": float(k)})
    return path


def test_all_of_a_frame_comes_back(tmp_path: Path) -> None:
    frames = [copper(seed) for seed in range(3)]
    frames[1].cell[0, 0] += 0.5
    frames[2].pbc = frames[0].pbc
    with read(written(tmp_path / "t.h5", ALL, frames)) as found:
        assert len(found) == 3
        np.testing.assert_array_equal(found.steps, [0, 10, 20])
        np.testing.assert_array_equal(found.times, [0.0, 20.0, 40.0])
        np.testing.assert_array_equal(found.observables["potential_energy"], [0.0, 1.0, 2.0])
        np.testing.assert_array_equal(found.observables["pressure"], [-0.5] * 3)
        for ours, theirs in zip(found, frames, strict=True):
            np.testing.assert_array_equal(ours.positions, theirs.positions)
            np.testing.assert_array_equal(ours.cell.array, theirs.cell.array)
            np.testing.assert_array_equal(ours.numbers, theirs.numbers)
            np.testing.assert_array_equal(ours.pbc, theirs.pbc)
            np.testing.assert_allclose(ours.get_velocities(), theirs.get_velocities(), rtol=1e-14)
            np.testing.assert_allclose(ours.get_forces(), theirs.get_forces(), rtol=1e-14)
        assert found[-1].info == {"step": 20, "time": 40.0}
        assert found[1].get_potential_energy() == 1.0
        assert [atoms.info["step"] for atoms in found[1:]] == [10, 20]
        with pytest.raises(IndexError, match="frame 3 of 3"):
            found[3]


def test_positions_in_single_precision_are_the_usual(tmp_path: Path) -> None:
    atoms = copper()
    with read(written(tmp_path / "t.h5", Contents(), [atoms])) as found:
        np.testing.assert_array_equal(found[0].positions, atoms.positions.astype(np.float32))
        assert "momenta" not in found[0].arrays


@pytest.mark.parametrize("pbc", [(True, False, True), False], ids=str)
def test_masses_and_boundaries_are_kept(tmp_path: Path, pbc: object) -> None:
    atoms = copper()
    atoms.pbc = pbc
    atoms.set_masses([2.0, *atoms.get_masses()[1:]])
    with read(written(tmp_path / "t.h5", Contents(), [atoms])) as found:
        np.testing.assert_array_equal(found[0].pbc, atoms.pbc)
        np.testing.assert_array_equal(found[0].get_masses(), atoms.get_masses())


def test_the_layout_is_that_of_h5md(tmp_path: Path) -> None:
    """What readers of the format look for (version 1.1 of its specification)."""
    with h5py.File(written(tmp_path / "t.h5", ALL, [copper()] * 2)) as file:
        assert list(file["h5md"].attrs["version"]) == [1, 1]
        assert {"name", "version"} <= set(file["h5md/creator"].attrs)
        assert "name" in file["h5md/author"].attrs
        particles = file["particles/atoms"]
        assert particles["box"].attrs["dimension"] == 3
        assert list(particles["box"].attrs["boundary"]) == [b"periodic"] * 3
        for element in ("position", "velocity", "force", "box/edges"):
            assert set(particles[element]) == {"step", "time", "value"}
            assert len(particles[element]["value"]) == 2
            assert "unit" in particles[element]["value"].attrs
        assert particles["velocity/step"].id.__eq__(particles["position/step"].id)
        assert particles["position/value"].chunks == (1, len(copper()), 3)


def test_it_is_read_while_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with TrajectoryWriter.new(path, copper(), Contents()) as writer:
        writer.append(0, 0.0, copper(0), OBSERVED)
        writer.flush()
        with read(path) as found:
            assert len(found) == 1
            writer.append(1, 1.0, copper(1), OBSERVED)
            writer.flush()
            assert len(found) == 2
            np.testing.assert_array_equal(found[1].positions, copper(1).positions.astype(np.float32))


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from md.test_trajectory import OBSERVED, copper
from distmlip.md.trajectory import Contents, TrajectoryWriter
writer = TrajectoryWriter.new(Path(sys.argv[1]), copper(), Contents())
for k in range(100000):
    writer.append(k, float(k), copper(k % 7), OBSERVED)
    if k == 20:
        writer.flush()
        print("written", flush=True)
"""


def test_a_killed_writer_leaves_whole_frames_that_are_gone_on_with(tmp_path: Path) -> None:
    path, tests = tmp_path / "t.h5", Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", KILLED, str(path), str(tests)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with read(path) as found:
        assert len(found) > 20
        for k in (0, 20, len(found) - 1):
            np.testing.assert_array_equal(found[k].positions, copper(k % 7).positions.astype(np.float32))
    with TrajectoryWriter.continued(path, Contents(), 15) as writer:
        assert writer.last_step == 15
        writer.append(16, 16.0, copper(99), OBSERVED)
    with read(path) as found:
        np.testing.assert_array_equal(found.steps, range(17))
        np.testing.assert_array_equal(found[15].positions, copper(1).positions.astype(np.float32))
        np.testing.assert_array_equal(found[16].positions, copper(99).positions.astype(np.float32))
    with h5py.File(path, "r+"):
        pass  # nobody else is said to have it open


def test_other_files_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    for content in (b"", b"short", bytes(range(100)), b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        assert not mend(path)
        assert path.read_bytes() == content
    written(tmp_path / "closed.h5", Contents(), [copper()])
    before = (tmp_path / "closed.h5").read_bytes()
    assert not mend(tmp_path / "closed.h5")
    assert (tmp_path / "closed.h5").read_bytes() == before


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.h5"
    with pytest.raises(RunFolderError, match=r"(t\.h5 is no trajectory|there is no .*t\.h5)"):
        read(path)
    path.write_text("something else")
    with pytest.raises(RunFolderError, match=r"(t\.h5 is no trajectory|there is no .*t\.h5)"):
        read(path)
    with pytest.raises(RunFolderError, match=r"cannot be gone on with.*move it away"):
        TrajectoryWriter.continued(path, Contents(), 3)
    with pytest.raises(RunFolderError, match="cannot be written"):
        TrajectoryWriter.new(path, copper(), Contents())
    assert path.read_text() == "something else"
    path.unlink()
    with pytest.raises(RunFolderError, match="bring it back"):
        TrajectoryWriter.continued(path, Contents(), 3)


def test_what_the_thread_cannot_write_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.h5"
    writer = TrajectoryWriter.new(path, copper(), Contents())
    writer.append(0, 0.0, copper(), OBSERVED)
    writer.flush()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "_write", full)
    writer.append(1, 1.0, copper(), OBSERVED)
    with pytest.raises(RunFolderError, match=r"t\.h5 cannot be written: .*No space left.*Make room"):
        writer.flush()
    with pytest.raises(RunFolderError, match="No space left"):
        writer.append(2, 2.0, copper(), OBSERVED)
    with pytest.raises(RunFolderError, match="No space left"):
        writer.close()
    with read(path) as found:
        assert len(found) == 1


DAMAGED = """
import sys
from pathlib import Path
from distmlip.errors import RunFolderError
from distmlip.md import read
content = bytearray(Path(sys.argv[1]).read_bytes())
for place in range(0, len(content), 397):
    damaged = bytearray(content)
    for k in range(place, min(place + 8, len(content))):
        damaged[k] ^= 0xFF
    Path(sys.argv[2]).write_bytes(damaged)
    try:
        with read(sys.argv[2]) as frames:
            list(frames), frames.observables, frames.volumes
    except RunFolderError as error:
        assert sys.argv[2] in str(error), error
print("all read")
"""


def test_damages_are_named_and_nothing_hangs(tmp_path: Path) -> None:
    """Wherever eight bytes are wrong: HDF5 would try to read some of them for years."""
    path = written(tmp_path / "t.h5", Contents(), [copper(seed) for seed in range(3)])
    command = [sys.executable, "-P", "-c", DAMAGED, str(path), str(tmp_path / "damaged.h5")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "all read\n", done.stderr
