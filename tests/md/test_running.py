"""Runs with a folder: what is in it, what ends them, and what is refused."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from distmlip.errors import InvalidInputError, RunFolderError
from distmlip.md import Ending, read, relax, run, stopping, work
from distmlip.md.checkpoints import newest_checkpoint

HOT = {"temperature": 300.0, "timestep": 2.0}


def copper(n: int = 2) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=0)
    atoms.calc = EMT()
    return atoms


def test_a_folder_has_all_that_is_needed(tmp_path: Path) -> None:
    atoms, folder = copper(), tmp_path / "deep" / "run"
    history = run(atoms, 20, output=folder, frames_every=8, velocities=True, **HOT)
    assert history.ending is Ending.DONE
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *("trajectory.h5", "config.toml", "log.txt", "lock"),
        *("checkpoint-000000000001.npz", "checkpoint-000000000020.npz"),
    }
    with read(folder / "trajectory.h5") as frames:
        np.testing.assert_array_equal(frames.steps, [0, 8, 16, 20])
        np.testing.assert_array_equal(frames.times, [0.0, 16.0, 32.0, 40.0])
        np.testing.assert_array_equal(frames[-1].positions, atoms.positions.astype(np.float32))
        energies = np.array(history.potential_energy)[frames.steps] * len(atoms)
        np.testing.assert_allclose(frames.observables["potential_energy"], energies, rtol=1e-12)
    table = np.loadtxt(folder / "log.txt")
    np.testing.assert_array_equal(table[:, 0], range(21))
    np.testing.assert_allclose(table[:, 4], history.temperature, atol=0.05)
    assert "# step 20: done" in (folder / "log.txt").read_text()


def test_a_relaxation_says_whether_it_is_at_its_end(tmp_path: Path) -> None:
    atoms = copper()
    assert relax(atoms, 2, fmax=0.01, output=tmp_path / "run").ending is Ending.NOT_CONVERGED
    history = relax(copper(), 200, fmax=0.01, output=tmp_path / "run", resume=True)
    assert history.ending is Ending.DONE
    assert relax(copper(), 200, fmax=0.01).ending is Ending.DONE
    with read(tmp_path / "run" / "trajectory.h5") as frames:
        assert frames.steps[-1] == 2 + history.n_steps
        last = frames[-1]
    last.calc = EMT()
    assert np.linalg.norm(last.get_forces(), axis=1).max() < 0.011


ENDINGS = {"a file": Ending.STOP_FILE, "a signal": Ending.TERMINATED, "an interrupt": Ending.INTERRUPTED}


@pytest.mark.parametrize("how", ENDINGS)
def test_a_run_that_is_told_to_end_saves_its_step(how: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def tell(step: int, _: Atoms) -> None:
        if step != 4:
            return
        if how == "a file":
            (folder / "STOP").touch()
        else:
            os.kill(os.getpid(), signal.SIGTERM if how == "a signal" else signal.SIGINT)

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    history = run(copper(), 50, output=folder, on_step=tell, **HOT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert history.ending is ENDINGS[how]
    assert history.ending.goes_on
    assert history.n_steps == 4
    assert not (folder / "STOP").exists()
    assert newest_checkpoint(folder)[0].step == 4
    with read(folder / "trajectory.h5") as frames:
        np.testing.assert_array_equal(frames.steps, [0, 4])


def test_time_ends_a_run_before_it_is_over(tmp_path: Path) -> None:
    history = run(copper(), 10**6, output=tmp_path / "run", max_time=0.3, **HOT)
    assert history.ending is Ending.OUT_OF_TIME
    assert newest_checkpoint(tmp_path / "run")[0].step == history.n_steps > 0


def test_atoms_that_fly_apart_end_it(tmp_path: Path) -> None:
    """The state that shows it is not kept; the one before is."""
    atoms = copper()

    def spoil(step: int, atoms: Atoms) -> None:
        if step == 3:
            atoms.set_momenta(1e4 * atoms.get_momenta())

    history = run(atoms, 10, output=tmp_path / "run", on_step=spoil, **HOT)
    assert history.ending is Ending.LOST
    assert history.trouble is not None
    assert "stopped at step 4: the temperature is" in history.trouble
    assert "the last good state is that of step 1" in history.trouble
    assert newest_checkpoint(tmp_path / "run")[0].step == 1


def test_errors_say_what_is_left(tmp_path: Path) -> None:
    def fail(step: int, _: Atoms) -> None:
        if step == 2:
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose") as raised:
        run(copper(), 10, output=tmp_path / "run", on_step=fail, **HOT)
    assert "the last good state is that of step 1 in" in raised.value.__notes__[0]


def test_two_checkpoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LEAST_TIME", 0.0)
    run(copper(), 20, output=tmp_path / "run", checkpoint_every=4, **HOT)
    names = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    assert names == ["checkpoint-000000000017.npz", "checkpoint-000000000020.npz"]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    folder, whole = tmp_path / "run", copper()
    run(whole, 20, output=folder, **HOT)
    path = folder / "checkpoint-000000000020.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    again = copper()
    run(again, 20, output=folder, resume=True, **HOT)
    assert f"{path} is damaged" in (folder / "log.txt").read_text()
    with read(folder / "trajectory.h5") as frames:
        np.testing.assert_array_equal(frames.steps, [0, 20])
    for file in folder.glob("checkpoint-*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunFolderError, match=r"000020\.npz is damaged.*no other checkpoint.*begin anew"):
        run(copper(), 20, output=folder, resume=True, **HOT)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    def fill(step: int, _: Atoms) -> None:
        if step == 3:
            monkeypatch.setattr(np, "savez", full)

    with pytest.raises(RunFolderError, match="No space left on device; the checkpoint before it is in"):
        run(copper(), 5, output=folder, on_step=fill, **HOT)
    monkeypatch.undo()
    assert {path.name for path in folder.iterdir() if "checkpoint" in path.name} == {
        "checkpoint-000000000001.npz"
    }
    whole, again = copper(), copper()
    run(whole, 5, **HOT)
    run(again, 5, output=folder, resume=True, **HOT)
    np.testing.assert_allclose(again.positions, whole.positions, atol=1e-12)  # EMT's lists have a history


FULL = """
import os, resource, sys
sys.path.insert(0, sys.argv[2])
from md.test_running import HOT, copper
from distmlip.md import run
memory = os.memfd_create
def unlimited(name):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return memory(name)
os.memfd_create = unlimited  # memory is no disk
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
run(copper(), 60, output=sys.argv[1], frames_every=1, velocities=True, precision="float64", **HOT)
"""


@pytest.mark.parametrize("room", [5_000, 20_000, 40_000, 60_000, 61_234, 100_000])
def test_a_full_disk_is_said_and_what_was_written_is_gone_on_with(room: int, tmp_path: Path) -> None:
    """The system refuses to let a file grow, as on a full disk, somewhere in the middle."""
    folder, tests = tmp_path / "run", str(Path(__file__).parents[1])
    command = [sys.executable, "-P", "-c", FULL, str(folder), tests, str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{folder}/trajectory.h5 cannot be written" in done.stderr
    assert "ignored" not in done.stderr
    options = {"frames_every": 1, "velocities": True, "precision": "float64", **HOT}
    run(copper(), 60, output=folder, resume=True, **options)
    whole = tmp_path / "whole"
    run(copper(), 60, output=whole, **options)
    with read(folder / "trajectory.h5") as ours, read(whole / "trajectory.h5") as theirs:
        np.testing.assert_array_equal(ours.steps, range(61))
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine.positions, other.positions, atol=1e-9)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ensemble": ({"ensemble": "nvp"}, "ensemble='nvp'; it must be one of 'nve', 'nvt', 'npt'"),
    "thermostat": (
        {"ensemble": "npt", "thermostat": "bussi", "pressure": 1.0},
        "thermostat='bussi' with ensemble='npt', which has 'nose-hoover', 'langevin'",
    ),
    "temperature": ({"ensemble": "nvt", "temperature": None}, "ensemble='nvt' needs temperature"),
    "cold": ({"ensemble": "nvt", "temperature": -1.0}, "temperature=-1.0; it must be a positive number"),
    "pressure": ({"ensemble": "npt"}, "ensemble='npt' needs pressure"),
    "pressure of NVT": ({"ensemble": "nvt", "pressure": 1.0}, "pressure=1.0 with ensemble='nvt'; use 'npt'"),
    "shape of NVT": ({"ensemble": "nvt", "shape": True}, "shape=True with ensemble='nvt'; use 'npt'"),
    "drift": ({"max_drift": 0.0}, "max_drift=0.0; it must be a positive number"),
    "infinite pressure": ({"ensemble": "npt", "pressure": float("inf")}, "pressure=inf; it must be a number"),
    "seed": ({"seed": -1}, "seed=-1; it must be a whole number from 0"),
    "timestep": ({"timestep": 0.0}, "timestep=0.0; it must be a positive number"),
    "frames": ({"frames_every": 0}, "frames_every=0; it must be a whole number from 1"),
    "time": ({"max_time": -1.0}, "max_time=-1.0"),
    "resume": ({"resume": True}, "resume=True without output"),
    "precision": ({"precision": "half"}, "precision='half'"),
    "compression": ({"compression": "zip"}, "compression='zip'; it must be one of 'lzf', 'gzip'"),
    "unknown": ({"thermostate": "bussi"}, "thermostate"),
    "steps": ({"steps": -1}, "steps=-1; it must be a whole number from 0"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_options_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    call = {"steps": 3, **HOT, **changes}
    atoms = copper()
    before = atoms.positions.copy()
    with pytest.raises(InvalidInputError, match=message):
        run(atoms, call.pop("steps"), **call)
    np.testing.assert_array_equal(atoms.positions, before)


def test_atoms_without_a_calculator_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"set atoms\.calc first"):
        run(bulk("Cu"), 1)


def test_structures_without_atoms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="there are no atoms"):
        run(Atoms(calculator=EMT()), 3, output=tmp_path / "run", **HOT)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("ensemble", ["nve", "nvt"])
def test_one_atom_is_a_system(ensemble: str) -> None:
    atoms = bulk("Cu")
    atoms.calc = EMT()
    history = run(atoms, 5, ensemble=ensemble, **HOT)
    assert history.ending is Ending.DONE
    assert history.temperature[0] > 0


def test_relaxations_need_a_force_and_a_cell() -> None:
    for fmax in (-1.0, float("nan")):
        with pytest.raises(InvalidInputError, match="fmax="):
            relax(copper(), 3, fmax=fmax)
    molecule = Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]], calculator=EMT())
    with pytest.raises(InvalidInputError, match="cell=True with atoms that have no periodic cell"):
        relax(molecule, 3, cell=True)


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    options = {"temperature": np.float32(300), "seed": np.int64(3), "frames_every": np.int64(2)}
    run(copper(), np.int64(3), output=tmp_path / "run", about={"k": (1, 2)}, **options)
    history = run(copper(), 5, output=tmp_path / "run", resume=True, about={"k": (1, 2)}, **options)
    assert history.n_steps == 2
    with pytest.raises(InvalidInputError, match="options cannot be kept"):
        run(copper(), 3, output=tmp_path / "other", about={"k": object()}, **HOT)
    assert not (tmp_path / "other").exists()


def test_a_relaxation_has_steps_and_no_velocities(tmp_path: Path) -> None:
    atoms = copper()
    atoms.set_velocities(np.ones((len(atoms), 3)))
    history = relax(atoms, 3, output=tmp_path / "run", frames_every=1)
    assert history.temperature == [0.0] * 4
    with read(tmp_path / "run" / "trajectory.h5") as frames:
        assert not frames.has_times
        np.testing.assert_array_equal(frames.times, frames.steps)
        assert not frames.observables["kinetic_energy"].any()


def test_errors_of_several_lines_leave_the_log_a_table(tmp_path: Path) -> None:
    def fail(step: int, _: Atoms) -> None:
        if step == 4:
            raise ValueError("one line\n1 2 3")

    with pytest.raises(ValueError, match="one line"):
        run(copper(), 10, output=tmp_path / "run", on_step=fail, frames_every=10, timestep=0.25)
    table = np.loadtxt(tmp_path / "run" / "log.txt")
    np.testing.assert_allclose(table[:, 1], 0.25 * table[:, 0])


def test_the_log_has_the_last_step(tmp_path: Path) -> None:
    run(copper(), 13, output=tmp_path / "run", frames_every=50, **HOT)
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "run" / "log.txt")[:, 0], [0, 5, 10, 13])


CHANGES: dict[str, tuple[Any, str]] = {
    "masses": (lambda atoms: atoms.set_masses([2.0] * len(atoms)), "other masses"),
    "boundaries": (lambda atoms: atoms.set_pbc([True, True, False]), "other periodic boundaries"),
    "constraints": (lambda atoms: atoms.set_constraint(FixAtoms([0])), "other constraints"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_atoms_that_are_others_are_not_gone_on_with(change: Any, message: str, tmp_path: Path) -> None:
    run(copper(), 3, output=tmp_path / "run", **HOT)
    atoms = copper()
    change(atoms)
    with pytest.raises(InvalidInputError, match=message):
        run(atoms, 5, output=tmp_path / "run", resume=True, **HOT)


def test_several_signals_at_once_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(step: int, _: Atoms) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    assert run(copper(), 50, output=folder, on_step=twice, **HOT).ending is Ending.INTERRUPTED
    assert newest_checkpoint(folder)[0].step == 4
    monkeypatch.setattr(stopping, "SAME_REQUEST", 0.0)
    with pytest.raises(KeyboardInterrupt) as raised:
        run(copper(), 50, output=tmp_path / "other", on_step=twice, **HOT)
    assert "the last good state is that of step 1" in raised.value.__notes__[0]
    assert "interrupted at once" in (tmp_path / "other" / "log.txt").read_text()


def test_places_that_cannot_be_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"File name too long.*give another folder"):
        run(copper(), 3, output=tmp_path / ("x" * 300), **HOT)


@pytest.mark.parametrize("content", [b"[[[", b"\xff\xfe", b"options = 3", b""])
def test_options_that_are_damaged_are_named(content: bytes, tmp_path: Path) -> None:
    run(copper(), 3, output=tmp_path / "run", **HOT)
    (tmp_path / "run" / "config.toml").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"config\.toml cannot be understood"):
        run(copper(), 5, output=tmp_path / "run", resume=True, **HOT)


def test_folders_are_never_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(InvalidInputError, match="no run in it to resume"):
        run(copper(), 3, output=folder, resume=True, **HOT)
    assert not folder.exists()
    run(copper(), 3, output=folder, **HOT)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InvalidInputError, match="is there already; give another folder, or resume"):
        run(copper(), 3, output=folder, **HOT)
    with pytest.raises(InvalidInputError, match=r"other options \(seed: 0 before, 1 now\)"):
        run(copper(), 3, output=folder, resume=True, seed=1, **HOT)
    with pytest.raises(InvalidInputError, match="has 32 atoms, these are 108"):
        run(copper(3), 3, output=folder, resume=True, **HOT)
    assert before.keys() == {path.name for path in folder.iterdir()}
    for name in before.keys() - {"lock", "log.txt"}:
        assert (folder / name).read_bytes() == before[name], name
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InvalidInputError, match="is there already"):
        run(copper(), 3, output=file, **HOT)


def test_file_systems_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    assert run(copper(), 2, output=tmp_path / "run", **HOT).ending is Ending.DONE


def test_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def again(step: int, _: Atoms) -> None:
        if step == 1:
            script = (
                "from md.test_running import *\n"
                f"run(copper(), 3, output={str(folder)!r}, resume=True, **HOT)\n"
            )
            tests = str(Path(__file__).parents[1])
            done = subprocess.run(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONPATH": tests, "PYTHONSAFEPATH": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert f"is in use by another run (process {os.getpid()} on" in done.stderr

    run(copper(), 3, output=folder, on_step=again, **HOT)
