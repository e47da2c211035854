"""Stages in C++ beside the original, our eager stages and symmetrix-xl: µs per atom, errors, memory.

    python benchmarks/bench_native.py medium models          of CONTESTS; hours for all of MACE's
    python benchmarks/bench_native.py sevennet nequip esen   in the environment that has them
    python benchmarks/bench_native.py medium --symmetrix VENV/bin/python

A program's turn is a whole step of ASE (neighbour list, energy, forces, stress) over slightly moved LiMnO2,
or urea where the model is named so. Each is a process of its own with as many cores as threads, and all of a
contest take turns: medians of CPU and wall seconds of the rounds after the first ones. The first step gives
the growth of the peak RSS above the loaded model, and the forces, whose error is that to the original in
float64 (of small systems only).
Stages in C++ are asked for with kernels="fused", so that no fallback is measured in their place.

symmetrix-xl wants an environment of its own, beside mace-torch: `pip install mace-torch symmetrix-xl`, and
where the processor has AVX-512 symmetrix-xl-cpu-avx512; it keeps what it compiles in the user's cache.
Without --symmetrix, or DISTMLIP_BENCH_SYMMETRIX, it is left out.

Writes benchmarks/results/native.json, where a contest takes the place of an earlier one of the same model,
dtype and size, and prints the tables.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import RESULTS, Facts, apart, command_line, machine, write
from native_models import IN_UREA, NATIVE_MODELS
from native_tables import as_markdown
from programs import Program, compete, cores

OUTPUT = RESULTS / "native.json"
CELLS = {
    32: (2, 2, 1),
    128: (2, 2, 4),
    288: (3, 3, 4),
    1152: (6, 6, 4),
    10_368: (12, 12, 9),
    100_352: (28, 28, 16),
}
"""Of LiMnO2 along each axis, by the number of atoms."""
UREA_CELLS = {16: (1, 1, 1), 288: (3, 3, 2), 1152: (6, 4, 3)}
"""Of urea."""
ISA_VARIABLES = {
    "distmlip": {isa: {"DISTMLIP_ISA": isa} for isa in ("avx2", "portable")},
    "symmetrix-xl": {"avx2": {"SYMMETRIX_BACKEND": "cpu"}},
}
"""What holds a program to an instruction set, by its kind."""
LARGEST_REFERENCE = 300  # atoms: the original needs 13 MB for each in float64
LARGEST_EAGER = 1200  # atoms: longer steps show nothing new, and the original's need all of the memory
PEAK_SOURCE = Path(__file__).parent / "fma_peak.cpp"


@dataclass(frozen=True)
class Contest:
    """One model at one size, and the programs that take turns."""

    model: str
    n_atoms: int
    programs: tuple[str, ...]
    dtype: str = "float32"

    @property
    def structure(self) -> tuple[str, tuple[int, int, int]]:
        """The crystal, and its cells along each axis."""
        of_urea = self.model in IN_UREA
        return ("urea", UREA_CELLS[self.n_atoms]) if of_urea else ("LiMnO2", CELLS[self.n_atoms])


EAGER = ("original", "distmlip, original kernels")
PEER = ("symmetrix-xl",)
NATIVE = ("distmlip, exact", "distmlip")
PARTITIONS = ("distmlip, P=8", "distmlip, P=auto")
ON_TWO = tuple(f"{name}, 2 threads" for name in (*PEER, "distmlip", *PARTITIONS))
SETS = ("symmetrix-xl, avx2", *(f"{name}, {isa}" for name in NATIVE for isa in ("avx2", "portable")))
KINDS = ("MACE small", "MACE large", "MACE, 3 layers", "MACE, density, Agnesi, ZBL")
STEEP = [name for name in NATIVE_MODELS if "steep" in name]
SIZES = (288, 1152)
CONTESTS: dict[str, list[Contest]] = {
    "medium": [
        Contest("MACE medium", size, (*EAGER, *PEER, *NATIVE, *PARTITIONS, *ON_TWO, *SETS)) for size in SIZES
    ],
    "float64": [Contest("MACE medium", size, (*EAGER, *PEER, *NATIVE), "float64") for size in SIZES],
    "models": [Contest(model, size, (*EAGER, *PEER, *NATIVE)) for model in KINDS for size in SIZES],
    "steep": [Contest(model, 288, (*PEER, *NATIVE)) for model in STEEP],
    "steep64": [Contest(model, 288, NATIVE, "float64") for model in STEEP],
    "sevennet": [
        Contest("SevenNet-0", 128, (*EAGER, *NATIVE)),
        *(Contest("SevenNet-0", size, (*EAGER, *NATIVE, *PARTITIONS, *ON_TWO[1:])) for size in SIZES),
    ],
    "nequip": [
        Contest("NequIP, preset M", 128, (*EAGER, *NATIVE)),
        Contest("NequIP, preset M", 288, (*EAGER, *NATIVE, *PARTITIONS, *ON_TWO[1:])),
        Contest("NequIP, preset M", 1152, (*NATIVE, *PARTITIONS, *ON_TWO[1:])),
    ],
    "tensornet": [
        Contest(model, size, (*EAGER, *NATIVE, "distmlip, avx2", *PARTITIONS, *ON_TWO[1:]))
        for model in ("TensorNet, warp", "TensorNet, torch")
        for size in SIZES
    ],
    "tensornet64": [Contest("TensorNet, warp", 288, NATIVE, "float64")],
    "tensornet10k": [Contest("TensorNet, warp", 10_368, ("distmlip", *PARTITIONS, *ON_TWO[1:]))],
    "chgnet": [
        Contest("CHGNet 0.3.0", size, (*EAGER, "distmlip", "distmlip, avx2", *PARTITIONS, *ON_TWO[1:]))
        for size in SIZES
    ],
    "urea": [Contest(model, size, (*EAGER, "distmlip")) for model in IN_UREA for size in SIZES],
    "m3gnet": [
        Contest("M3GNet", size, (*EAGER, "distmlip", "distmlip, avx2", *PARTITIONS, *ON_TWO[1:]))
        for size in SIZES
    ],
    "chgnet_matgl": [
        Contest("CHGNet of matgl", size, (*EAGER, "distmlip", "distmlip, avx2", *PARTITIONS, *ON_TWO[1:]))
        for size in (128, 288)
    ],
    "mattersim": [
        Contest("MatterSim, size 1M", size, (*EAGER, "distmlip", *PARTITIONS, *ON_TWO[1:]))
        for size in (128, 288)
    ],
    "esen": [
        Contest(
            "eSEN sm",
            128,
            (*EAGER, *NATIVE, "distmlip, avx2", "distmlip, recompute", *PARTITIONS, *ON_TWO[1:]),
        ),
    ],
    "uma": [Contest(model, 128, (*EAGER, *NATIVE)) for model in ("UMA, published size", "UMA, 64 channels")],
    "chgnet64": [Contest("CHGNet 0.3.0", 288, ("distmlip",), "float64")],
    "chgnet10k": [Contest("CHGNet 0.3.0", 10_368, ("distmlip", *PARTITIONS, *ON_TWO[1:]))],
    "chgnet100k": [Contest("CHGNet 0.3.0", 100_352, ("distmlip, P=auto",))],
    "10k": [Contest("MACE medium", 10_368, (*PEER, "distmlip", *PARTITIONS, *ON_TWO))],
    "100k": [Contest("MACE medium", 100_352, ("distmlip, P=auto, 2 threads",))],
}
"""By the names that the command line takes."""


def main() -> None:
    """Run what the command line asks for."""
    parser = command_line(__doc__)
    parser.add_argument("contests", nargs="+", choices=list(CONTESTS))
    parser.add_argument(
        "--sizes", nargs="+", type=int, choices=list(CELLS), help="instead of a contest's own"
    )
    parser.add_argument("--programs", nargs="+", help="only these, by their names in CONTESTS")
    parser.add_argument("--rounds", type=int, default=9, help="measured; 0: only the first step")
    parser.add_argument("--budget", type=float, default=60.0, help="s, of a program's measured turns")
    parser.add_argument("--limit", type=float, default=1800.0, help="s, for one turn")
    parser.add_argument("--symmetrix", default=os.environ.get("DISTMLIP_BENCH_SYMMETRIX"), help="its python")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    path: Path = arguments.output
    known = json.loads(path.read_text())["cases"] if path.exists() else []
    cases = {key(case): case for case in known}
    how = {name: getattr(arguments, name) for name in ("rounds", "budget", "limit")}
    with tempfile.TemporaryDirectory() as folder:
        for contest in chosen(arguments.contests, arguments.sizes, arguments.programs):
            print(f"{contest.model}, {contest.dtype}, {contest.n_atoms} atoms", file=sys.stderr)
            case = run(contest, arguments.symmetrix, Path(folder), **how)
            cases = dict(sorted((cases | {key(case): case}).items(), key=lambda item: place(*item[0])))
            write(path, {"cases": list(cases.values())})
    print(as_markdown(list(cases.values())))


def key(case: Facts) -> tuple[str, str, int]:
    """What makes a contest another one."""
    return case["model"], case["dtype"], case["n_atoms"]


def place(model: str, dtype: str, n_atoms: int) -> tuple[int, str, int]:
    """Of a contest in the results."""
    return list(NATIVE_MODELS).index(model), dtype, n_atoms


def chosen(names: list[str], sizes: list[int] | None, programs: list[str] | None) -> Iterator[Contest]:
    """The contests of these names, once each; with other sizes and fewer programs if they are given."""
    contests: dict[Contest, None] = {}
    for contest in (contest for name in names for contest in CONTESTS[name]):
        for size in sizes or [contest.n_atoms]:
            wanted = [name for name in contest.programs if programs is None or name in programs]
            kept = tuple(name for name in wanted if size <= LARGEST_EAGER or name not in EAGER)
            contests[replace(contest, n_atoms=size, programs=kept)] = None
    yield from contests


def run(
    contest: Contest, symmetrix: str | None, folder: Path, rounds: int, budget: float, limit: float
) -> Facts:
    """One contest's results, and what it was measured on."""
    facts = {
        "model": contest.model,
        "dtype": contest.dtype,
        "n_atoms": contest.n_atoms,
        "machine": {**machine(), "fma_gflops": fma_peak(), "versions": versions(symmetrix)},
    }
    programs = list(entered(contest, symmetrix, folder, list(facts["machine"]["fma_gflops"])))
    results, forces = compete(programs, *contest.structure, rounds, limit, budget)
    reference, facts["max_force"] = reference_forces(contest, limit), None
    if reference is not None:
        facts["max_force"] = float(np.abs(reference).max())
        for name, of_program in forces.items():
            results[name]["force_error"] = float(np.abs(of_program - reference).max())
    return {**facts, "results": results}


