"""`distmlip run`: its grammar, what a script sees, its worker processes and threads, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase.build import bulk
from support.launching import LIMIT, python_path
from support.toy import ToyModel, undivided

PYTHON = [sys.executable, "-P"]
TOY = """
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel
from distmlip import DistCalculator

def toy():
    return DistCalculator(ToyAdapter([ToyModel()]), partitions=2, devices="cpu")
"""


def command(n_ranks: int, *arguments: str) -> list[str]:
    return [*PYTHON, "-m", "distmlip", "run", "-n", str(n_ranks), *arguments]


def environment(**more: str) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1", **more}


def numbers_in(printed: str) -> np.ndarray:
    """Of several processes, whose lines may run into each other."""
    return np.array(re.findall(r"-?\d+\.\d+", printed), float)


def started(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        arguments, cwd=folder, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def output_of(arguments: list[str], folder: Path, **more: str) -> str:
    done = subprocess.run(
        arguments,
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- as python would ----------------------------------------------------------------------------------------


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """Prints what it sees. Beside it is a module, and in the working folder one that would hide numpy."""
    (tmp_path / "numpy.py").write_text("raise AssertionError('the working folder is no place for modules')")
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "mine.py").write_text("found = 'mine'")
    (folder / "job.py").write_text(
        "import os, sys, mine, numpy\n"
        "ranks = [os.environ.get(name) for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'LOCAL_RANK')]\n"
        "print(sys.argv, mine.found, sys.path[0], __name__, __file__, ranks)\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (["-n", "2"], ["-n", "3", "--help"]),
        (["-n", "2"], ["--", "-n", "x"]),
        (["-n", "2", "--"], ["-n", "3"]),
        (["-n", "1"], ["--ranks=4", "a b"]),
        ([], ["-n", "3"]),
        (["--"], ["--help"]),
    ],
    ids=str,
)
def test_a_script_sees_what_it_sees_under_python(job: Path, options: list[str], arguments: list[str]) -> None:
    script = ["sub/job.py", *arguments]
    unset = {"PYTHONSAFEPATH": ""}  # with it python has no folder of the script, and neither have we
    expected = output_of([sys.executable, *script], job, **unset)
    assert output_of([*PYTHON, "-m", "distmlip", "run", *options, *script], job, **unset) == expected


def test_torchrun_has_the_same_grammar(job: Path) -> None:
    unset = {"PYTHONSAFEPATH": ""}
    expected = output_of([sys.executable, "sub/job.py", "-n", "3", "--help"], job, **unset)
    torchrun = [
        *PYTHON,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--standalone",
        "--no-python",
    ]
    run = [*PYTHON, "-m", "distmlip", "run", "sub/job.py", "-n", "3", "--help"]
    assert output_of([*torchrun, *run], job, **unset) == expected


def test_ranks_that_torchrun_starts_again_find_each_other(tmp_path: Path) -> None:
    """The store of its agent still has what the ranks before them wrote."""
    (tmp_path / "again.py").write_text(
        TOY + "import os, sys\n"
        "energy = toy().get_potential_energy(bulk('Cu', cubic=True))\n"
        "if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0':\n"
        "    sys.exit(3)\n"
        "print(energy)\n"
    )
    torchrun = [*PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    printed = numbers_in(output_of([*torchrun, "--max-restarts", "1", "again.py"], tmp_path))
    expected = undivided(ToyModel(), bulk("Cu", cubic=True))["energy"]
    np.testing.assert_allclose(printed, [expected] * 2, rtol=0, atol=1e-9)


def test_options_of_run_itself(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("print('never')")
    for arguments in (["-n", "two", "job.py"], ["--rank", "2", "job.py"], ["-n", "2", "no.py"], ["-n", "2"]):
        done = subprocess.run(
            [*PYTHON, "-m", "distmlip", "run", *arguments],
            cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done
        assert "never" not in done.stdout


# --- threads and worker processes ---------------------------------------------------------------------------


def test_threads_take_turns(tmp_path: Path) -> None:
    """ASE's NEB with parallel=True asks the calculators of its images in threads."""
    (tmp_path / "neb.py").write_text(
        TOY + "import numpy as np\n"
        "from ase.mep import NEB\n"
        "images = [bulk('Cu', cubic=True) for _ in range(7)]\n"
        "images[-1].positions[0] += 0.5\n"
        "band = NEB(images, parallel=True, method='improvedtangent')\n"
        "band.interpolate()\n"
        "for image in images:\n"
        "    image.calc = toy()\n"
        "for step in range(5):\n"
        "    forces = band.get_forces()\n"
        "    for image in images[1:-1]:\n"
        "        image.positions += 1e-3\n"
        "np.save('forces.npy', forces)\n"
    )
    output_of([*PYTHON, "neb.py"], tmp_path)
    expected = np.load(tmp_path / "forces.npy")
    output_of(command(2, "neb.py"), tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "forces.npy"), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("launcher", "method"),
    [
        *(("distmlip run", "fork"), ("distmlip run", "spawn"), ("torchrun", "fork")),
        pytest.param("torchrun", "spawn", marks=pytest.mark.slow),
    ],
)
def test_worker_processes_of_a_script_calculate_by_themselves(
    tmp_path: Path, method: str, launcher: str
) -> None:
    """With a calculator of their own and with one that they have inherited, before and after its use."""
    (tmp_path / "pool.py").write_text(
        "import multiprocessing, sys\n" + TOY + "calculator = None\n"
        "def work(atoms):\n"
        "    atoms.calc = calculator or toy()\n"
        "    return atoms.get_potential_energy()\n"
        "if __name__ == '__main__':\n"
        "    calculator = toy()\n"
        "    images = [bulk('Cu', cubic=True), bulk('Ni', cubic=True)]\n"
        "    for _ in range(2):\n"
        f"        with multiprocessing.get_context({method!r}).Pool(2) as pool:\n"
        "            print(*pool.map_async(work, images).get(100), flush=True)\n"
        "        print(calculator.get_potential_energy(images[0]), flush=True)\n"
    )
    run = command(2, "pool.py")
    if launcher == "torchrun":
        run = [*PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "pool.py"]
    printed = numbers_in(output_of(run, tmp_path))
    copper, nickel = (undivided(ToyModel(), bulk(name, cubic=True))["energy"] for name in ("Cu", "Ni"))
    expected = [copper, nickel, copper] * 2
    if launcher == "torchrun":  # each of the two ranks has its pools
        np.testing.assert_allclose(sorted(printed), sorted(expected * 2), rtol=0, atol=1e-9)
    else:
        np.testing.assert_allclose(printed, expected, rtol=0, atol=1e-9)


