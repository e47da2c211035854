"""Atoms of a system that no process knows as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray


@dataclass(frozen=True)
class OwnAtoms:
    """The atoms that this rank owns, as somebody else has chosen, of a system that all ranks share."""

    atoms: Atoms
    """With the cell of the whole system. There may be none."""
    n_total: int
    """Atoms of all ranks."""
    sample: Atoms
    """Some atom of each element of the whole system, the same on all ranks."""
    tags: NDArray[np.int64] | None
    """(n_atoms) the same for an atom on every rank, whoever owns it. None: atoms, and those that may be near
    them, are those of the call before, on all ranks alike."""
    near: NDArray[np.int64] | None
    """(n_near) tags of all atoms within cutoff and skin of these, repeated or these themselves, too."""

    def __len__(self) -> int:
        """Of the whole system."""
        return self.n_total


def sample_of(atoms: Atoms | OwnAtoms) -> Atoms:
    """Atoms that say which elements there are."""
    return atoms.sample if isinstance(atoms, OwnAtoms) else atoms
