"""What trajectories are written in for other programs.

LAMMPS and AMBER know cells whose first vector is along x and whose second one is in the plane of x and y:
there all that has a direction is turned with the cell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.cell import Cell
from ase.data import chemical_symbols
from ase.io import write
from ase.io.trajectory import Trajectory
from numpy.typing import NDArray

from distmlip.cell import with_vacuum
from distmlip.errors import InvalidInputError

Append = Callable[[Atoms], None]
FS_PER_PS = 1000.0
ANGSTROM_PER_PS = FS_PER_PS * units.fs
"""Of ASE's unit of velocity."""
KCAL_PER_MOL = units.mol / units.kcal
"""Of an eV."""
MARGIN = 1.0
"""Å around atoms, in directions that have no cell vector."""


@contextmanager
def _extended_xyz(path: Path, _: Atoms) -> Iterator[Append]:
    with path.open("w") as file:
        yield lambda atoms: write(file, atoms, format="extxyz")


@contextmanager
def _ase(path: Path, _: Atoms) -> Iterator[Append]:
    with Trajectory(path, "w") as file:
        yield file.write


@contextmanager
def any_other(path: Path, name: str) -> Iterator[Append]:
    """What ASE finds by the name's ending, which that of the draft ends in, too."""

    def append(atoms: Atoms) -> None:
        try:
            write(path, atoms)
        except OSError:
            raise
        except Exception as error:  # whatever writers of many formats raise
            raise InvalidInputError(
                f"{name}: {error}; give a name that ends in {', '.join(WRITERS)}, or in another way that ASE "
                "knows and can write these atoms in"
            ) from error

    yield append


@dataclass(frozen=True)
class _Turned:
    """A frame with its cell as those programs know it."""

    cell: NDArray[np.float64]
    """(3, 3) Å, lower triangular, with a positive diagonal."""
    pbc: NDArray[np.bool_]
    origin: NDArray[np.float64]
    """(3,) Å, a corner of the cell."""
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64] | None
    """ASE's unit."""
    forces: NDArray[np.float64] | None
    """eV/Å"""


def _turned(atoms: Atoms) -> _Turned:
    missing = ~atoms.cell.any(1)
    whole = with_vacuum(atoms, missing, MARGIN).cell if missing.any() else atoms.cell
    pbc, origin = atoms.pbc, np.zeros(3)
    for axis in np.flatnonzero(missing):
        normal = whole[axis] / np.linalg.norm(whole[axis])
        origin += ((atoms.positions @ normal).min(initial=np.inf) - MARGIN / 2) * normal
    if np.linalg.det(whole) < 0:  # the same lattice, with its first two vectors the other way round
        order = [1, 0, 2]
        whole, pbc = Cell(whole[order]), pbc[order]
    cell, turn = whole.standard_form()
    velocities = atoms.get_velocities() if "momenta" in atoms.arrays else None
    forces = atoms.calc.results.get("forces")
    return _Turned(
        cell=cell.array,
        pbc=pbc,
        origin=origin @ turn.T,
        positions=atoms.positions @ turn.T,
        velocities=None if velocities is None else velocities @ turn.T,
        forces=None if forces is None else forces @ turn.T,
    )


@contextmanager
def _lammps(path: Path, first: Atoms) -> Iterator[Append]:
    """https://docs.lammps.org/dump.html, in its units "metal"."""
    _, kinds = np.unique(first.numbers, return_inverse=True)
    starts = [
        f"{k} {kind + 1} {chemical_symbols[number]}"
        for k, (kind, number) in enumerate(zip(kinds, first.numbers, strict=True), 1)
    ]
    with path.open("w") as file:
        file.write("ITEM: UNITS\nmetal\n")

        def append(atoms: Atoms) -> None:
            turned = _turned(atoms)
            names, values = ["xu", "yu", "zu"], [turned.positions]
            if turned.velocities is not None:
                names += ["vx", "vy", "vz"]
                values.append(turned.velocities * ANGSTROM_PER_PS)
            if turned.forces is not None:
                names += ["fx", "fy", "fz"]
                values.append(turned.forces)
            file.write(
                f"ITEM: TIME\n{atoms.info.get('time', 0.0) / FS_PER_PS:.12g}\n"
                f"ITEM: TIMESTEP\n{atoms.info['step']}\nITEM: NUMBER OF ATOMS\n{len(atoms)}\n"
            )
            file.writelines(_lammps_box(turned))
            file.write(f"ITEM: ATOMS id type element {' '.join(names)}\n")
            row = " ".join(["%s", *["%.8g"] * len(names)]) + "\n"
            rows = np.hstack(values).tolist()
            file.writelines(row % (start, *numbers) for start, numbers in zip(starts, rows, strict=True))

        yield append


