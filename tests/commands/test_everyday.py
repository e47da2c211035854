"""``distmlip md`` and ``distmlip relax``, as people call them."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase.io import read as read_structure
from support.structures import oxide_cell
from typer.testing import CliRunner

from distmlip.commands.cli import app
from distmlip.commands.launch import free_port
from distmlip.errors import InvalidInputError
from distmlip.md import read
from distmlip.models.named import named_model

TESTS = Path(__file__).parents[1]
NARROW = "python:support.chgnet_models:build_narrow"
HOT = ("--ensemble", "nvt", "--temperature", "100", "--timestep", "0.5", "--dtype", "float64")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a structure, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    atoms = oxide_cell() * (2, 2, 1)
    atoms.rattle(0.05, seed=1)
    atoms.write("start.extxyz")
    return tmp_path


def started(*arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "distmlip", *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def distmlip(*arguments: str, code: int = 0) -> str:
    """What it says."""
    process = started(*arguments)
    out, errors = process.communicate()
    assert process.returncode == code, errors
    assert out == ""
    assert "Traceback" not in errors
    return errors


def md(*arguments: str, code: int = 0) -> str:
    return distmlip("md", "start.extxyz", "--model", NARROW, *HOT, *arguments, code=code)


@pytest.fixture
def refusal() -> Iterator[Callable[..., str]]:
    """What a command that refuses its arguments says. In this process: starting one takes longest."""

    def said(*arguments: str, code: int) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, done.output
        assert isinstance(done.exception, SystemExit)
        assert done.stdout == ""
        return done.stderr

    yield said
    logging.disable(logging.NOTSET)  # as commands do, which quiet the packages of models


@pytest.mark.usefixtures("here")
def test_a_run_is_gone_on_with_from_its_own_options(here: Path) -> None:
    said = md("--steps", "6", "--output", "run", "--frames-every", "2", "--velocities")
    assert "run: done" in said
    assert "6/6" in said
    assert "already" in md("--steps", "6", "--output", "run", code=1)
    md("--steps", "10", "--output", "whole", "--frames-every", "2", "--velocities")
    said = distmlip("md", "--config", "run/config.toml", "--output", "run", "--steps", "10", "--resume")
    assert "10/10" in said
    with read("run/trajectory.h5") as ours, read("whole/trajectory.h5") as theirs:
        np.testing.assert_array_equal(ours.steps, [0, 2, 4, 6, 8, 10])
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine.positions, other.positions)
            np.testing.assert_array_equal(mine.get_velocities(), other.get_velocities())
    differs = distmlip(
        "md", "--config", "run/config.toml", "--output", "run", "--resume", "--timestep", "1", code=1
    )
    assert "timestep: 0.5 before, 1.0 now" in differs


@pytest.mark.usefixtures("here")
def test_a_relaxation_leaves_its_result() -> None:
    common = ("start.extxyz", "--model", "chgnet", "--output", "relaxed", "--fmax", "0.3")
    assert "not small enough" in distmlip("relax", *common, "--steps", "1", code=4)
    distmlip("relax", *common, "--steps", "300", "--resume")
    atoms = read_structure("relaxed/relaxed.extxyz")
    assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 0.3


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["SIGTERM", "SIGINT"]
)
def test_signals_end_it_in_good_order(number: int, code: int) -> None:
    # So short that its atoms are in their places however late the signal comes.
    steps_that_never_end = ("--steps", "100000", "--timestep", "0.005", "--temperature", "100")
    process = started("md", "start.extxyz", "--model", NARROW, *steps_that_never_end, "--output", "run")
    for _ in range(600):
        time.sleep(0.1)
        if list(Path().glob("run/checkpoint-*")):
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "--resume goes on from here" in errors
    steps = [int(path.stem.rpartition("-")[2]) for path in Path("run").glob("checkpoint-*")]
    with read("run/trajectory.h5") as frames:
        assert frames.steps[-1] == max(steps)


@pytest.mark.usefixtures("here")
def test_a_run_that_was_killed_goes_on_to_the_same_end() -> None:
    """By a signal that no process can handle, in some step."""
    md("--steps", "40", "--output", "whole", "--frames-every", "10")
    process = started(
        *("md", "start.extxyz", "--model", NARROW, *HOT, "--steps", "40", "--output", "run"),
        *("--frames-every", "10"),
    )
    for _ in range(1200):
        time.sleep(0.05)
        if list(Path().glob("run/checkpoint-*")):
            break
    time.sleep(0.3)
    process.kill()
    process.communicate()
    md("--steps", "40", "--output", "run", "--frames-every", "10", "--resume")
    with read("run/trajectory.h5") as ours, read("whole/trajectory.h5") as theirs:
        np.testing.assert_array_equal(ours.steps, [0, 10, 20, 30, 40])
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine.positions, other.positions)


@pytest.mark.usefixtures("here")
def test_ranks_share_a_run() -> None:
    md("--steps", "4", "--output", "alone", "--partitions", "2")
    md("--steps", "4", "--output", "shared", "--partitions", "2", "--ranks", "2")
    with read("alone/trajectory.h5") as ours, read("shared/trajectory.h5") as theirs:
        np.testing.assert_array_equal(ours.steps, theirs.steps)
        np.testing.assert_allclose(ours[-1].positions, theirs[-1].positions, atol=1e-6)


@pytest.mark.usefixtures("here")
def test_a_rank_that_is_lost_is_started_again_and_the_run_goes_on() -> None:
    """By torchrun; to the same end."""
    arguments = ("md", "start.extxyz", "--model", NARROW, *HOT, "--steps", "60", "--frames-every", "20")
    ranks = ("--nproc-per-node", "2", "--master-port", str(free_port()), "--max-restarts", "1")
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    torchrun = [sys.executable, "-P", "-m", "torch.distributed.run", *ranks, "-m", "distmlip"]
    process = subprocess.Popen(
        [*torchrun, *arguments, "--partitions", "2", "--output", "run"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "DISTMLIP_RANK_TIMEOUT": "3"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(1200):
        time.sleep(0.05)
        if list(Path().glob("run/checkpoint-*")):
            break
    rank_1 = next(of for of in psutil.Process(process.pid).children(True) if of.environ().get("RANK") == "1")
    rank_1.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "# resumed after step" in Path("run/log.txt").read_text()
    distmlip(*arguments, "--partitions", "2", "--ranks", "2", "--output", "whole")
    with read("run/trajectory.h5") as ours, read("whole/trajectory.h5") as theirs:
        np.testing.assert_array_equal(ours.steps, [0, 20, 40, 60])
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine.positions, other.positions)


@pytest.mark.usefixtures("here")
def test_trajectories_are_converted_and_drawn() -> None:
    """The names that they print are whole, whatever is in them, and can be used by scripts."""
    md("--steps", "4", "--output", "run[nvt]", "--frames-every", "2")
    process = started("convert", "run[nvt]", "of[nvt].extxyz", "--frames", "::2")
    assert process.communicate()[0] == "of[nvt].extxyz: 2 frames\n"
    assert len(read_structure("of[nvt].extxyz", ":")) == 2
    process = started("plot", "run[nvt]")
    assert process.communicate()[0] == "run[nvt]/plot.png\n"
    process = started("convert", "run[nvt]", "state.extxyz", "--frames", "checkpoint")
    assert process.communicate()[0] == "state.extxyz: 1 frames\n"
    said = distmlip(
        "md", "state.extxyz", "--model", NARROW, "--steps", "2", "--output", "again", "--dtype", "float64"
    )
    assert "again: done" in said
    assert "there is no" in distmlip("convert", "nowhere", "x.xyz", code=1)


@pytest.mark.usefixtures("here")
def test_the_structure_may_be_named_in_another_way() -> None:
    md("--steps", "2", "--output", "run")
    whole = str(Path("start.extxyz").resolve())
    distmlip("md", whole, "--config", "run/config.toml", "--output", "run", "--steps", "4", "--resume")


REFUSED = {
    "seed": (("md", "start.extxyz", "--model", NARROW, "--steps", "1", "--seed", "-1"), "seed=-1"),
    "supercell": (
        ("md", "start.extxyz", "--model", NARROW, "--steps", "1", "--supercell", "0", "1", "1"),
        "supercell=0 1 1; give numbers from 1",
    ),
    "structure": (("md", "nothing.cif", "--model", NARROW, "--steps", "1"), "nothing.cif cannot be read"),
    "model": (("md", "start.extxyz", "--model", "chgnt", "--steps", "1"), "no model is called 'chgnt'"),
    "which": (("md", "start.extxyz", "--model", "mace", "--steps", "1"), "'mace' says not which"),
    "function": (
        ("md", "start.extxyz", "--model", "python:support.chgnet_models:no", "--steps", "1"),
        "python:support.chgnet_models:no: .*PYTHONPATH",
    ),
    "ensemble": (
        ("md", "start.extxyz", "--model", NARROW, "--steps", "1", "--ensemble", "nvt"),
        "ensemble='nvt' needs temperature",
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_explained_in_one_line(refusal, arguments: tuple[str, ...], message: str) -> None:
    said = refusal(*arguments, "--output", "run", code=1)
    assert len(said.strip().splitlines()) == 1
    assert re.search(message, said), said
    assert not Path("run").exists()


def test_configurations_with_unknown_options_are_refused(here: Path, refusal) -> None:
    (here / "run.toml").write_text("timestepp = 1.0\n")
    said = refusal("md", "--config", "run.toml", code=2)
    assert "timestepp" in said
    (here / "run.toml").write_text("timestep = \n")
    assert "cannot be read" in refusal("md", "--config", "run.toml", code=2)
    (here / "run.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal("md", "--config", "run.toml", code=2)
    (here / "run.toml").write_text("options = 3\n")
    assert "no table of options" in re.sub(r"[\s│]+", " ", refusal("md", "--config", "run.toml", code=2))


def test_models_by_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert type(named_model("chgnet")).__name__ == "CHGNet"
    assert named_model("chgnet:r2scan").version == "r2scan"
    data = TESTS / "data" / "TensorNet-MatPES-PBE-v2025.1-PES"
    assert type(named_model(f"matgl:{data}")).__name__ == "Potential"
    with pytest.raises(InvalidInputError, match=r"chgnet:0\.9"):
        named_model("chgnet:0.9")
    with pytest.raises(InvalidInputError, match="there is no such folder"):
        named_model("matgl:/nowhere")
    assert capfd.readouterr().out == ""
