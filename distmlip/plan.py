"""What a calculation will do, before it does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    @property
    def title(self) -> str:
        """The choices that hold for all partitions, in one line."""
        recompute = "on" if self.recompute else "off"
        return f"{self.n_partitions} partitions by {self.method}, recompute {recompute}"

    @property
    def bytes_received(self) -> list[int]:
        """By each partition in one forward sweep: all exchanges together."""
        exchanges = self.bytes_per_exchange.values()
        return [sum(exchange[p] for exchange in exchanges) for p in range(self.n_partitions)]

    def __str__(self) -> str:
        header = ["partition", "owned", "halo", "edges", "bonds", "angles", "bytes in"]
        columns = [self.owned, self.halo, self.edges, self.bonds, self.angles, self.bytes_received]
        rows = [[str(p), *(f"{column[p]:,}" for column in columns)] for p in range(self.n_partitions)]
        rows.append(["sum", *(f"{sum(column):,}" for column in columns)])
        return "\n".join([self.title, *aligned(header, rows)])


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table for the terminal, every column to the right."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in [header, *rows]]
