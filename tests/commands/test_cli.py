from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from ase.io import read
from matplotlib.image import imread

from distmlip.commands import doctor


def distmlip(*arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: it quiets warnings for the whole process."""
    command = [sys.executable, "-P", "-c", "from distmlip.commands.cli import app; app()", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(command, env=environment, encoding=encoding, capture_output=True, check=False)


def test_demo_leaves_a_trajectory_and_a_picture(tmp_path: Path) -> None:
    done = distmlip(
        "demo", "--supercell", "1", "1", "3", "--partitions", "2", "--relax-steps", "1", "--steps", "2",
        "--output", str(tmp_path / "out"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for shown in (
        "24 atoms",
        "2 partitions",
        "owned",
        "halo",
        "angles",
        "kB received",
        "|ΔE|/atom",
        "max|ΔF|",
        "max|Δσ|",
    ):
        assert shown in done.stdout
    assert "2/2" in done.stderr, "the progress bar"
    frames = read(tmp_path / "out" / "trajectory.traj", ":")
    assert len(frames) == 2 + 3
    assert all(frame.calc.results.keys() >= {"energy", "forces", "magmoms"} for frame in frames)
    assert imread(tmp_path / "out" / "demo.png").shape[1] > 1000


@pytest.mark.parametrize(("encoding", "length"), [("ascii", "Ang"), ("latin-1", "Å")])
def test_demo_writes_words_for_what_the_terminal_cannot_show(
    encoding: str, length: str, tmp_path: Path
) -> None:
    done = distmlip(
        "demo", "--supercell", "1", "1", "1", "--partitions", "2", "--relax-steps", "1", "--steps", "1",
        "--output", str(tmp_path), encoding=encoding,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for shown in ("|dE|/atom", "max|dF|", "max|dsigma|", f"eV/{length}^3", "structure ...", "demo.png"):
        assert shown in done.stdout.replace("\n", "")  # a long path goes on in the next line
    assert "?" not in done.stdout


@pytest.mark.parametrize("arguments", [["doctor"], ["--help"], ["demo", "--help"], ["run", "--help"]])
def test_other_commands_can_be_read_on_any_terminal(arguments: list[str]) -> None:
    done = distmlip(*arguments, encoding="ascii")
    assert done.returncode == 0, done.stderr
    assert "?" not in done.stdout.replace("\\u", "?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "mace"], "family 'mace' has no weights in its package; use one of chgnet"),
        (["--partitions", "0"], "Invalid value for '--partitions'"),
        (["--steps", "-3"], "Invalid value for '--steps'"),
    ],
)
def test_demo_says_what_is_wrong_without_a_traceback(arguments: list[str], message: str) -> None:
    done = distmlip("demo", *arguments)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_the_core_and_the_families() -> None:
    done = distmlip("doctor")
    assert done.returncode == 0, done.stderr
    lines = [line.split("│") for line in done.stdout.splitlines() if "│" in line]
    found = {cells[1].strip(): cells[2].strip() for cells in lines}
    assert found["compiled core"] == "ok"
    for family in ("chgnet", "mace", "matgl"):
        assert found[f"{family} models"] == "ok"
    assert {"esen models", "sevennet models"} <= set(found)


def test_doctor_says_which_versions_were_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = doctor.FAMILIES["chgnet"]
    other = replace(tested, lowest="0.0.1", newest="0.0.2")
    missing = replace(tested, distribution="no-such-package")
    broken = replace(tested, folder="no_such_adapter", extra="no_such")
    families = {"tested": tested, "other": other, "missing": missing, "broken": broken}
    monkeypatch.setattr(doctor, "FAMILIES", families)
    found = [finding for finding in doctor.examine() if finding.what == "chgnet models"]
    found += [finding for finding in doctor.examine() if finding.what.startswith("no_such")]
    fine, untested, absent, unusable = found
    assert fine.works
    assert untested.works
    assert "0.0.1 to 0.0.2" in untested.detail
    assert "calc.verify" in untested.detail
    assert not absent.works
    assert "pip install '.[chgnet]'" in absent.detail
    assert not unusable.works
    assert "no_such_adapter" in unusable.detail
