"""What a run's files cost at a million atoms: frames of the trajectory, and checkpoints.

    python benchmarks/bench_runs.py

For each kind of frame: the seconds that the steps wait for it, the CPU seconds of the thread that writes it,
and its size; for checkpoints of Langevin dynamics and of FIRE the seconds of one, which steps wait for.
Medians. Beside them the seconds of the plainest way, ``numpy.save`` of the same positions in float32 into the
same folder. Writes benchmarks/results/runs.json and prints it.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from harness import RESULTS, Facts, command_line, record
from result_tables import table

from distmlip.md.checkpoints import write_checkpoint
from distmlip.md.drivers import Ensemble, optimizer
from distmlip.md.state import captured
from distmlip.md.trajectory import OBSERVABLE_UNITS, Contents, TrajectoryWriter

OUTPUT = RESULTS / "runs.json"
KINDS = {
    "positions": Contents(),
    "positions, gzip": Contents(compression="gzip"),
    "positions, not compressed": Contents(compression=None),
    "positions and velocities": Contents(velocities=True),
    "positions, velocities and forces": Contents(velocities=True, forces=True),
}
ROUNDS = 7
STEP = 3.0  # s, of a million atoms on a good machine
MINUTE = 60.0  # s, between checkpoints


def main() -> None:
    """Measure and write JSON."""
    parser = command_line(__doc__)
    parser.add_argument("--cells", type=int, default=63, help="of copper, along each axis")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    atoms = hot_copper(arguments.cells)
    with tempfile.TemporaryDirectory(dir=arguments.output.parent) as folder:
        cases = [plain(Path(folder), atoms)]
        cases += [
            frames(Path(folder) / f"{k}.h5", atoms, name, of) for k, (name, of) in enumerate(KINDS.items())
        ]
        cases += [checkpoint(Path(folder), atoms, name) for name in ("langevin", "fire")]
    for case in cases:
        print(case, flush=True)
    record(arguments.output, cases)


def hot_copper(cells: int) -> Atoms:
    """As they are in dynamics: displaced, with velocities and forces."""
    atoms = bulk("Cu", cubic=True) * (cells, cells, cells)
    random = np.random.default_rng(0)
    atoms.positions += 0.1 * random.normal(size=atoms.positions.shape)
    atoms.set_velocities(0.01 * random.normal(size=atoms.positions.shape))
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=random.normal(size=atoms.positions.shape))
    return atoms


def plain(folder: Path, atoms: Atoms) -> Facts:
    """NumPy's own file."""
    path = folder / "positions.npy"
    seconds = measured(lambda: np.save(path, atoms.positions.astype(np.float32)))
    return {"kind": "numpy.save", "n_atoms": len(atoms), "wait_s": seconds, "megabytes": size(path)}


def frames(path: Path, atoms: Atoms, name: str, contents: Contents) -> Facts:
    """Of a trajectory that is open."""
    observables = dict.fromkeys(OBSERVABLE_UNITS, 0.0)
    waits, thread_seconds = [], []
    with TrajectoryWriter.new(path, atoms, contents) as writer:
        clock = time.pthread_getcpuclockid(writer_thread().ident)
        for k in range(ROUNDS):
            start, before = time.perf_counter(), time.clock_gettime(clock)
            writer.append(k, float(k), atoms, observables)
            waits.append(time.perf_counter() - start)
            writer.flush()
            thread_seconds.append(time.clock_gettime(clock) - before)
    return {
        "kind": "frame",
        "contents": name,
        "n_atoms": len(atoms),
        "wait_s": statistics.median(waits),
        "thread_cpu_s": statistics.median(thread_seconds),
        "megabytes": size(path) / ROUNDS,
    }


def writer_thread() -> threading.Thread:
    """Of the only open trajectory."""
    return next(thread for thread in threading.enumerate() if thread.name == "trajectory")


def checkpoint(folder: Path, atoms: Atoms, driver: str) -> Facts:
    """All of it, as steps wait for it: taken and written."""
    random = np.random.default_rng(0)
    if driver == "fire":
        made = optimizer(atoms, cell=False)
        made.vel = np.zeros(3 * len(atoms))
    else:
        made = Ensemble(ensemble="nvt", temperature=300.0).driver(atoms, random)

    def save() -> None:
        made.nsteps += 1
        write_checkpoint(folder, captured(atoms, made, random, {}))

    seconds = measured(save)
    newest = max(folder.glob("checkpoint-*"))
    return {
        "kind": "checkpoint",
        "driver": driver,
        "n_atoms": len(atoms),
        "wait_s": seconds,
        "megabytes": size(newest),
    }


def as_markdown(cases: list[Facts]) -> str:
    """With shares of the time in which there is one: of a step of three seconds, or of a minute."""
    rows = []
    for case in cases:
        what = case.get("contents", case.get("driver", "positions"))
        within = MINUTE if case["kind"] == "checkpoint" else STEP
        share = f"{case['wait_s']:.3f} ({case['wait_s'] / within:.1%} of {within:.0f} s)"
        of_thread = f"{case['thread_cpu_s']:.3f}" if "thread_cpu_s" in case else ""
        n_atoms, megabytes = f"{case['n_atoms']:,}", f"{case['megabytes']:.1f}"
        rows.append([f"{case['kind']}: {what}", n_atoms, share, of_thread, megabytes])
    return table(["", "atoms", "s that steps wait", "CPU s of the thread", "MB"], rows)


def measured(work: Callable[[], object]) -> float:
    """Seconds, a median."""
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def size(path: Path) -> float:
    """MB."""
    return path.stat().st_size / 1e6


if __name__ == "__main__":
    main()
