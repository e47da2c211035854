"""All checks and measurements that need a GPU, the most valuable first, within ten minutes.

    benchmarks/gpu.sh                                     with network
    benchmarks/gpu.sh --wheels build/gpu-wheels           without; `make gpu-wheels` collects them elsewhere
    benchmarks/gpu.sh --device cpu --minutes 60           a rehearsal without a GPU: the same, small

The Python that has torch is python3, or $PYTHON; it may be one of an environment, and pip may be missing
there. Nothing is written into the source folder: packages and the build go to --environment, logs and results
to --output, and after every stage all results to one --archive. A stage that has passed is not run again:
another call goes on, also on another machine if the archive is there. What is missing is a skip that is
named. Exits with 1 if a stage has failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu_stages import ROOT, Run, Stage, unpack

WHEELS = ROOT / "benchmarks" / "gpu_wheels"
PATIENCE = 4  # times the limit of a stage in a rehearsal: two cores build and test
FAMILIES = {"chgnet": "chgnet", "mace": "mace", "tensornet": "matgl", "m3gnet": "matgl"}
"""Models that are measured, and the package of each."""
OTHER_FAMILIES = {"sevennet": "sevenn", "esen": "fairchem"}
"""Those whose packages are in no list of wheels: they run where they are installed."""
PARITY = {
    "chgnet": "chgnet and not matgl",
    "mace": "mace",
    "matgl": "matgl or tensornet or m3gnet or qet",
    "sevenn": "sevennet",
    "fairchem": "esen",
}
"""By package: what pytest calls the tests of its models."""
OPERATORS = {"mace": ("convolution", "contraction"), "matgl": ("tensors",), "chgnet": ("gated messages",)}
"""Of bench_operators.py, by package."""
KERNELS = "larger_systems or rows or convolution or contraction or scaled or tensors or gated"
"""The tests that a sanitizer of memory can see to their end."""


def main() -> None:
    """All stages, and what became of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the stage ends, too
    arguments = parsed()
    python = os.environ.get("PYTHON", sys.executable)
    machine = described(python, arguments.device)
    run = Run(
        python=python,
        environment=arguments.environment,
        output=arguments.output,
        archive=arguments.archive,
        end=time.monotonic() + 60 * arguments.minutes,
        patience=PATIENCE if arguments.device == "cpu" else 1,
        variables=variables(arguments.device, arguments.environment),
    )
    unpack(run.archive, run.output)
    (run.output / "machine.json").write_text(json.dumps(machine, indent=1) + "\n")
    print(machine, flush=True)
    results = {}
    for stage in [*preparation(run, arguments.wheels, machine), *measurements(run, arguments.device)]:
        print(f"== {stage.name}", flush=True)
        results[stage.name] = run.do(stage)
        print(f"== {stage.name}: {results[stage.name]}", flush=True)
        if stage.prepares and "base" in stage.lists and not results[stage.name].startswith("passed"):
            break
    print("", *(f"{name:24}{status}" for name, status in results.items()), run.archive, sep="\n")
    sys.exit(any("FAILED" in status for status in results.values()))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="a folder; without it, pip's index")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--minutes", type=float, default=10.0, help="of this call")
    parser.add_argument("--environment", type=Path, help="a folder; by default in $TMPDIR, as what follows")
    parser.add_argument("--output", type=Path, help="a folder")
    parser.add_argument("--archive", type=Path)
    arguments = parser.parse_args()
    own = Path(tempfile.gettempdir()) / f"distmlip-{arguments.device}"
    for name in ("environment", "output", "archive"):
        path = getattr(arguments, name) or own / {"archive": "results.tar.gz"}.get(name, name)
        setattr(arguments, name, path.resolve())
    if arguments.wheels is not None:
        arguments.wheels = arguments.wheels.resolve()
    return arguments


def described(python: str, device: str) -> dict[str, str]:
    """Torch and the GPU that it sees; ends the program where it sees none."""
    look = (
        "import json, platform, torch\n"
        "facts = {'python': platform.python_version(), 'torch': torch.__version__, 'gpu': ''}\n"
        "if torch.cuda.is_available():\n"
        "    facts['gpu'] = torch.cuda.get_device_name()\n"
        "    facts['architecture'] = '%d%d' % torch.cuda.get_device_capability()\n"
        "print(json.dumps(facts))"
    )
    done = subprocess.run([python, "-c", look], capture_output=True, text=True, check=False)
    facts: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    if not facts or (device == "cuda" and not facts["gpu"]):
        reason = f"sees no GPU with torch {facts['torch']}" if facts else "has no torch that can be imported"
        sys.exit(f"{python} {reason}: set PYTHON to one that does, or rehearse with --device cpu")
    return facts


