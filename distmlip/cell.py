"""The volume that a stress refers to, and cells with vacuum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ase import Atoms


def volume_of(atoms: Atoms) -> float:
    """The volume of the cell as given, in Å^3; 0 if its vectors are coplanar but for rounding."""
    volume = abs(float(np.linalg.det(atoms.cell.array)))
    return volume if volume > 1e-12 * float(np.prod(atoms.cell.lengths())) else 0.0


def as_originals_need(atoms: Atoms) -> Atoms:
    """The same crystal or molecule for calculators that compute in single precision, or take the volume to be
    the determinant of the cell: centred, and in a right-handed cell."""
    moved: Atoms = atoms.copy()
    moved.positions -= moved.positions.mean(axis=0)
    if np.linalg.det(atoms.cell.array) < 0:
        order = [1, 0, 2]
        moved.set_cell(atoms.cell.array[order])
        moved.pbc = atoms.pbc[order]
    return moved


def with_vacuum(atoms: Atoms, directions: NDArray[np.bool_], margin: float) -> Atoms:
    """The same atoms with other cell vectors in these ``directions`` (3,): normal to all others, and as long
    as the atoms extend, plus ``margin`` in Å."""
    boxed = atoms.copy()
    boxed.cell[directions] = 0.0
    cell = boxed.cell.complete().array
    # A completed vector is of unit length and normal to all others.
    cell[directions] *= (np.ptp(atoms.positions @ cell[directions].T, axis=0) + margin)[:, None]
    boxed.set_cell(cell)
    return boxed