def test_a_model_to_train_from_a_file_is_refused_like_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        TOY + "import pickle\n"
        "from distmlip import DistModel\n"
        "def made(**options):\n"
        "    return DistModel(ToyAdapter([ToyModel()]), partitions=2, devices='cpu', **options)\n"
        "alone = made(ranks=False)\n"
        "alone._arguments[1]['ranks'] = 'auto'  # as in a file of another run\n"
        "for make in (made, lambda: pickle.loads(pickle.dumps(alone))):\n"
        "    try:\n"
        "        make()\n"
        "    except ValueError as error:\n"
        "        print('torchrun' in str(error))\n"
    )
    assert output_of(command(2, "train.py"), tmp_path).split() == ["True", "True"]


def test_threads_and_exit_handlers_may_calculate_after_the_last_line(tmp_path: Path) -> None:
    (tmp_path / "late.py").write_text(
        "import atexit, threading, time\n" + TOY + "atoms = bulk('Cu', cubic=True)\n"
        "atoms.calc = toy()\n"
        "def late(name):\n"
        "    time.sleep(0.5)\n"
        "    print(name, atoms.get_potential_energy(), flush=True)\n"
        "    atoms.positions[0] += 0.01\n"
        "atexit.register(late, 'exit')\n"
        "threading.Thread(target=late, args=('thread',)).start()\n"
    )
    lines = [line.split() for line in output_of(command(2, "late.py"), tmp_path).splitlines()]
    atoms = bulk("Cu", cubic=True)
    for (name, energy), expected_name in zip(lines, ("thread", "exit"), strict=True):
        assert name == expected_name
        assert float(energy) == pytest.approx(undivided(ToyModel(), atoms)["energy"], abs=1e-9)
        atoms.positions[0] += 0.01


