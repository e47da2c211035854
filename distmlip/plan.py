"""What a calculation will do, before it does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How a system is distributed. Lists have one entry per partition.

    ``print(plan)`` shows a table.
    """

    n_partitions: int
    method: str
    """How the cut was made: ``"slab"`` or ``"bisection"``."""
    recompute: bool
    owned: list[int]
    """Atoms that the partition computes."""
    halo: list[int]
    """Atoms of other partitions whose features it reads."""
    edges: list[int]
    """Directed edges whose receiver it owns."""
    bonds: list[int]
    """Undirected bonds that it holds; 0 for models without angles. A cut bond counts in both partitions."""
    angles: list[int]
    """Angles whose centre atom it owns; 0 for models without angles."""
    bytes_per_exchange: Mapping[str, list[int]]
    """Bytes that each partition receives, for every exchange of the forward sweep; the backward sweep
    sends as many back."""

    def __str__(self) -> str:
        header = ["partition", "owned", "halo", "edges", "bonds", "angles", "bytes in"]
        received = [sum(column) for column in zip(*self.bytes_per_exchange.values(), strict=True)]
        received = received or [0] * self.n_partitions
        columns = [self.owned, self.halo, self.edges, self.bonds, self.angles, received]
        rows = [[str(p), *(f"{column[p]:,}" for column in columns)] for p in range(self.n_partitions)]
        rows.append(["sum", *(f"{sum(column):,}" for column in columns)])
        widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
        lines = [
            "  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in [header, *rows]
        ]
        title = (
            f"{self.n_partitions} partitions by {self.method}, recompute {'on' if self.recompute else 'off'}"
        )
        return "\n".join([title, *lines])
