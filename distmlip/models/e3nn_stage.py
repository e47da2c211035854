"""Writes native stages of models that are made of e3nn's modules: rows of atoms, and what happens to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models import e3nn_native as e3
from distmlip.models.e3nn_gates import GateParts
from distmlip.models.native import Builder, Matrix, NativeChoice, StageMaker


@dataclass(frozen=True)
class Rows:
    """What a register of a stage has of each atom."""

    register: int
    irreps: Any
    """e3nn's."""
    convolved: e3.Convolved | e3.Expanded | None = None
    """Of rows that a convolution gave: ``irreps`` are its tensor product's, the register has a message."""
    divisor: float = 1.0
    """Of the same rows: what they are still to be divided by."""


class Radial(Protocol):
    """What the convolutions of a model multiply by; ``key``: the family's, of one of them."""

    def network(self, key: Any) -> Any:
        """Of a convolution."""

    def hidden(self, builder: Builder, key: Any, n_degrees: int) -> tuple[int, list[int]]:
        """What the last layer of its network reads, and which group of it belongs to each degree."""

    def of_convolution(self, builder: Builder, key: Any, convolved: e3.Convolved) -> int:
        """Weights of its paths."""


class StageWriter:
    """Of one stage. Methods raise ``NotNativeError``, which names the part, for what the core has not."""

    def __init__(self, maker: StageMaker) -> None:
        self.builder = maker.builder()
        self._choice: NativeChoice = maker.choice
        self._one: int | None = None

    def convolution(
        self, product: Any, part: str, source: str, senders: Tensor | None, radial: Radial, key: Any
    ) -> Rows:
        """What a tensor product "uvu" of senders with harmonics gives receivers.

        ``source``: the name of the input that has the senders; or ``senders`` (n_species, width), where they
        depend on their species only. ``key``: of the convolution, for ``radial``.
        """
        convolved = e3.convolved(product, part)
        if senders is not None:
            expanded = e3.expanded(product, convolved, radial.network(key), senders)
            if expanded is not None:
                functions, groups = radial.hidden(self.builder, key, len(expanded.message))
                message = self.builder.expansion(functions, expanded.message, groups)
                return Rows(message, product.irreps_out, expanded)
        irreps = e3.irreps_of(product.irreps_in1, part)
        if senders is None:
            register = self.builder.input(source, irreps, of_senders=True)
        else:
            register = self.builder.constant(irreps, senders.numpy())
        functions = radial.of_convolution(self.builder, key, convolved)
        message = self.builder.convolution(register, functions, convolved.message, convolved.paths)
        return Rows(message, product.irreps_out, convolved)

    def affine(self, rows: Rows, irreps: Any, functions: Sequence[e3.Linear], part: str) -> Rows:
        """Rows of these irreps, from a function that may add constants: one, or one for each species."""
        found = [
            e3.affine_maps(partial(_divided, function, rows.divisor), rows.irreps, irreps, part)
            for function in functions
        ]
        written = self.linear(rows, irreps, [maps for maps, _ in found], part)
        self.add_constants(written, torch.stack([constant for _, constant in found]), part)
        return written

    def linear(self, rows: Rows, irreps: Any, maps: list[dict[tuple[int, int], Matrix]], part: str) -> Rows:
        """One map, or one for each species."""
        if rows.convolved is None:
            of_core = e3.as_core(maps[0]) if len(maps) == 1 else e3.of_species(maps)
        elif len(maps) == 1:
            of_core = rows.convolved.maps_from(maps[0])
        else:
            raise NotNativeError(f"{part} reads a convolution and the species")
        return Rows(self.builder.linear(rows.register, e3.irreps_of(irreps, part), of_core), irreps)

    def add_constants(self, rows: Rows, constants: Tensor, part: str) -> None:
        """Add a row per species, or one that is the same for all."""
        maps = []
        for k, (where, (_, irrep)) in enumerate(zip(rows.irreps.slices(), rows.irreps, strict=True)):
            of_irrep = constants[:, where]
            if not bool(of_irrep.any()):
                continue
            if irrep.l > 0:
                raise NotNativeError(f"{part} adds constants to {irrep}, which is no scalar")
            maps.append(core.LinearMap(0, k, [row[None].numpy() for row in of_irrep]))
        if not maps:
            return
        if self._one is None:
            self._one = self.builder.constant([(0, 1)], np.ones((len(self._choice.numbers), 1)))
        self.builder.add_linear(self._one, rows.register, maps)

    def add_input(self, rows: Rows, name: str, part: str) -> None:
        """Add what an earlier stage wrote of owned atoms."""
        if rows.convolved is not None:
            raise NotNativeError(f"{part} adds to what a convolution gave")
        irreps = e3.irreps_of(rows.irreps, part)
        kept = self.builder.input(name, irreps, of_senders=False)
        same = [core.LinearMap(k, k, [np.eye(channels)]) for k, (_, channels) in enumerate(irreps)]
        self.builder.add_linear(kept, rows.register, same)

    def gate(self, rows: Rows, gate: GateParts, part: str) -> Rows:
        """Of rows whose irreps are those of the gate."""
        if rows.irreps != gate.irreps_in:
            raise NotNativeError(f"{part} is given {rows.irreps}, not {gate.irreps_in}")
        irreps = e3.irreps_of(gate.irreps_out, part)
        return Rows(self.builder.gate(rows.register, irreps, gate.segments), gate.irreps_out)

    def activated(self, rows: Rows, activation: tuple[str, float]) -> Rows:
        """An activation, and what it is multiplied by, on scalars of one irrep."""
        ((channels, _),) = rows.irreps
        register = self.builder.gate(rows.register, [(0, channels)], [core.Gated(0, 0, -1, *activation)])
        return Rows(register, rows.irreps)


def _divided(function: e3.Linear, divisor: float, rows: Tensor) -> Tensor:
    return function(rows / divisor)
