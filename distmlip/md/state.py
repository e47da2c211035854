"""The state of a run, in a checkpoint and back: atoms, driver, random numbers, and the calculator's graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.io.jsonio import encode
from ase.optimize.optimize import BaseDynamics

from distmlip._native import core
from distmlip.calculator import DistCalculator
from distmlip.errors import InvalidInputError
from distmlip.md.checkpoints import Checkpoint
from distmlip.md.drivers import restore, state_of

_OF_DRIVER = "driver."


def captured(
    atoms: Atoms, driver: BaseDynamics, random: np.random.Generator | None, watched: Mapping[str, Any]
) -> Checkpoint:
    """All that the next step depends on. ``watched``: what later states are compared with, for JSON."""
    calculator = atoms.calc
    arrays = {
        "numbers": atoms.numbers,
        "masses": atoms.get_masses(),
        "pbc": atoms.pbc,
        "positions": atoms.positions,
        "momenta": atoms.get_momenta(),
        "cell": atoms.cell.array,
        **{f"{_OF_DRIVER}{name}": value for name, value in state_of(driver).items()},
    }
    content: dict[str, Any] = {"environment": _environment(), "chosen": None, "watched": watched}
    content["constraints"] = encode(atoms.constraints)
    if random is not None:
        content["random"] = random.bit_generator.state
    if isinstance(calculator, DistCalculator) and calculator.graph_origin is not None:
        arrays["origin"], arrays["origin_cell"] = calculator.graph_origin
        content["chosen"] = calculator.chosen
    return Checkpoint(driver.nsteps, arrays, content)


def require_same_atoms(atoms: Atoms, found: Checkpoint) -> None:
    """
    Raises:
        InvalidInputError: they are not those that the run began with.
    """
    numbers = found.arrays["numbers"]
    if not np.array_equal(numbers, atoms.numbers):
        raise InvalidInputError(
            f"the run has {len(numbers)} atoms, these are {len(atoms)} or of other elements; resume with the "
            "structure that it began with"
        )
    same = {
        "masses": np.array_equal(found.arrays["masses"], atoms.get_masses()),
        "periodic boundaries": np.array_equal(found.arrays["pbc"], atoms.pbc),
        "constraints": found.content["constraints"] == encode(atoms.constraints),
    }
    if differing := [what for what, is_same in same.items() if not is_same]:
        raise InvalidInputError(
            f"the run's atoms have other {' and '.join(differing)} than these; resume with the structure "
            "that it began with"
        )


def restore_atoms(atoms: Atoms, random: np.random.Generator | None, found: Checkpoint) -> str | None:
    """Atoms, random numbers and the calculator's graph; gives what may change results in their last bits.

    The calculator becomes one that computes these atoms as before, whatever it would choose now.
    """
    arrays, calculator = found.arrays, atoms.calc
    atoms.set_cell(arrays["cell"])
    atoms.positions[:] = arrays["positions"]
    atoms.arrays["momenta"] = arrays["momenta"].copy()  # as they are, whatever constraints say
    if random is not None:
        random.bit_generator.state = found.content["random"]
    if not isinstance(calculator, DistCalculator) or found.content["chosen"] is None:
        return None
    before, now = found.content["environment"], _environment()
    chosen = dict(found.content["chosen"])
    if before != now:  # kernels of one processor are not always there on another
        chosen = {name: value for name, value in chosen.items() if name not in ("kernels", "radial")}
    atoms.calc = calculator.with_options(**chosen)
    origin = atoms.copy()
    origin.set_cell(arrays["origin_cell"])
    origin.positions[:] = arrays["origin"]
    atoms.calc.plan(origin)
    return None if before == now else f"other than before: {now}, not {before}; last digits may differ"


def atoms_in(found: Checkpoint) -> Atoms:
    """With velocities, as after that step."""
    arrays = found.arrays
    atoms = Atoms(arrays["numbers"], arrays["positions"], cell=arrays["cell"], pbc=arrays["pbc"])
    atoms.set_masses(arrays["masses"])
    atoms.set_momenta(arrays["momenta"])
    atoms.info["step"] = found.step
    return atoms


def restore_driver(driver: BaseDynamics, found: Checkpoint) -> None:
    """What it had behind this step."""
    state = {
        name.removeprefix(_OF_DRIVER): of for name, of in found.arrays.items() if name.startswith(_OF_DRIVER)
    }
    restore(driver, state)
    driver.nsteps = found.step


def _environment() -> dict[str, Any]:
    """What the last bits of results depend on, besides the model and its options."""
    return {"instruction set": core.simd(), "threads": torch.get_num_threads()}
