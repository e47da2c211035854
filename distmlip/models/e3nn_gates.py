"""e3nn's gates, taken apart for native stages. Like e3nn_native, it does not import e3nn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models import e3nn_native as e3
from distmlip.models.kinds import kind_of

GATE = "e3nn.nn._gate.Gate"


@dataclass(frozen=True)
class GateParts:
    """A gate, of rows whose irreps are cut where something else happens to them."""

    irreps_in: Any
    """As the gate's own, but scalars, gates and what they are multiplied with stand apart."""
    irreps_out: Any
    segments: list[core.Gated]


@dataclass(frozen=True)
class _Piece:
    """Of the rows that a gate is given."""

    first: int
    """Its first element."""
    channels: int
    irrep: object
    activation: tuple[str, float] | None
    """Of scalars and gates: which one, and what it is multiplied by."""


def parts_of(gate: Any, part: str) -> GateParts:
    """
    Raises:
        NotNativeError: it is no gate of e3nn, or has another activation than silu and tanh.
    """
    if kind_of(gate) != GATE:
        raise NotNativeError(f"{part} is a {type_name(gate)}, which native stages do not know")
    elements = torch.arange(gate.irreps_in.dim, dtype=torch.float64)[None]
    scalars, gates, gated = (row[0].long() for row in gate.sc(elements))
    of_scalars = _pieces(scalars, gate.act_scalars.irreps_in, part, _activations(gate.act_scalars, part))
    of_gated = _pieces(gated, gate.mul.irreps_in1, part, None)
    of_gates = _pieces(gates, gate.mul.irreps_in2, part, _activations(gate.act_gates, part))
    _require_plain(gate.mul, part)
    pieces = sorted([*of_scalars, *of_gated, *of_gates], key=lambda piece: piece.first)
    index = {piece.first: k for k, piece in enumerate(pieces)}
    segments = [
        core.Gated(index[piece.first], to, -1, *_known(piece)) for to, piece in enumerate(of_scalars)
    ] + [
        core.Gated(index[piece.first], len(of_scalars) + to, index[by.first], *_known(by))
        for to, (piece, by) in enumerate(zip(of_gated, of_gates, strict=True))
    ]
    irreps = type(gate.irreps_out)([(piece.channels, piece.irrep) for piece in pieces])
    return GateParts(irreps, gate.irreps_out, segments)


def _activations(activation: Any, part: str) -> list[tuple[str, float]]:
    """Of each scalar, in their order."""
    known: list[tuple[str, float]] = []
    for channels, _, function in activation.paths:
        known += [("none", 1.0) if function is None else e3.activation(function, part)] * channels
    return known


def _known(piece: _Piece) -> tuple[str, float]:
    assert piece.activation is not None
    return piece.activation


def _pieces(
    elements: Tensor, irreps: Any, part: str, activations: list[tuple[str, float]] | None
) -> list[_Piece]:
    """Where these irreps stand in the rows; ``elements``: the place of each of their own."""
    pieces = []
    for where, (channels, irrep) in zip(irreps.slices(), irreps, strict=True):
        places = elements[where]
        if len(places) == 0 or int(places[-1] - places[0]) != len(places) - 1:
            raise NotNativeError(f"{part} has {channels}x{irrep} that do not stand together")
        of_piece = None if activations is None else set(activations[where])
        if of_piece is not None and len(of_piece) != 1:
            raise NotNativeError(f"{part} has {channels}x{irrep} with different activations")
        pieces.append(_Piece(int(places[0]), channels, irrep, None if of_piece is None else of_piece.pop()))
    return pieces


def _require_plain(product: Any, part: str) -> None:
    """Of gates and what they are multiplied with."""
    source, gates = product.irreps_in1, product.irreps_in2
    if source.dim == 0:
        return
    with torch.no_grad():
        values = product(torch.ones(1, source.dim).double(), torch.ones(1, gates.dim).double())
    if not torch.allclose(values, torch.ones_like(values), rtol=0, atol=e3.TOLERANCE):
        raise NotNativeError(f"{part} multiplies by more than its gates")
