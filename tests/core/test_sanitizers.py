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


def check(folder: Path, sanitizer: str, programs: list[str]) -> None:
    """Build them all in one folder, as compiling the core takes longest, and run them."""
    # With all checks for undefined behaviour optimising takes four times as long as compiling.
    build_type = "Debug" if "undefined" in sanitizer else "RelWithDebInfo"
    names = [program.split()[0] for program in programs]
    configure = [
        *("cmake", "-S", str(ROOT), "-B", str(folder), "-DDISTMLIP_CUDA=OFF", "-DDISTMLIP_TESTS=ON"),
        *(f"-DCMAKE_BUILD_TYPE={build_type}", "-DDISTMLIP_WERROR=ON", f"-DDISTMLIP_SANITIZE={sanitizer}"),
        *(f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11_folder()}"),
    ]
    for command in (configure, ["cmake", "--build", str(folder), "-j2", "--target", *names]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    # libtorch itself is not instrumented: what it never frees is not ours to report.
    environment = {**os.environ, "TSAN_OPTIONS": "halt_on_error=1", "ASAN_OPTIONS": "detect_leaks=0"}
    for name, *arguments in map(str.split, programs):
        command = [str(folder / "tests" / "csrc" / name), *arguments]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, name + "\n" + done.stdout + done.stderr
        assert done.stdout.strip() == "passed", name


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_graphs_are_clean(sanitizer: str, tmp_path: Path) -> None:
    check(tmp_path, sanitizer, ["test_decomposition short"])


WITH_THREADS = ["test_decomposition", "test_sweep", "test_directed", "test_gated", "test_native", "test_so2"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sanitizer", "programs"),
    [
        ("thread", WITH_THREADS),
        (
            "address,undefined",
            [*WITH_THREADS, "test_irreps", "test_device_kernels", "test_device_operators"],
        ),
    ],
    ids=["thread", "address,undefined"],
)
def test_programs_are_clean(sanitizer: str, programs: list[str], tmp_path: Path) -> None:
    check(tmp_path, sanitizer, programs)
