"""What crosses partitions between two stages; csrc/exchange/exchange.h has the kinds and their adjoints."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from distmlip.models.local_graph import LocalGraph


@dataclass(frozen=True)
class Sizes:
    """Rows of the graphs of all partitions; one entry each."""

    owned: list[int]
    halo: list[int]
    edges: list[int]
    bonds: list[int]
    angles: list[int]
    cut: list[int]
    read: list[int]
    """Atoms that other partitions read."""


@dataclass(frozen=True)
class Exchange(ABC):
    """What crosses partitions before a stage. All kinds are differentiable: the backward sweep runs their
    adjoints. Partitions without atoms take part with zeros, so ``width`` must be right."""

    name: str
    width: tuple[int, ...]
    kind: ClassVar[str]
    needs_bonds: ClassVar[bool] = False

    @abstractmethod
    def shape(self, graph: LocalGraph) -> tuple[int, ...]:
        """Of what the partition gives."""

    @abstractmethod
    def received(self, sizes: Sizes) -> list[int]:
        """Rows that each partition receives."""

    @abstractmethod
    def given(self, sizes: Sizes) -> list[int]:
        """Rows of the tensor that each partition gives."""

    @abstractmethod
    def made(self, sizes: Sizes) -> list[int]:
        """Rows of the tensor that each partition gets: new memory, unless it receives none."""

    def bytes_of(self, rows: list[int], dtype: torch.dtype) -> list[int]:
        """Of so many rows of the tensor, each."""
        return [n_rows * math.prod(self.width) * dtype.itemsize for n_rows in rows]


class Halo(Exchange):
    """Before the stage, ``name`` (n_owned, *width) becomes (n_local, *width): halo rows from their owners."""

    kind = "halo"

    def shape(self, graph: LocalGraph) -> tuple[int, ...]:
        """(n_owned, *width)."""
        return graph.n_owned, *self.width

    def received(self, sizes: Sizes) -> list[int]:
        """Of every halo atom."""
        return sizes.halo

    def given(self, sizes: Sizes) -> list[int]:
        """Owned."""
        return sizes.owned

    def made(self, sizes: Sizes) -> list[int]:
        """Owned and halo."""
        return [owned + halo for owned, halo in zip(sizes.owned, sizes.halo, strict=True)]


class Fold(Exchange):
    """Before the stage, ``name`` (n_local, *width) becomes (n_owned, *width): halo rows are added to their
    owners' rows."""

    kind = "fold"

    def shape(self, graph: LocalGraph) -> tuple[int, ...]:
        """(n_local, *width)."""
        return graph.n_local, *self.width

    def received(self, sizes: Sizes) -> list[int]:
        """Of every atom that others read: the sum of what they give for it."""
        return sizes.read

    def given(self, sizes: Sizes) -> list[int]:
        """Owned and halo."""
        return [owned + halo for owned, halo in zip(sizes.owned, sizes.halo, strict=True)]

    def made(self, sizes: Sizes) -> list[int]:
        """Owned."""
        return sizes.owned


class Add(Exchange):
    """Before the stage, each cut bond's row of ``name`` (n_bonds, *width) becomes the sum of both copies."""

    kind = "add"
    needs_bonds = True

    def shape(self, graph: LocalGraph) -> tuple[int, ...]:
        """(n_bonds, *width)."""
        return graph.require_bonds().n_bonds, *self.width

    def received(self, sizes: Sizes) -> list[int]:
        """Of every cut bond."""
        return sizes.cut

    def given(self, sizes: Sizes) -> list[int]:
        """Of every bond."""
        return sizes.bonds

    def made(self, sizes: Sizes) -> list[int]:
        """As given."""
        return sizes.bonds


class Swap(Exchange):
    """Before the stage, ``name`` (n_cut, *width), one row per cut bond in the order of ``graph.bonds.cut``,
    becomes the rows that the partitions with the other copies gave."""

    kind = "swap"
    needs_bonds = True

    def shape(self, graph: LocalGraph) -> tuple[int, ...]:
        """(n_cut, *width)."""
        return len(graph.require_bonds().cut), *self.width

    def received(self, sizes: Sizes) -> list[int]:
        """Of every cut bond."""
        return sizes.cut

    def given(self, sizes: Sizes) -> list[int]:
        """Of every cut bond."""
        return sizes.cut

    def made(self, sizes: Sizes) -> list[int]:
        """As given."""
        return sizes.cut


class AllSum(Exchange):
    """Before the stage, ``name``, one tensor of shape ``width`` per partition, becomes their sum."""

    kind = "all_sum"

    def shape(self, _: LocalGraph) -> tuple[int, ...]:
        """Width."""
        return tuple(self.width)

    def received(self, sizes: Sizes) -> list[int]:
        """One, where there are several partitions."""
        n_partitions = len(sizes.owned)
        return [int(n_partitions > 1)] * n_partitions

    def given(self, sizes: Sizes) -> list[int]:
        """One."""
        return [1] * len(sizes.owned)

    def made(self, sizes: Sizes) -> list[int]:
        """As received."""
        return self.received(sizes)