def _lammps_box(turned: _Turned) -> Iterator[str]:
    """Bounds are those of a box around the cell: https://docs.lammps.org/Howto_triclinic.html"""
    (lx, _, _), (xy, ly, _), (xz, yz, lz) = turned.cell
    low = np.array([min(0.0, xy, xz, xy + xz), min(0.0, yz), 0.0]) + turned.origin
    high = np.array([lx + max(0.0, xy, xz, xy + xz), ly + max(0.0, yz), lz]) + turned.origin
    yield f"ITEM: BOX BOUNDS xy xz yz {' '.join('pp' if of_axis else 'ff' for of_axis in turned.pbc)}\n"
    for bounds in zip(low, high, (xy, xz, yz), strict=True):
        yield "{:.12g} {:.12g} {:.12g}\n".format(*bounds)


AMBER_AXES = {"frame": None, "spatial": 3, "cell_spatial": 3, "cell_angular": 3, "label": 5}
AMBER_VALUES: dict[str, tuple[str, tuple[str, ...], str]] = {
    "time": ("f4", ("frame",), "picosecond"),
    "cell_lengths": ("f8", ("frame", "cell_spatial"), "angstrom"),
    "cell_angles": ("f8", ("frame", "cell_angular"), "degree"),
    "coordinates": ("f4", ("frame", "atom", "spatial"), "angstrom"),
    "velocities": ("f4", ("frame", "atom", "spatial"), "angstrom/picosecond"),
    "forces": ("f4", ("frame", "atom", "spatial"), "kilocalorie/mole/angstrom"),
}
"""Kind, axes and unit of what each frame has."""


@contextmanager
def _amber(path: Path, first: Atoms) -> Iterator[Append]:
    """https://ambermd.org/netcdf/nctraj.xhtml, with atomic numbers as ``atom_types``, which OVITO reads."""
    try:
        from netCDF4 import Dataset
    except ImportError as error:
        raise InvalidInputError(f"NetCDF needs the package netCDF4 ({error}); pip install netCDF4") from error
    with Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        version = metadata.version("distmlip")
        file.setncatts({"Conventions": "AMBER", "ConventionVersion": "1.0"})
        file.setncatts({"program": "distmlip", "programVersion": version})
        for name, size in {**AMBER_AXES, "atom": len(first)}.items():
            file.createDimension(name, size)
        file.createVariable("spatial", "S1", ("spatial",))[:] = list("xyz")
        file.createVariable("cell_spatial", "S1", ("cell_spatial",))[:] = list("abc")
        labels = [list(name.ljust(5)) for name in ("alpha", "beta", "gamma")]
        file.createVariable("cell_angular", "S1", ("cell_angular", "label"))[:] = labels
        file.createVariable("atom_types", "i4", ("atom",))[:] = first.numbers
        names = [name for name, value in _amber_values(first).items() if value is not None]
        for name in names:
            kind, axes, unit = AMBER_VALUES[name]
            file.createVariable(name, kind, axes).units = unit
        n_frames = count()

        def append(atoms: Atoms) -> None:
            k, values = next(n_frames), _amber_values(atoms)
            for name in names:
                file[name][k] = values[name]

        yield append


def _amber_values(atoms: Atoms) -> dict[str, Any]:
    turned = _turned(atoms)
    lengths_and_angles = Cell(turned.cell).cellpar()
    return {
        "time": atoms.info.get("time", 0.0) / FS_PER_PS,
        "cell_lengths": np.where(turned.pbc, lengths_and_angles[:3], 0.0),  # 0: not periodic
        "cell_angles": lengths_and_angles[3:],
        "coordinates": turned.positions - turned.origin,
        "velocities": None if turned.velocities is None else turned.velocities * ANGSTROM_PER_PS,
        "forces": None if turned.forces is None else turned.forces * KCAL_PER_MOL,
    }


WRITERS: dict[str, Callable[[Path, Atoms], AbstractContextManager[Append]]] = {
    ".xyz": _extended_xyz,
    ".extxyz": _extended_xyz,
    ".lammpstrj": _lammps,
    ".dump": _lammps,
    ".nc": _amber,
    ".traj": _ase,
}
"""By the endings of names."""
