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


def check(folder: Path, program: str, sanitizer: str, build_type: str, *arguments: str) -> None:
    configure = [
        *("cmake", "-S", str(ROOT), "-B", str(folder), "-DDISTMLIP_CUDA=OFF", "-DDISTMLIP_TESTS=ON"),
        *(f"-DCMAKE_BUILD_TYPE={build_type}", "-DDISTMLIP_WERROR=ON", f"-DDISTMLIP_SANITIZE={sanitizer}"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11_folder()}"),
    ]
    for command in (configure, ["cmake", "--build", str(folder), "--target", program, "-j2"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    # libtorch itself is not instrumented: what it never frees is not ours to report.
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=0"}
    command = [str(folder / "tests" / "csrc" / program), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "passed"


# With all checks for undefined behaviour optimising takes four times as long as compiling.
@pytest.mark.parametrize(
    ("program", "sanitizer", "build_type"),
    [
        ("test_decomposition short", "thread", "RelWithDebInfo"),
        ("test_decomposition short", "address,undefined", "Debug"),
        ("test_irreps", "address,undefined", "Debug"),
    ],
)
def test_a_short_program_is_clean(program: str, sanitizer: str, build_type: str, tmp_path: Path) -> None:
    name, *arguments = program.split()
    check(tmp_path, name, sanitizer, build_type, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "sanitizer"),
    [
        ("test_decomposition", "thread"),
        ("test_decomposition", "address,undefined"),
        ("test_device_kernels", "address,undefined"),
        ("test_device_operators", "address,undefined"),
        ("test_sweep", "thread"),
        ("test_sweep", "address,undefined"),
        ("test_directed", "thread"),
        ("test_directed", "address,undefined"),
        ("test_gated", "thread"),
        ("test_gated", "address,undefined"),
        ("test_native", "thread"),
        ("test_native", "address,undefined"),
    ],
)
def test_program_is_clean(program: str, sanitizer: str, tmp_path: Path) -> None:
    check(tmp_path, program, sanitizer, "Debug" if "undefined" in sanitizer else "RelWithDebInfo")
