"""What a native stage of SevenNet has computed so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from e3nn.o3 import Irreps
from torch import Tensor

from distmlip.models import e3nn_native as e3
from distmlip.models.native import Builder


@dataclass(frozen=True)
class Rows:
    """What a register of a stage has of each atom."""

    register: int
    irreps: Irreps
    convolved: e3.Convolved | e3.Expanded | None = None
    """Of rows that a convolution gave: ``irreps`` are its tensor product's, the register has a message."""
    divisor: float = 1.0
    """Of the same rows: what they are still to be divided by."""


@dataclass
class Values:
    """What a stage knows by the names that SevenNet's modules read and write."""

    builder: Builder
    rows: dict[str, Rows] = field(default_factory=dict)
    of_species: dict[str, Tensor] = field(default_factory=dict)
    """(n_species, width) instead, where they depend on the species only."""
    one: int | None = None
    """The register that has a one for every atom."""