def variables(device: str, environment: Path) -> tuple[tuple[str, str], ...]:
    """Of every process: it writes nothing into the source folder, and hypothesis tries the same each time."""
    common = (
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("HYPOTHESIS_STORAGE_DIRECTORY", str(environment / "hypothesis")),
        ("CI", "true"),
    )
    if device == "cpu":
        return (*common, ("DISTMLIP_TEST_GPU", "cpu"))
    return (*common, ("PYTORCH_ALLOC_CONF", "expandable_segments:True"))


def preparation(run: Run, wheels: Path | None, machine: dict[str, str]) -> list[Stage]:
    """Packages and the build."""
    pip = [*pip_of(run.python, wheels), "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if wheels is not None:
        pip += ["--no-index", "--find-links", str(wheels)]
    pip.append("--upgrade")
    installs = [
        Stage(
            f"packages of {path.stem}",
            60.0,
            (*pip, "--target", run.packages(path.stem), "-r", path),
            lists=(path.stem,),
            prepares=True,
        )
        for path in sorted(WHEELS.glob("*.txt"))
        if not run.packages(path.stem).exists()
    ]
    settings = {"build-dir": run.environment / "cmake", **kernels_for(machine.get("architecture", "90"))}
    options = [f"--config-settings={name}={value}" for name, value in settings.items()]
    target = ("--target", run.packages("base"))
    build = Stage("build", 200.0, (*pip, "--no-build-isolation", *options, *target, ROOT), prepares=True)
    return [*installs, build]


def pip_of(python: str, wheels: Path | None) -> list[str]:
    """The Python's own pip, or the one among the wheels, which runs as it is."""
    own = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    carried = sorted(wheels.glob("pip-*.whl")) if wheels is not None else []
    if own.returncode != 0 and carried:
        return [f"{carried[-1]}/pip"]
    return ["-m", "pip"]


def kernels_for(architecture: str) -> dict[str, str]:
    """Settings of the build: with CUDA kernels for this architecture, if there is a compiler for them."""
    compiler = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if compiler is None:
        return {"cmake.define.DISTMLIP_CUDA": "OFF"}
    return {
        "cmake.define.DISTMLIP_CUDA": "ON",
        "cmake.define.CMAKE_CUDA_COMPILER": compiler,
        "cmake.define.CMAKE_CUDA_ARCHITECTURES": f"{architecture}-real",
    }


def measurements(run: Run, device: str) -> list[Stage]:
    """Checks and measurements, from what is right, by what is fast, to what is large."""
    small = device == "cpu"
    tests = ("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "cuda")
    kernels = [f"tests/core/test_device_{what}.py" for what in ("kernels", "messages", "operators")]
    families = "tests/gpu/test_families.py"
    found = [
        Stage("tests", 120.0, (*tests, "tests", f"--ignore={families}")),
        Stage(
            "sanitizer",
            60.0,
            (*tests, *kernels, "-k", KERNELS),
            wrapper=("compute-sanitizer", "--error-exitcode", "1"),
            variables=(("PYTORCH_NO_CUDA_MEMORY_CACHING", "1"),),  # else it sees no end of a tensor
        ),
    ]
    for package, choice in PARITY.items():
        command = (*tests, families, "-k", choice)
        found.append(Stage(f"parity of {package}", 60.0, command, (package,), lists(package)))

    def measured(name: str, limit: float, script: str, *options: str, package: str = "") -> Stage:
        output = ("--output", run.output / f"gpu_{name.replace(' ', '_')}.json")
        command = (ROOT / "benchmarks" / script, *options, "--device", device, *output)
        return Stage(name, limit, command, (package,) if package else (), lists(package))

    size = ("--sizes", "2000") if small else ()
    found.append(measured("graphs", 60.0, "bench_graphs.py", "partition", "--only", "gpu", *size))
    found.append(measured("exchange", 40.0, "bench_gpu.py", "exchange", *size))
    size = ("--sizes", "50") if small else ()
    for package, operators in OPERATORS.items():
        name, chosen = f"operators of {package}", ("--operators", *operators)
        found.append(measured(name, 40.0, "bench_operators.py", *size, *chosen, package=package))
    size = ("--sizes", "8", "64") if small else ()
    for family, package in (FAMILIES | OTHER_FAMILIES).items():
        name = f"beside {family}"
        options = ("beside", family, *size, "--limit", str(50 * run.patience))
        found.append(measured(name, 60.0, "bench_gpu.py", *options, package=package))
    for n_atoms, limit in ((10**5, 60.0), (10**6, 120.0)):
        for family, package in (FAMILIES | OTHER_FAMILIES).items():
            size = ("--sizes", str(n_atoms // 2000 if small else n_atoms))
            name = f"{n_atoms:.0e} atoms of {family}".replace("+0", "")
            options = ("large", family, *size, "--limit", str((limit - 10) * run.patience))
            found.append(measured(name, limit, "bench_gpu.py", *options, package=package))
    return found


def lists(package: str) -> tuple[str, ...]:
    """Of wheels, for a package."""
    return ("mace", "base") if package == "mace" else ("base",)


if __name__ == "__main__":
    main()
