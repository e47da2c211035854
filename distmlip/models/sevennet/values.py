"""What a native stage of SevenNet has computed so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from distmlip.models.e3nn_stage import Rows, StageWriter


@dataclass
class Values:
    """What a stage knows by the names that SevenNet's modules read and write."""

    writer: StageWriter
    rows: dict[str, Rows] = field(default_factory=dict)
    of_species: dict[str, Tensor] = field(default_factory=dict)
    """(n_species, width) instead, where they depend on the species only."""
