"""What a calculation will do, before it does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distmlip._native import core


@dataclass(frozen=True)
class Memory:
    """Bytes of one device."""

    expected: int
    """At the peak of a step."""
    usable: int
    """What is free now, less a margin."""
    most_atoms: int
    """About how many atoms of this kind of system would fit, with as many partitions as that takes."""


@dataclass(frozen=True)
class Received:
    """What one exchange brings."""

    stage: str
    """Before which it happens."""
    kind: str
    """``"halo"``, ``"fold"``, ``"add"``, ``"swap"`` or ``"all_sum"``."""
    name: str
    """Of the tensor."""
    n_bytes: list[int]
    """That each partition receives."""


@dataclass(frozen=True)
class Plan:
    """How a system is distributed. Lists have one entry per partition.

    ``print(plan)`` shows a table.
    """

    n_partitions: int
    method: str
    """How the cut was made: ``"slab"`` or ``"bisection"``."""
    recompute: core.Recompute
    """Whether the inside of stages is computed again in the backward sweep: ``never`` (false), ``stages`` or
    ``host``, where what they were given waits in host memory."""
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
    exchanges: list[Received]
    """Of the forward sweep; the backward sweep sends as many bytes back."""
    why: str = ""
    """Why there are so many partitions, and why their inside is kept or computed again."""
    kernels: str = ""
    """What evaluates the inside of stages, and why."""
    memory: Mapping[str, Memory] = field(default_factory=dict)
    """Of each device, as expected; empty where no cost model was needed."""
    seconds: tuple[float, float] | None = None
    """Of the stages of one step, forward and backward, as expected from small probes."""

    @property
    def title(self) -> str:
        """The choices that hold for all partitions, in one line."""
        return f"{self.n_partitions} partitions by {self.method}, {recompute_in_words(self.recompute)}"

    @property
    def bytes_received(self) -> list[int]:
        """By each partition in one forward sweep: all exchanges together."""
        return self._sum(self.exchanges)

    def bytes_before(self, stage: str) -> list[int]:
        """That each partition receives in the exchanges before a stage."""
        return self._sum([exchange for exchange in self.exchanges if exchange.stage == stage])

    def _sum(self, exchanges: Sequence[Received]) -> list[int]:
        return [sum(exchange.n_bytes[p] for exchange in exchanges) for p in range(self.n_partitions)]

    def __str__(self) -> str:
        header = ["partition", "owned", "halo", "edges", "bonds", "angles", "bytes in"]
        columns = [self.owned, self.halo, self.edges, self.bonds, self.angles, self.bytes_received]
        rows = [[str(p), *(f"{column[p]:,}" for column in columns)] for p in range(self.n_partitions)]
        rows.append(["sum", *(f"{sum(column):,}" for column in columns)])
        notes = [note for note in (self.why, self.kernels) if note]
        for device, memory in self.memory.items():
            notes.append(
                f"{device}: {_gigabytes(memory.expected)} expected of {_gigabytes(memory.usable)} that may "
                f"be used; about {memory.most_atoms:,} such atoms would fit"
            )
        if self.seconds is not None:
            notes.append("stages expected to take {:.2g} s forward, {:.2g} s backward".format(*self.seconds))
        return "\n".join([self.title, *notes, *aligned(header, rows)])


def recompute_in_words(recompute: core.Recompute) -> str:
    """Of a plan or a choice."""
    words = {"never": "off", "stages": "on", "host": "from host memory"}
    return f"recompute {words[recompute.name]}"


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table for the terminal, every column to the right."""
    widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
    return ["  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in [header, *rows]]
