"""What is said where there is no compiled core, or one that does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import distmlip
from distmlip._native import core

SCRIPT = "from distmlip import DistCalculator\nprint('works')\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A source folder, as git gives it, with a script in it and one in a folder below."""
    package = Path(distmlip.__file__).parent
    built = shutil.ignore_patterns("_core*", "_built_for.py", "__pycache__")
    shutil.copytree(package, tmp_path / "clone" / "distmlip", ignore=built)
    (tmp_path / "clone" / "pyproject.toml").touch()
    (tmp_path / "clone" / "sub").mkdir()
    for folder in (tmp_path / "clone", tmp_path / "clone" / "sub"):
        (folder / "relax.py").write_text(SCRIPT)
    return tmp_path / "clone"


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Without the safe path that tests run with."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**own, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_source_folder_that_hides_the_installed_package_says_so_and_what_to_do(clone: Path) -> None:
    done = python("relax.py", folder=clone)
    assert done.returncode != 0
    error = done.stderr.splitlines()[-1]
    assert error.startswith("distmlip.errors.BuildMismatchError: ")
    for part in (
        str(clone),
        str(Path(distmlip.__file__).parent),
        "another folder",
        "python -P",
        "PYTHONSAFEPATH=1",
    ):
        assert part in error
    # What it says works:
    for remedy in (
        python("-P", "relax.py", folder=clone),
        python("relax.py", folder=clone, PYTHONSAFEPATH="1"),
        python(str(clone / "sub" / "relax.py"), folder=clone.parent),
    ):
        assert remedy.stdout.strip() == "works", remedy.stderr


def test_a_source_folder_beside_no_installed_package_says_how_to_install(clone: Path) -> None:
    # Its site-packages hold torch, too: only the search for the package is told that it is not there.
    script = (
        "import sys, pathlib; found = pathlib.Path.is_file\n"
        "pathlib.Path.is_file = lambda path: path.name != '_built_for.py' and found(path)\n"
        f"sys.path.insert(0, {str(clone)!r}); import distmlip"
    )
    done = python("-c", script, folder=clone.parent)
    assert f"pip install {clone}" in done.stderr.splitlines()[-1]


def test_an_installed_package_without_a_core_is_to_be_installed_again(clone: Path) -> None:
    (clone / "pyproject.toml").unlink()
    error = python("relax.py", folder=clone).stderr.splitlines()[-1]
    assert str(clone / "distmlip") in error
    assert "--force-reinstall" in error


def test_a_core_that_was_built_for_another_torch_is_not_loaded(clone: Path) -> None:
    (clone / "distmlip" / "_built_for.py").write_text("TORCH_VERSION = '1.2.3'\n")
    error = python("relax.py", folder=clone).stderr.splitlines()[-1]
    assert "built for torch 1.2.3, but torch " in error


def test_the_environment_chooses_an_instruction_set(tmp_path: Path) -> None:
    script = "from distmlip._native import core; print(core.simd())"
    for level in core.simd_levels:
        done = python("-P", "-c", script, folder=tmp_path, DISTMLIP_ISA=level)
        assert done.stdout.strip() == level, done.stderr
    done = python("-P", "-c", script, folder=tmp_path, DISTMLIP_ISA="")
    assert done.stdout.strip() == core.simd_levels[0], done.stderr
    done = python("-P", "-c", script, folder=tmp_path, DISTMLIP_ISA="sse9")
    assert done.returncode != 0
    error = done.stderr.splitlines()[-1]
    assert error.startswith("distmlip.errors.InvalidInputError: DISTMLIP_ISA=sse9 in the environment, but")
    assert f"this processor has {', '.join(core.simd_levels)}; set it to one of these, or unset it" in error
