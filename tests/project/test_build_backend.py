from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = """
def hook(*arguments):
    return ["went on"]
build_sdist = build_wheel = build_editable = hook
get_requires_for_build_sdist = get_requires_for_build_wheel = get_requires_for_build_editable = hook
prepare_metadata_for_build_wheel = prepare_metadata_for_build_editable = hook
"""


def call_hook(python: Path, folder: Path, hook: str) -> subprocess.CompletedProcess[str]:
    (folder / "scikit_build_core").mkdir(exist_ok=True)
    (folder / "scikit_build_core" / "__init__.py").write_text("")
    (folder / "scikit_build_core" / "build.py").write_text(STAND_IN)
    code = f"import distmlip_build; print(distmlip_build.{hook}())"
    path = os.pathsep.join([str(folder), str(ROOT / "build_backend")])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("hook", ["get_requires_for_build_wheel", "prepare_metadata_for_build_editable"])
def test_missing_torch_is_one_line_that_names_the_command(tmp_path: Path, hook: str) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    done = call_hook(tmp_path / "bare" / "bin" / "python", tmp_path, hook)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "distmlip needs torch 2.11 or newer before it can be built; run: pip install torch==2.13.0"
    ]


def test_build_goes_on_where_torch_is_installed(tmp_path: Path) -> None:
    done = call_hook(Path(sys.executable), tmp_path, "get_requires_for_build_wheel")
    assert done.stdout.strip() == "['went on']", done.stderr


def test_a_torch_that_is_too_old_is_named(tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text("__version__ = '2.10.0+cpu'\n")
    script = ROOT / "cmake" / "FindPythonTorch.cmake"
    command = ["cmake", f"-DPythonTorch_ROOT={tmp_path}", "-P", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert f"torch 2.10.0+cpu in {tmp_path} is too old, distmlip needs 2.11 or newer; run: pip" in said
