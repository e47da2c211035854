"""One program of bench_native.py: a process that builds a calculator and makes a step whenever it is told to.

    python native_server.py FILE_DESCRIPTOR        of a pipe, by bench_native.py

Runs in environments without distmlip: only NumPy, ASE and the program itself are needed.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import time
import warnings
from contextlib import redirect_stdout
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from memory import peak_rss
from structures import CRYSTALS

STEP_LENGTH = 2e-3  # Å
LATE = (1, 1, 1)
"""Cells of the first structure, with which is loaded and compiled what is loaded and compiled late."""

Facts = dict[str, Any]


def main() -> None:
    """Serve until the parent closes its end."""
    pipe = Connection(int(sys.argv[1]))
    warnings.filterwarnings("ignore")
    try:
        with redirect_stdout(sys.stderr):  # packages print
            serve(pipe, pipe.recv())
    except EOFError:
        return
    except Exception as error:  # whatever a package raises is its result
        pipe.send({"status": f"{type(error).__name__}: {error}"[:300]})


def serve(pipe: Connection, what: Facts) -> None:
    """The first step has the forces, and is at positions that all programs of a contest have."""
    calculator = CALCULATORS[what["kind"]](**what["options"])
    crystal = CRYSTALS[what["crystal"]]
    energy_forces_and_stress(crystal(LATE), calculator)
    atoms, random = crystal(tuple(what["cells"])), np.random.default_rng(1)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what reading the model has left free would hide what a step needs
    pipe.send({"n_atoms": len(atoms)})
    while True:
        is_first = pipe.recv()
        if not is_first:
            atoms.rattle(STEP_LENGTH, rng=random)
        gc.collect()
        with peak_rss() as growth:
            wall, cpu = time.perf_counter(), time.process_time()
            forces = energy_forces_and_stress(atoms, calculator)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        answer: Facts = {"wall_s": wall, "cpu_s": cpu, "peak_mb": growth[0] / 1e6}
        if is_first:
            answer |= {"forces": forces.tolist(), **chosen(calculator, atoms)}
        pipe.send(answer)


def energy_forces_and_stress(atoms: Atoms, calculator: Calculator) -> np.ndarray:
    """All that a step of MD with a barostat asks for, as ASE's drivers do; returns the forces."""
    atoms.calc = calculator
    forces: np.ndarray = atoms.get_forces()
    atoms.get_potential_energy()
    atoms.get_stress()
    return forces


def chosen(calculator: Calculator, atoms: Atoms) -> Facts:
    """How many partitions ours has."""
    return {"partitions": calculator.plan(atoms).n_partitions} if hasattr(calculator, "plan") else {}


def distmlip(model: str, **options: Any) -> Calculator:
    """Ours."""
    from native_models import NATIVE_MODELS

    from distmlip import DistCalculator

    return DistCalculator(NATIVE_MODELS[model](), devices="cpu", **options)


def original(model: str, dtype: str) -> Calculator:
    """The calculator of the model's own package."""
    import torch
    from native_models import NATIVE_MODELS

    from distmlip.models import adapter_for

    return adapter_for(NATIVE_MODELS[model](), getattr(torch, dtype)).original()


def symmetrix(model: str, **options: Any) -> Calculator:
    """symmetrix-xl, with the path of a model that its own tool has extracted."""
    from symmetrix import Symmetrix

    return Symmetrix(model, **options)


CALCULATORS = {"distmlip": distmlip, "original": original, "symmetrix-xl": symmetrix}

if __name__ == "__main__":
    main()