def reference_forces(contest: Contest, limit: float) -> np.ndarray | None:
    """The original's in float64, (n_atoms, 3) in eV/Å; None where its memory would not do."""
    if contest.n_atoms > LARGEST_REFERENCE:
        return None
    options = {"model": contest.model, "dtype": "float64"}
    program = Program("reference", "original", options, threads=len(cores(64)))
    results, forces = compete([program], *contest.structure, 0, limit, 0.0)
    if "reference" not in forces:
        print(f"no reference: {results['reference']['status']}", file=sys.stderr)
    return forces.get("reference")


def entered(contest: Contest, symmetrix: str | None, folder: Path, isas: list[str]) -> Iterator[Program]:
    """The programs of a contest that can run here; ``isas``: the processor's, the best one first."""
    for name in contest.programs:
        kind, *qualifiers = name.split(", ")
        threads = 2 if "2 threads" in qualifiers else 1
        forced = next((isa for isa in ISA_VARIABLES["distmlip"] if isa in qualifiers), None)
        if threads > len(cores(threads)) or (forced and forced not in isas[1:]):
            continue  # the best instruction set is what runs without being asked for
        options, python = {"model": contest.model, "dtype": contest.dtype}, sys.executable
        if kind in PEER:
            if not symmetrix:
                continue
            python = symmetrix
            options["model"] = str(extracted(contest.model, python, folder))
        elif kind == "distmlip":
            options |= distmlip_options(qualifiers)
        variables = ISA_VARIABLES[kind][forced] if forced else {}
        settings = {} if kind == "original" else {"isa": forced or isas[0]}
        yield Program(name, kind, options, threads, variables, python, settings)


