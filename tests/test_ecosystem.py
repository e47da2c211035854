"""What people drive a calculator with: each gives over partitions what it gives with the undivided original.

Runs are short: what differs at all differs in the first steps, by far more than rounding.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator
from ase.calculators.lj import LennardJones
from ase.calculators.mixing import LinearCombinationCalculator, SumCalculator
from ase.calculators.socketio import SocketClient, SocketIOCalculator
from ase.constraints import FixAtoms, FixBondLengths, FixCom, FixSymmetry
from ase.filters import ExpCellFilter, FrechetCellFilter, StrainFilter, UnitCellFilter
from ase.md.andersen import Andersen
from ase.md.bussi import Bussi
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.nptberendsen import Inhomogeneous_NPTBerendsen, NPTBerendsen
from ase.md.nvtberendsen import NVTBerendsen
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB, DimerControl, MinModeAtoms, MinModeTranslate
from ase.optimize import BFGS, FIRE, FIRE2, LBFGS, BFGSLineSearch, GPMin, LBFGSLineSearch, MDMin
from ase.optimize.basin import BasinHopping
from ase.optimize.precon import PreconLBFGS
from ase.optimize.sciopt import SciPyFminCG
from ase.phonons import Phonons
from ase.vibrations import Vibrations
from support.chgnet_models import build_narrow, published
from support.mace_models import narrow
from support.structures import oxide_cell, rattled
from support.workers import energy_of

from distmlip import DistCalculator
from distmlip.errors import InvalidInputError
from distmlip.models import adapter_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning"),
]

FS, STEPS = units.fs, 6
KT = 300 * units.kB

Drive = Callable[[Atoms, Path], Any]
"""Does something with atoms that have a calculator, in an empty folder; gives numbers to compare."""


MODELS: dict[str, Callable[[], Any]] = {"chgnet": build_narrow, "mace": narrow}
"""CHGNet runs by its own modules, MACE by native stages."""


@cache
def model(family: str = "chgnet") -> Any:
    return MODELS[family]()


def ours(partitions: int = 3, family: str = "chgnet") -> DistCalculator:
    kernels = "fused" if family == "mace" else "auto"  # which raises where it would fall back
    return DistCalculator(
        model(family), partitions=partitions, dtype="float64", devices="cpu", kernels=kernels
    )


def original(family: str = "chgnet") -> Calculator:
    return adapter_for(model(family), torch.float64).original()


def small() -> Atoms:
    return rattled(oxide_cell(), 0.05)


# ---- dynamics


def dynamics(make: Callable[[Atoms], Any]) -> Drive:
    def drive(atoms: Atoms, folder: Path) -> Any:
        MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
        make(atoms).run(STEPS)
        return np.vstack([atoms.positions, atoms.get_velocities(), atoms.cell.array])

    return drive


def seeded() -> np.random.RandomState:
    return np.random.RandomState(1)


DYNAMICS = {
    "VelocityVerlet": lambda a: VelocityVerlet(a, FS),
    "Langevin": lambda a: Langevin(a, FS, temperature_K=300, friction=0.02, rng=seeded()),
    "LangevinBAOAB": lambda a: LangevinBAOAB(a, FS, temperature_K=300, T_tau=50 * FS, rng=seeded()),
    "Andersen": lambda a: Andersen(a, FS, temperature_K=300, andersen_prob=0.1, rng=seeded()),
    "Bussi": lambda a: Bussi(a, FS, temperature_K=300, taut=50 * FS, rng=seeded()),
    "NVTBerendsen": lambda a: NVTBerendsen(a, FS, temperature_K=300, taut=50 * FS),
    "NoseHooverChainNVT": lambda a: NoseHooverChainNVT(a, FS, temperature_K=300, tdamp=50 * FS),
    "NPTBerendsen": lambda a: NPTBerendsen(
        a, FS, temperature_K=300, pressure_au=0.0, taut=50 * FS, taup=500 * FS, compressibility_au=0.3
    ),
    "Inhomogeneous_NPTBerendsen": lambda a: Inhomogeneous_NPTBerendsen(
        a, FS, temperature_K=300, pressure_au=0.0, taut=50 * FS, taup=500 * FS, compressibility_au=0.3
    ),
    "IsotropicMTKNPT": lambda a: IsotropicMTKNPT(
        a, FS, temperature_K=300, pressure_au=0.0, tdamp=50 * FS, pdamp=500 * FS
    ),
    "MTKNPT": lambda a: MTKNPT(a, FS, temperature_K=300, pressure_au=0.0, tdamp=50 * FS, pdamp=500 * FS),
}

# ---- relaxation


def relaxation(make: Callable[..., Any], of: Callable[[Atoms], Any] = lambda atoms: atoms) -> Drive:
    def drive(atoms: Atoms, folder: Path) -> Any:
        make(of(atoms), logfile=None).run(fmax=1e-3, steps=STEPS)
        return np.vstack([atoms.positions, atoms.cell.array, atoms.get_forces()])

    return drive


OPTIMISERS = [
    BFGS, BFGSLineSearch, FIRE, FIRE2, GPMin, LBFGS, LBFGSLineSearch, MDMin, PreconLBFGS,
    SciPyFminCG,
]  # fmt: skip
FILTERS = [ExpCellFilter, FrechetCellFilter, StrainFilter, UnitCellFilter]


def basin_hopping(atoms: Atoms, folder: Path) -> Any:
    np.random.seed(0)  # noqa: NPY002  it draws from there
    BasinHopping(atoms, temperature=KT, dr=0.05, optimizer=FIRE, fmax=5.0, logfile=None).run(2)
    return atoms.positions


# ---- paths, modes and constraints


def band(atoms: Atoms, folder: Path) -> Any:
    images = [atoms.copy() for _ in range(4)]
    images[-1].positions[0] += [0.4, 0.1, 0.0]
    path = NEB(images, climb=True, method="improvedtangent", allow_shared_calculator=True)
    path.interpolate()
    for image in images:
        image.calc = atoms.calc
    FIRE(path, logfile=None).run(fmax=1e-3, steps=3)
    return np.vstack([image.positions for image in images])


def dimer(atoms: Atoms, folder: Path) -> Any:
    with DimerControl(logfile=None, max_num_rot=2, displacement_method="vector") as control:
        mode = MinModeAtoms(atoms, control, random_seed=1)
        mode.displace(displacement_vector=np.random.default_rng(2).normal(scale=0.02, size=(len(atoms), 3)))
        with MinModeTranslate(mode, logfile=None) as search:
            search.run(fmax=1e-3, steps=2)
    return atoms.positions


def vibrations(atoms: Atoms, folder: Path) -> Any:
    modes = Vibrations(atoms, indices=[0, 3], name=str(folder / "vibrations"))
    modes.run()
    return modes.get_vibrations().get_hessian_2d()


def phonons(atoms: Atoms, folder: Path) -> Any:
    modes = Phonons(atoms, atoms.calc, supercell=(1, 1, 2), name=str(folder / "phonons"))
    modes.indices = np.array([0])  # the others are as long again
    modes.run()
    files = sorted((folder / "phonons").glob("cache.*.json"))
    assert len(files) == 7
    return np.vstack([modes.cache[path.name.split(".")[1]]["forces"] for path in files])


def phonopy_forces(atoms: Atoms, folder: Path) -> Any:
    phonopy = pytest.importorskip("phonopy")
    cell = phonopy.structure.atoms.PhonopyAtoms(
        atoms.get_chemical_symbols(), cell=atoms.cell.array, scaled_positions=atoms.get_scaled_positions()
    )
    crystal = phonopy.Phonopy(
        cell, supercell_matrix=np.diag([1, 1, 2]), primitive_matrix=np.eye(3), is_symmetry=False
    )
    crystal.generate_displacements(distance=0.01, number_of_snapshots=3, random_seed=1)
    found = []
    for displaced in crystal.supercells_with_displacements:
        supercell = Atoms(
            displaced.symbols, scaled_positions=displaced.scaled_positions, cell=displaced.cell, pbc=True
        )
        found.append(atoms.calc.get_forces(supercell))
    return np.vstack(found)


def constrained(constrain: Callable[[Atoms], Any], drive: Drive) -> Drive:
    def driven(atoms: Atoms, folder: Path) -> Any:
        if constrain is FixSymmetry:
            atoms.positions[:] = oxide_cell().positions
        atoms.set_constraint(constrain(atoms))
        return drive(atoms, folder)

    return driven


CONSTRAINTS = {
    "FixAtoms": lambda atoms: FixAtoms([0, 5]),
    "FixCom": lambda atoms: FixCom(),
    "FixBondLengths": lambda atoms: FixBondLengths([(0, 4)]),
}

# ---- other calculators


def summed(atoms: Atoms, folder: Path) -> Any:
    atoms.calc = SumCalculator([atoms.calc, LennardJones(epsilon=0.05, sigma=1.7, rc=5.0)])
    return relaxation(FIRE, FrechetCellFilter)(atoms, folder)


def mixed(atoms: Atoms, folder: Path) -> Any:
    atoms.calc = LinearCombinationCalculator(
        [LennardJones(epsilon=0.05, sigma=1.7, rc=5.0), atoms.calc], [0.25, 0.75]
    )
    return dynamics(DYNAMICS["VelocityVerlet"])(atoms, folder)


def over_a_socket(atoms: Atoms, folder: Path) -> Any:
    """The driver here, the calculator in a thread at the other end."""
    name = f"distmlip-{os.getpid()}-{folder.name}"
    computing = atoms.copy()
    computing.calc = atoms.calc
    with SocketIOCalculator(unixsocket=name) as atoms.calc:
        client = threading.Thread(
            target=lambda: SocketClient(unixsocket=name).run(computing, use_stress=True), daemon=True
        )
        client.start()
        FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=3)
        state = np.vstack([atoms.positions, atoms.cell.array, atoms.get_forces()])
    client.join(30)
    assert not client.is_alive()
    return state


DRIVES: dict[str, Drive] = {
    **{f"dynamics: {name}": dynamics(make) for name, make in DYNAMICS.items()},
    **{f"relaxation: {kind.__name__}": relaxation(kind) for kind in OPTIMISERS},
    **{f"relaxation of the cell: {kind.__name__}": relaxation(FIRE, kind) for kind in FILTERS},
    "relaxation: basin hopping": basin_hopping,
    "NEB": band,
    "dimer": dimer,
    "vibrations": vibrations,
    "phonons": phonons,
    "phonopy": phonopy_forces,
    **{
        f"constraint: {name}": constrained(constraint, dynamics(DYNAMICS["VelocityVerlet"]))
        for name, constraint in CONSTRAINTS.items()
    },
    "constraint: FixSymmetry": constrained(FixSymmetry, relaxation(FIRE, FrechetCellFilter)),
    "mixing: sum": summed,
    "mixing: weights": mixed,
    "socket": over_a_socket,
}


@pytest.mark.filterwarnings("ignore")  # ASE's about small cells and older ways, chgnet's about constraints
@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize("name", DRIVES)
def test_what_drives_the_original_drives_partitions_alike(name: str, family: str, tmp_path: Path) -> None:
    states = []
    for where, calculator in (("ours", ours(family=family)), ("original", original(family))):
        atoms, folder = small(), tmp_path / where
        folder.mkdir()
        atoms.calc = calculator
        states.append(np.array(DRIVES[name](atoms, folder)))
    assert np.isfinite(states[1]).all()
    np.testing.assert_allclose(*states, atol=1e-7)


# ---- the published model


def test_energy_is_conserved_while_the_graph_is_rebuilt() -> None:
    atoms = oxide_cell() * (2, 1, 1)
    atoms.calc = DistCalculator(published("0.3.0"), partitions=3, skin=0.02)  # rebuilt every few steps
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=np.random.default_rng(0))
    totals = []
    run = VelocityVerlet(atoms, FS)
    run.attach(lambda: totals.append(atoms.get_total_energy() / len(atoms)))
    run.run(60)
    assert np.ptp(totals) < 2e-3


def test_a_relaxation_ends_at_the_same_energy_as_the_originals() -> None:
    energies = []
    network = published("0.3.0")
    for calculator in (DistCalculator(network, partitions=2), adapter_for(network, None).original()):
        atoms = rattled(oxide_cell(), 0.1)
        atoms.calc = calculator
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.03, steps=60)
        energies.append(atoms.get_potential_energy() / len(atoms))
    assert energies[0] == pytest.approx(energies[1], abs=1e-3)


# ---- processes


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_pool_of_processes_computes_what_this_one_does(start: str) -> None:
    expected = [energy_of(seed) for seed in range(4)]  # the workers of this process are running
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork beside threads
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(start)) as pool:
            found = list(pool.map(energy_of, range(4), timeout=240))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert energy_of(0) == pytest.approx(expected[0], abs=1e-9)


# ---- memory


def resident_megabytes() -> float:
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def growth(work: Callable[[int], object], rounds: int) -> float:
    """Megabytes by which the process grows in the second half of the rounds."""
    for k in range(rounds // 2):
        work(k)
    before = resident_megabytes()
    for k in range(rounds // 2, rounds):
        work(k)
    return resident_megabytes() - before


def test_steps_leave_no_memory_behind() -> None:
    atoms = small()
    atoms.calc = ours()

    def step(seed: int) -> None:
        atoms.rattle(0.02, seed=seed)
        atoms.get_stresses()

    assert growth(step, 160) < 15


def test_calculators_leave_no_memory_behind() -> None:
    def use(k: int) -> None:
        atoms = small()
        atoms.calc = ours(partitions=1 + k % 4)
        atoms.get_forces()

    assert growth(use, 60) < 15


def test_errors_leave_no_memory_behind() -> None:
    atoms = small()
    calculator = ours()

    def fail(k: int) -> None:
        broken = atoms.copy()
        broken.positions[k % len(atoms), 0] = np.nan
        with pytest.raises(InvalidInputError, match="nan"):
            calculator.get_forces(broken)
        calculator.get_forces(atoms)

    assert growth(fail, 100) < 15


# ---- arrays


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


ARRAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "read-only": read_only,
    "of the other byte order": lambda array: array.astype(array.dtype.newbyteorder()),
    "every second row": lambda array: np.repeat(array, 2, axis=0)[::2],
    "reversed twice": lambda array: array[::-1].copy()[::-1],
    "column by column": np.asfortranarray,
    "masked": np.ma.masked_array,
    "smaller numbers": lambda array: array.astype(np.int32 if array.dtype.kind == "i" else np.float32),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_read_however_they_lie_in_memory(name: str) -> None:
    atoms = small()
    atoms.positions[:] = atoms.positions.astype(np.float32)  # exact in both
    odd = atoms.copy()
    for key in ("positions", "numbers"):
        odd.arrays[key] = ARRAYS[name](atoms.arrays[key])
    for quantity in ("energy", "forces", "stress"):
        expected = ours().get_property(quantity, atoms)
        np.testing.assert_allclose(ours().get_property(quantity, odd), expected, atol=1e-10)
