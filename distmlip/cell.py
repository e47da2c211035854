"""The volume that a stress refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


def volume_of(atoms: Atoms) -> float:
    """The volume of the cell as given, in Å^3; 0 if its vectors are coplanar but for rounding."""
    volume = abs(float(np.linalg.det(atoms.cell.array)))
    return volume if volume > 1e-12 * float(np.prod(atoms.cell.lengths())) else 0.0