@pytest.mark.parametrize(
    "error", ["EOFError('my own')", "BrokenPipeError(32, 'my own')", "KeyError('my own')"]
)
def test_an_error_of_the_script_ends_it_as_under_python(tmp_path: Path, error: str) -> None:
    (tmp_path / "broken.py").write_text(f"def inner():\n    raise {error}\ninner()\n")
    done, expected = (
        subprocess.run(
            [*run, "broken.py"], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )
        for run in ([*PYTHON, "-m", "distmlip", "run"], PYTHON)
    )
    assert done.returncode == expected.returncode == 1
    assert done.stderr == expected.stderr


def test_a_child_that_ends_is_not_the_end_of_the_script(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(
        TOY + "import os, sys\n"
        "atoms = bulk('Cu', cubic=True)\n"
        "atoms.calc = toy()\n"
        "atoms.get_potential_energy()\n"
        "if os.fork() == 0:\n"
        "    sys.exit(0)\n"
        "os.wait()\n"
        "atoms.positions[0] += 0.01\n"
        "print(atoms.get_potential_energy())\n"
    )
    moved = bulk("Cu", cubic=True)
    moved.positions[0] += 0.01
    printed = output_of(command(2, "child.py"), tmp_path)
    assert float(printed) == pytest.approx(undivided(ToyModel(), moved)["energy"], abs=1e-9)


# --- the end ------------------------------------------------------------------------------------------------

ENDLESS = (
    TOY
    + """
import os, pathlib, signal, sys, time
atoms = bulk("Cu", cubic=True)
atoms.calc = toy()
atoms.get_potential_energy()

def save(number, frame):
    atoms.positions[0] += 0.01
    pathlib.Path("saved").write_text(str(atoms.get_potential_energy()))
    sys.exit(7)

if "save" in sys.argv:
    signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(1000)
"""
)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_ranks_end_with_the_launcher(tmp_path: Path, number: signal.Signals) -> None:
    if number != signal.SIGKILL and signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("this run ignores the signal, and so do its processes: a background job, or nohup")
    (tmp_path / "endless.py").write_text(ENDLESS)
    launcher = started(command(2, "endless.py"), tmp_path)
    try:
        ranks = ready(launcher)
        assert len(ranks) == 2
        launcher.send_signal(number)
        code = launcher.wait(timeout=LIMIT)
        _, alive = psutil.wait_procs(ranks, timeout=10)
        assert not alive
        expected = {signal.SIGKILL: {-9}, signal.SIGINT: {1, 130}}
        assert code in expected.get(number, {128 + number})
    finally:
        ended(launcher)


@pytest.mark.parametrize("told", ["the launcher", "all processes"])  # as Slurm does, and terminals
def test_a_script_may_save_when_it_is_told_to_end(tmp_path: Path, told: str) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    launcher = started(command(2, "endless.py", "save"), tmp_path)
    try:
        _, *served = ready(launcher)
        for rank in served if told == "all processes" else ():
            rank.send_signal(signal.SIGTERM)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(timeout=LIMIT) == 7  # what the script ended with
        moved = bulk("Cu", cubic=True)
        moved.positions[0] += 0.01
        saved = float((tmp_path / "saved").read_text())
        assert saved == pytest.approx(undivided(ToyModel(), moved)["energy"], abs=1e-9)
    finally:
        ended(launcher)


def ready(launcher: subprocess.Popen[str]) -> list[psutil.Process]:
    """The ranks, once the script has calculated something."""
    assert launcher.stdout is not None
    lines = []
    for line in launcher.stdout:
        lines.append(line)
        if line == "ready\n":
            time.sleep(0.2)  # in the midst of its sleep
            return psutil.Process(launcher.pid).children()
    raise AssertionError("".join(lines))


def ended(launcher: subprocess.Popen[str]) -> None:
    left = psutil.Process(launcher.pid).children(recursive=True) if launcher.poll() is None else []
    for process in [*left, launcher]:
        process.kill()
    launcher.wait()