def distmlip_options(qualifiers: list[str]) -> Facts:
    """Those of DistCalculator."""
    known = {"P=8": 8, "P=auto": "auto"}
    partitions: Any = next((known[name] for name in qualifiers if name in known), 1)
    if "original kernels" in qualifiers:
        return {"partitions": partitions, "kernels": "original"}
    radial = "exact" if "exact" in qualifiers else "auto"
    recompute = {"recompute": True} if "recompute" in qualifiers else {}
    return {"partitions": partitions, "kernels": "fused", "radial": radial, **recompute}


def extracted(model: str, python: str, folder: Path) -> Path:
    """The model in the form that symmetrix-xl reads, once; a file that is not there if its tool failed."""
    source = folder / f"{list(NATIVE_MODELS).index(model)}.model"
    path = source.with_suffix(".json")
    if not source.exists():
        apart(save, model=model, path=str(source))
        command = [Path(python).parent / "symmetrix_extract_mace", "--model", source, "--output", path]
        variables = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
        subprocess.run(list(map(str, command)), env=variables, stdout=subprocess.DEVNULL, check=False)
    return path


def save(model: str, path: str) -> None:
    """As mace-torch's own checkpoints are."""
    torch.save(NATIVE_MODELS[model](), path)


def fma_peak() -> dict[str, float]:
    """GFLOP/s of one core in float32, by instruction set, the best first, of a program that it compiles."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "fma_peak"
        compiler = os.environ.get("CXX", "c++")
        subprocess.run([compiler, "-O2", "-std=c++20", str(PEAK_SOURCE), "-o", str(program)], check=True)
        lines = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: float(value) for name, value in map(str.split, lines)}


def versions(symmetrix: str | None) -> dict[str, str]:
    """Of the packages that take part."""
    found = {}
    for package in ("distmlip", "mace-torch", "matgl", "chgnet", "sevenn", "mattersim", "fairchem-core"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    if symmetrix:
        ask = "from importlib import metadata; print(metadata.version('symmetrix-xl'))"
        answer = subprocess.run([symmetrix, "-c", ask], capture_output=True, text=True, check=True)
        found["symmetrix-xl"] = answer.stdout.strip()
    return found


if __name__ == "__main__":
    main()
