"""Every MPI rank: runs of LAMMPS that conserve energy, change the box, and go on from a restart file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from support.lammps_boxes import WORLD, atoms_of, lammps_of
from support.launching import PASSED
from support.mace_models import narrow

from distmlip import DistCalculator
from distmlip.lammps import couple

MODEL = narrow()
OPTIONS: dict[str, Any] = {"devices": "cpu", "dtype": "float64"}


def crystal() -> Atoms:
    atoms = bulk("MnO", "rocksalt", a=4.44, cubic=True) * (2, 2, 2)
    MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(0))
    return atoms


def set_velocities(lmp: Any, atoms: Atoms) -> None:
    """Å/ps"""
    n = lmp.extract_setting("nlocal")
    ids = np.array(lmp.numpy.extract_atom("id", nelem=n))
    lmp.numpy.extract_atom("v", nelem=n).reshape(n, 3)[:] = (atoms.get_velocities() * 1000 * units.fs)[
        ids - 1
    ]


def conserves() -> None:
    """As ASE's integrator does, along the same trajectory as long as rounding does not tell them apart."""
    atoms, steps = crystal(), 500
    lmp = lammps_of(atoms)
    with couple(lmp, MODEL, ["Mn", "O"], **OPTIONS):
        set_velocities(lmp, atoms)
        lmp.commands_string("timestep 0.001\nfix nve all nve\nthermo_style custom step etotal\nrun 0")
        before = lmp.get_thermo("etotal")
        lmp.command("run 20")
        atoms.calc = DistCalculator(MODEL, ranks=False, **OPTIONS)
        VelocityVerlet(atoms, 1.0 * units.fs).run(20)
        there = atoms_of(lmp, "x", 3) - atoms.positions
        there -= np.round(there @ np.linalg.inv(atoms.cell.array)) @ atoms.cell.array
        assert np.abs(there).max() < 1e-6, np.abs(there).max()  # constants of units differ in the ninth digit
        lmp.command(f"run {steps - 20}")
        drift = abs(lmp.get_thermo("etotal") - before) / len(atoms)
        assert drift < 1e-4, drift


def goes_on(folder: Path) -> None:
    """NPT, and the same from LAMMPS's own restart file, to the last bit."""
    commands = (
        "timestep 0.001",
        "fix npt all npt temp 300 300 0.1 iso 0 0 1.0",
        "thermo_style custom step etotal vol",
    )
    restart = folder / "restart"
    lmp = lammps_of(crystal())
    with couple(lmp, MODEL, ["Mn", "O"], **OPTIONS):
        set_velocities(lmp, crystal())
        lmp.commands_string("\n".join(commands))
        lmp.commands_string(f"run 10\nwrite_restart {restart}\nrun 10")
        expected = atoms_of(lmp, "x", 3), lmp.get_thermo("vol")
        assert abs(expected[1] - crystal().get_volume()) > 1e-3
    other = lammps_of(crystal()[:1])
    other.commands_string(f"clear\nread_restart {restart}")
    with couple(other, MODEL, ["Mn", "O"], **OPTIONS):
        other.commands_string("\n".join(commands))
        other.command("run 10")
        there = atoms_of(other, "x", 3)
        np.testing.assert_array_equal(there, expected[0])
        assert other.get_thermo("vol") == expected[1]


CHANGES = (
    "change_box all triclinic\nchange_box all x scale 1.01 remap",
    "fix deform all deform 1 xy erate 0.5 remap x\nrun 3\nunfix deform",
    "group some id 1:5\ndelete_atoms group some compress no",
    "region all block INF INF INF INF INF INF\nfix fly all evaporate 2 1 all 4711\nrun 4\nunfix fly",
    "minimize 0 1e-3 5 10",
    "displace_atoms all move 3 0 0",
)


def changes() -> None:
    """Commands that change atoms, their number or the box between runs and in them."""
    lmp = lammps_of(crystal())
    with couple(lmp, MODEL, ["Mn", "O"], **OPTIONS) as coupling:
        lmp.commands_string("timestep 0.001\nfix nve all nve\nrun 2")
        for commands in CHANGES:
            lmp.commands_string(f"{commands}\nrun 1")
            check_forces(lmp, commands)
        assert coupling.plan().n_partitions >= WORLD.size


def check_forces(lmp: Any, what: str) -> None:
    n = lmp.extract_setting("nlocal")
    x, f = (
        np.concatenate(WORLD.allgather(np.array(lmp.numpy.extract_atom(name, nelem=n)).reshape(n, 3)))
        for name in ("x", "f")
    )
    types = np.concatenate(WORLD.allgather(np.array(lmp.numpy.extract_atom("type", nelem=n))))
    low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
    edges = np.array(high) - np.array(low)
    cell = [[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]]
    atoms = Atoms(np.array([0, 25, 8])[types], positions=x, cell=cell, pbc=[bool(of) for of in periodic])
    atoms.calc = DistCalculator(MODEL, ranks=False, **OPTIONS)
    limit = 1e-9 * max(1.0, np.abs(f).max())
    assert len(x) == lmp.get_natoms()
    assert np.abs(atoms.get_forces() - f).max() < limit, what


def main() -> None:
    conserves()
    goes_on(Path(sys.argv[1]))
    changes()
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
