"""The C++ test programs under sanitizers: data races, memory errors, undefined behaviour."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pybind11_folder() -> str:
    return subprocess.check_output([sys.executable, "-m", "pybind11", "--cmakedir"], text=True).strip()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "sanitizer"),
    [
        ("test_decomposition", "thread"),
        ("test_decomposition", "address,undefined"),
        ("test_device_kernels", "address,undefined"),
        ("test_sweep", "thread"),
        ("test_sweep", "address,undefined"),
    ],
)
def test_program_is_clean(program: str, sanitizer: str, tmp_path: Path) -> None:
    configure = [
        *("cmake", "-S", str(ROOT), "-B", str(tmp_path), "-DDISTMLIP_CUDA=OFF", "-DDISTMLIP_TESTS=ON"),
        *("-DCMAKE_BUILD_TYPE=RelWithDebInfo", f"-DDISTMLIP_SANITIZE={sanitizer}"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11_folder()}"),
    ]
    for command in (configure, ["cmake", "--build", str(tmp_path), "--target", program, "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    # libtorch itself is not instrumented: what it never frees is not ours to report.
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=0"}
    command = [str(tmp_path / "tests" / "csrc" / program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "passed"
