"""Whether ranks that each run the script calculate the same thing: rank 0's atoms and model count, so they
have to be everybody's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distmlip.ranks.identity import ALONE

if TYPE_CHECKING:
    from ase import Atoms

SAME = 1e-6
"""Å: positions and cells that differ by no more are the same, up to how they were computed."""

DRIFT = 0.2
"""Å: ranks with random thermostats of their own may drift apart by as much after the first calculation."""

REMEDY = f"all ranks calculate one system together; {ALONE}, as a structure for each rank needs"


Content: TypeAlias = tuple[Any, ...]
"""Further arguments of what ranks do together."""


@dataclass(frozen=True)
class Call:
    """What a rank is about to do together with the others."""

    what: str
    number: int
    """Of the calculator, in the order of their first calculations."""
    content: Content
    """Further arguments."""
    model: str
    """Digest of the calculator's model and options; empty where they were compared before."""
    atoms: Atoms
    system: Mapping[str, Tensor]
    """What the model reads besides positions and types."""


def complaint(rank: int, mine: Call, first: Call, tolerance: float) -> str | None:
    """What this rank has that differs from rank 0's; None if nothing does. ``tolerance``: Å."""
    what = _difference_of_calls(mine, first) or _difference_of_atoms(mine, first, tolerance)
    return f"{what} on rank {rank} than on rank 0; {REMEDY}" if what else None


def distance(mine: Atoms, first: Atoms) -> float:
    """Å: the most that an atom or a cell vector differs by, of atoms that are as many; infinite where one of
    them is no number and the other is."""
    differences = [
        _largest(np.asarray(one), np.asarray(other))
        for one, other in ((mine.positions, first.positions), (mine.cell.array, first.cell.array))
    ]
    return max(differences)


def _difference_of_calls(mine: Call, first: Call) -> str | None:
    if mine.what != first.what:
        return f"another call, {mine.what} instead of {first.what},"
    if mine.number != first.number:
        return (
            f"another calculator, number {mine.number} of those used so far instead of {first.number} "
            "(calculators in threads need distmlip run, which keeps one order),"
        )
    if mine.model != first.model:
        return "another model, or other options of the calculator,"
    return "other arguments" if mine.content != first.content else None


def _difference_of_atoms(mine: Call, first: Call, tolerance: float) -> str | None:
    own, others = mine.atoms, first.atoms
    if len(own) != len(others):
        return f"another number of atoms, {len(own)} instead of {len(others)},"
    if not np.array_equal(own.numbers, others.numbers):
        atom = int(np.argmax(own.numbers != others.numbers))
        return f"another type of atom {atom}, {own.numbers[atom]} instead of {others.numbers[atom]},"
    if not np.array_equal(own.pbc, others.pbc):
        return f"other periodic directions, {own.pbc.tolist()} instead of {others.pbc.tolist()},"
    found = distance(own, others)
    if found > tolerance:
        drift = ", with random numbers of the same seed on all ranks" if tolerance == DRIFT else ""
        return f"positions or a cell that differ by {found:.3g} Ang (at most {tolerance:g} Ang may be{drift})"
    same = mine.system.keys() == first.system.keys() and all(
        torch.equal(mine.system[name], first.system[name]) for name in mine.system
    )
    return None if same else "another charge, spin, or what else the model reads,"


def _largest(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    with np.errstate(invalid="ignore"):
        difference = np.abs(one - other)
    difference[(one == other) | (np.isnan(one) & np.isnan(other))] = 0.0  # also where both are infinite
    return float(np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(initial=0.0))


def digest_of(
    models: Sequence[torch.nn.Module],
    options: Mapping[str, Any],
    with_values: bool = True,
    with_buffers: bool = False,
) -> str:
    """A short name of models and options: the same on ranks that have the same.

    ``with_values``: of the parameters; else only names and shapes count, as of buffers, which may be computed
    anew on each machine; ``with_buffers``: theirs, too. Devices are each rank's.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, value in options.items():
        if name == "devices":
            continue
        digest.update(f"{name}={_plain(value)}\n".encode())
    for model in models:
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            counts = with_buffers or (with_values and isinstance(tensor, torch.nn.Parameter))
            if counts and tensor.layout is torch.strided:
                values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
                digest.update(values.numpy().data)
    return digest.hexdigest()


def _plain(value: object) -> str:
    """Only what is the same for equal values in another process."""
    if isinstance(value, str | int | float | bool | torch.dtype | None):
        return repr(value)
    if isinstance(value, np.ndarray | list | tuple):
        return repr(np.asarray(value).tolist())
    return type(value).__qualname__
