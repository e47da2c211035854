"""The run of all that needs a GPU: its stages, its packages, and which tests belong to it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
import time
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/ is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


@pytest.fixture
def run(gpu: ModuleType, tmp_path: Path) -> Any:
    (tmp_path / "results").mkdir()
    return gpu.Run(
        python=sys.executable,
        environment=tmp_path / "environment",
        output=tmp_path / "results",
        archive=tmp_path / "results.tar.gz",
        end=time.monotonic() + 100,
    )


def archived(run: Any) -> set[str]:
    with tarfile.open(run.archive) as file:
        return set(file.getnames())


ENDED = """
import signal, sys, time
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from gpu_stages import Run, Stage
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
folder = Path({folder!r})
run = Run(sys.executable, folder, folder / "results", folder / "results.tar.gz", time.monotonic() + 60)
run.do(Stage("long", 50.0, ("-c", f"open('{{folder}}/results/case', 'w'); import time; time.sleep(60)")))
"""


class TestStages:
    def test_what_passed_is_not_run_again_and_what_failed_is(self, gpu: ModuleType, run: Any) -> None:
        count = run.environment.with_name("count")
        program = f"open({str(count)!r}, 'a').write('x'); import sys; sys.exit({{code}})"
        for code, name in enumerate(("good", "bad")):
            stage = gpu.Stage(name, 10.0, ("-c", program.format(code=code)))
            results = [run.do(stage) for _ in range(2)]
            assert results[0].startswith(("passed", "FAILED: exit code 1")[code])
            assert results[1].startswith(("passed before", "FAILED: exit code 1")[code])
        assert count.read_text() == "xxx"
        assert archived(run) == {"good.json", "good.log", "bad.json", "bad.log"}

    def test_what_prepares_is_run_in_every_call(self, gpu: ModuleType, run: Any) -> None:
        stage = gpu.Stage("prepares", 10.0, ("-c", ""), prepares=True)
        assert [run.do(stage)[:9] for _ in range(2)] == ["passed, 0"] * 2

    def test_a_stage_ends_at_its_limit_with_all_its_processes(self, gpu: ModuleType, run: Any) -> None:
        child = run.environment.with_name("child")
        program = (
            "import subprocess, sys, time\n"
            "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            f"open({str(child)!r}, 'w').write(str(child.pid))\n"
            "time.sleep(60)\n"
        )
        assert run.do(gpu.Stage("hangs", 2.0, ("-c", program))).startswith("FAILED: over 2 s")
        status = Path(f"/proc/{child.read_text()}/status")
        for _ in range(50):  # until somebody has taken note of its end
            if not status.exists() or "State:\tZ" in status.read_text():
                return
            time.sleep(0.1)
        pytest.fail("the process of the stage lives on")

    def test_what_is_missing_is_named(self, gpu: ModuleType, run: Any) -> None:
        stage = gpu.Stage("absent", 10.0, ("-c", ""), ("a_package_of_tomorrow",))
        assert run.do(stage).startswith(
            "skipped: ModuleNotFoundError: No module named 'a_package_of_tomorrow'"
        )
        stage = gpu.Stage("tool", 10.0, ("-c", ""), wrapper=("a-tool-of-tomorrow",))
        assert run.do(stage).startswith("skipped: there is no a-tool-of-tomorrow")

    def test_no_stage_begins_when_the_time_is_over(self, gpu: ModuleType, run: Any) -> None:
        late = gpu.Run(sys.executable, run.environment, run.output, run.archive, end=time.monotonic() + 1)
        assert late.do(gpu.Stage("late", 10.0, ("-c", ""))).startswith("skipped: the time is over")

    def test_packages_of_lists_stand_before_those_of_the_python(self, gpu: ModuleType, run: Any) -> None:
        """Which may be one of an environment: its packages are seen, too."""
        for name, content in {"base": "'base'", "mace": "'mace'"}.items():
            run.packages(name).mkdir(parents=True)
            (run.packages(name) / "tqdm.py").write_text(f"found = {content}")
        program = "import torch, tqdm; assert tqdm.found == 'mace', tqdm"
        assert run.do(gpu.Stage("order", 60.0, ("-c", program), lists=("mace", "base"))).startswith("passed")

    def test_packages_that_the_caller_has_made_known_stay_known(
        self, gpu: ModuleType, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "of_the_cluster.py").touch()
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        assert run.do(gpu.Stage("known", 10.0, ("-c", ""), ("of_the_cluster",))).startswith("passed")

    def test_what_was_measured_until_the_run_is_ended_is_kept(self, run: Any) -> None:
        case = run.output / "case"
        process = subprocess.Popen(
            [sys.executable, "-c", ENDED.format(benchmarks=str(BENCHMARKS), folder=str(run.output.parent))]
        )
        for _ in range(300):
            if case.exists():
                break
            time.sleep(0.1)
        process.terminate()
        assert process.wait(30) == 1
        assert "case" in archived(run)

    def test_another_machine_goes_on_from_the_archive(
        self, gpu: ModuleType, run: Any, tmp_path: Path
    ) -> None:
        stage = gpu.Stage("good", 10.0, ("-c", ""))
        run.do(stage)
        elsewhere = tmp_path / "elsewhere"
        gpu.unpack(run.archive, elsewhere)
        moved = gpu.Run(sys.executable, run.environment, elsewhere, run.archive, end=run.end)
        assert moved.do(stage).startswith("passed before")

    def test_every_family_is_measured_and_compared(self, gpu: ModuleType, run: Any) -> None:
        families = set(gpu.FAMILIES | gpu.OTHER_FAMILIES)
        names = {stage.name for stage in gpu.measurements(run, "cuda")}
        assert {f"beside {family}" for family in families} <= names
        assert {f"1e6 atoms of {family}" for family in families} <= names
        assert set(gpu.PARITY) == set((gpu.FAMILIES | gpu.OTHER_FAMILIES).values())


def test_a_python_without_torch_is_refused(gpu: ModuleType, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(SystemExit, match="no torch that can be imported: set PYTHON"):
        gpu.described(str(python), "cpu")


def test_pip_of_the_wheels_is_taken_where_the_python_has_none(gpu: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "pip-26.3-py3-none-any.whl").touch()
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    assert gpu.pip_of(str(tmp_path / "python"), tmp_path) == [str(tmp_path / "pip-26.3-py3-none-any.whl/pip")]


class TestWheels:
    """Lists of what a machine without network may lack."""

    def listed(self) -> dict[str, Requirement]:
        lines = [
            line for path in BENCHMARKS.glob("gpu_wheels/*.txt") for line in path.read_text().splitlines()
        ]
        found = [Requirement(line) for line in lines if line and not line.startswith("#")]
        return {requirement.name.lower(): requirement for requirement in found}

    def test_versions_are_exact_and_there_is_neither_torch_nor_cuda(self) -> None:
        listed = self.listed()
        assert all(str(of.specifier).startswith("==") for of in listed.values())
        assert not {"torch", "triton", "warp-lang", "nvalchemi-toolkit-ops"} & listed.keys()
        assert not [name for name in listed if name.startswith("nvidia-cu")]

    def test_versions_are_those_that_the_package_asks_for(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        asked = [*project["dependencies"], *(extras[name][0] for name in ("chgnet", "mace", "matgl"))]
        listed, compared = self.listed(), 0
        for requirement in map(Requirement, asked):
            if requirement.name in listed:
                (exact,) = listed[requirement.name].specifier
                assert exact.version in requirement.specifier, requirement
                compared += 1
        assert compared >= 8


class TestMarkedTests:
    """A run of pytest is for the CPU, or for GPUs."""

    def collected(self, tmp_path: Path, *options: str) -> str:
        for package in ("chgnet", "mace", "matgl"):
            (tmp_path / f"{package}.py").write_text("raise ModuleNotFoundError('on purpose')")
        path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        done = subprocess.run(
            [*command, *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "DISTMLIP_TEST_GPU": "cpu"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def test_those_for_gpus_are_collected_without_the_packages_of_others(self, tmp_path: Path) -> None:
        listing = self.collected(tmp_path, "-m", "cuda", "--collect-only", "tests")
        assert {line.split("::")[0] for line in listing.splitlines() if "::" in line} == {
            "tests/core/test_device_kernels.py",
            "tests/core/test_device_messages.py",
            "tests/core/test_device_operators.py",
            "tests/gpu/test_devices.py",
            "tests/gpu/test_families.py",
        }

    def test_a_missing_package_is_a_named_skip(self, tmp_path: Path) -> None:
        report = self.collected(tmp_path, "-m", "cuda", "tests/gpu/test_families.py", "-k", "mace")
        assert "4 skipped" in report
        assert "could not import 'mace'" in report

    def test_others_see_no_gpu(self) -> None:
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
