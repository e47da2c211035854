"""Parts of equivariant models that are made of e3nn's modules, taken apart into numbers for native stages.

Nothing here imports e3nn: modules are evaluated, in float64, on rows that show what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.native import Irreps, Matrix, padded

N_HARMONICS = 16
LARGEST_DEGREE = 3
MOST_EXPANDED = 8
"""Species of senders: of more of them, sums for each take longer than what they spare."""
TOLERANCE = 1e-10
"""Relative: in float64."""

Linear = Callable[[Tensor], Tensor]
"""A linear, equivariant function of rows."""


def irreps_of(irreps: Any, part: str) -> Irreps:
    """(degree, channels) of e3nn's irreps.

    Raises:
        NotNativeError: a degree is higher than native stages know.
    """
    found = [(ir.l, mul) for mul, ir in irreps]
    for degree, _ in found:
        if degree > LARGEST_DEGREE:
            raise NotNativeError(
                f"{part} has irreps of degree {degree}; native stages know degrees up to {LARGEST_DEGREE}"
            )
    return found


def linear_maps(function: Linear, source: Any, target: Any, part: str) -> dict[tuple[int, int], Matrix]:
    """Of each pair of irreps, (channels in, channels out); those that are zero are left out.

    Raises:
        NotNativeError: the function adds a constant.
    """
    with torch.no_grad():
        constant = function(torch.zeros(1, source.dim, dtype=torch.float64))
        if float(constant.abs().max()) > TOLERANCE:
            raise NotNativeError(f"{part} adds a constant, which native stages do not know")
        maps: dict[tuple[int, int], Matrix] = {}
        for i, (where, (channels, irrep)) in enumerate(zip(source.slices(), source, strict=True)):
            rows = torch.zeros(channels, source.dim, dtype=torch.float64)
            rows[torch.arange(channels), where.start + torch.arange(channels) * irrep.dim] = 1
            out = function(rows)
            for o, (to, (n, other)) in enumerate(zip(target.slices(), target, strict=True)):
                if other != irrep:
                    continue
                matrix = out[:, to].reshape(channels, n, irrep.dim)[..., 0].numpy().copy()
                if np.any(matrix):
                    maps[i, o] = matrix
    return maps


def affine_maps(
    function: Linear, source: Any, target: Any, part: str
) -> tuple[dict[tuple[int, int], Matrix], Tensor]:
    """As :func:`linear_maps`, of a function that may add a constant row, and that row (width,)."""
    with torch.no_grad():
        constant = function(torch.zeros(1, source.dim, dtype=torch.float64))[0]
    return linear_maps(lambda rows: function(rows) - constant, source, target, part), constant


def as_core(maps: dict[tuple[int, int], Matrix]) -> list[core.LinearMap]:
    """The same for all species."""
    return [core.LinearMap(i, o, [matrix]) for (i, o), matrix in maps.items()]


def of_species(maps: Sequence[dict[tuple[int, int], Matrix]]) -> list[core.LinearMap]:
    """One matrix per species; zero where a species has none."""
    keys = sorted(set().union(*maps))
    shapes = {key: next(of[key].shape for of in maps if key in of) for key in keys}
    return [core.LinearMap(i, o, [of.get((i, o), np.zeros(shapes[i, o])) for of in maps]) for i, o in keys]


@dataclass(frozen=True)
class Convolved:
    """A product of senders with harmonics, as a message whose irreps hold the channels of all paths."""

    message: Irreps
    paths: list[core.ConvolutionPath]
    columns: list[int]
    """Channels of each path, in the order of the groups of its radial functions."""
    weights: list[slice]
    """Of the tensor product's weights, for each group."""
    degrees: list[int]
    """Of the harmonics of each group."""
    couplings: list[Matrix]
    """Of each group, as a path has them."""
    places: list[tuple[int, int, int]]
    """Of each of the tensor product's outputs: segment of the message, first channel, channels."""

    def maps_from(self, maps: dict[tuple[int, int], Matrix]) -> list[core.LinearMap]:
        """A linear map of the tensor product's outputs, as one of the message."""
        merged: dict[tuple[int, int], Matrix] = {}
        for (i, o), matrix in maps.items():
            segment, first, channels = self.places[i]
            rows = merged.setdefault(
                (segment, o), np.zeros((self.message[segment][1], matrix.shape[1]), np.float64)
            )
            rows[first : first + channels] += matrix
        return as_core(merged)


def convolved(product: Any, part: str) -> Convolved:
    """Take a tensor product "uvu" with external weights apart.

    Raises:
        NotNativeError: it is something else.
    """
    _require_known(product, part)
    source, target = product.irreps_in1, product.irreps_out
    kinds = list(dict.fromkeys(ir for _, ir in target))
    channels_of = dict.fromkeys(kinds, 0)
    places: list[tuple[int, int, int]] = []
    for mul, ir in target:
        places.append((kinds.index(ir), channels_of[ir], mul))
        channels_of[ir] += padded(mul)
    weights, first = [], 0
    paths: list[core.ConvolutionPath] = []
    couplings = _couplings(product)
    for group, instruction in enumerate(product.instructions):
        channels = source[instruction.i_in1].mul
        weights.append(slice(first, first + channels))
        first += channels
        segment, first_channel, _ = places[instruction.i_out]
        paths.append(core.ConvolutionPath(instruction.i_in1, segment, first_channel, group, couplings[group]))
    return Convolved(
        [(ir.l, channels_of[ir]) for ir in kinds],
        paths,
        [of.stop - of.start for of in weights],
        weights,
        [instruction.i_in2 for instruction in product.instructions],
        couplings,
        places,
    )


@dataclass(frozen=True)
class Expanded:
    """The same of senders that depend on their species only: linear in the sums, for each species of theirs,
    of the hidden numbers of the radial network times harmonics."""

    message: Irreps
    """Those sums: of each degree the hidden numbers, padded, for every species."""
    matrices: list[tuple[int, Matrix]]
    """Of each of the tensor product's outputs: segment of the message, and what it is multiplied by."""

    def maps_from(self, maps: dict[tuple[int, int], Matrix]) -> list[core.LinearMap]:
        """A linear map of the tensor product's outputs, as one of the message."""
        merged: dict[tuple[int, int], Matrix] = {}
        for (i, o), matrix in maps.items():
            segment, to_output = self.matrices[i]
            merged[segment, o] = merged.get((segment, o), 0) + to_output @ matrix
        return as_core(merged)


def expanded(product: Any, convolved: Convolved, net: Any, senders: Tensor) -> Expanded | None:
    """None if it is no gain: for many species, or for senders that are not all scalars.

    ``net``: the radial network; ``senders``: (n_species, width).
    """
    last, source, n_species = last_layer(net), product.irreps_in1, len(senders)
    if last is None or n_species > MOST_EXPANDED or any(irrep.l > 0 for _, irrep in source):
        return None
    hidden = len(last)
    width = padded(hidden)
    matrices: dict[int, tuple[int, Matrix]] = {}
    for group, instruction in enumerate(product.instructions):
        degree = convolved.degrees[group]
        # A scalar times harmonics of a degree is a multiple of these.
        factor = convolved.couplings[group].reshape(N_HARMONICS, -1)[degree**2, 0]
        scalars = senders[:, source.slices()[instruction.i_in1]].numpy()
        matrix = np.zeros((n_species, width, scalars.shape[1]))
        matrix[:, :hidden] = factor * last[:, convolved.weights[group]] * scalars[:, None]
        matrices[instruction.i_out] = degree, matrix.reshape(n_species * width, -1)
    message = [(degree, n_species * width) for degree in range(max(convolved.degrees) + 1)]
    return Expanded(message, [matrices[i] for i in range(len(matrices))])


def _require_known(product: Any, part: str) -> None:
    harmonics = product.irreps_in2
    irreps_of(product.irreps_in1, part), irreps_of(product.irreps_out, part)
    if [(mul, ir.l) for mul, ir in harmonics] != [(1, degree) for degree in range(len(harmonics))]:
        raise NotNativeError(f"{part} multiplies by {harmonics}, which are not harmonics in their order")
    if harmonics.dim > N_HARMONICS:
        raise NotNativeError(
            f"{part} has harmonics of degree {len(harmonics) - 1}; up to {LARGEST_DEGREE} are known"
        )
    for instruction in product.instructions:
        if instruction.connection_mode != "uvu" or not instruction.has_weight:
            raise NotNativeError(f"{part} has paths of the kind {instruction.connection_mode!r}, not 'uvu'")
    if len({instruction.i_out for instruction in product.instructions}) != len(product.instructions):
        raise NotNativeError(f"{part} has paths that end in the same irreps")


def _couplings(product: Any) -> list[Matrix]:
    """Of each path (16, (2l_in+1)(2l_out+1)): what its first channel gives for each harmonic."""
    source, harmonics, target = product.irreps_in1, product.irreps_in2, product.irreps_out
    sizes = [(source[of.i_in1].ir.dim, target[of.i_out].ir.dim) for of in product.instructions]
    couplings = [torch.zeros(N_HARMONICS, *size, dtype=torch.float64) for size in sizes]
    unit = torch.eye(harmonics.dim, dtype=torch.float64)
    ones = torch.ones(harmonics.dim, product.weight_numel, dtype=torch.float64)
    with torch.no_grad():
        for m in range(max(n_in for n_in, _ in sizes)):
            row = torch.zeros(harmonics.dim, source.dim, dtype=torch.float64)
            for where, (_, irrep) in zip(source.slices(), source, strict=True):
                if m < irrep.dim:
                    row[:, where.start + m] = 1
            out = product(row, unit, ones)
            for of, (n_in, n_out), path in zip(product.instructions, sizes, couplings, strict=True):
                if m < n_in:
                    path[: harmonics.dim, m] = out[:, target.slices()[of.i_out]][:, :n_out]
    return [path.reshape(N_HARMONICS, -1).numpy() for path in couplings]


def activation(function: Callable[[Tensor], Tensor], part: str) -> tuple[str, float]:
    """Which of silu and tanh it is, and what it is multiplied by.

    Raises:
        NotNativeError: it is another one.
    """
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)
    with torch.no_grad():
        values = function(x)
    for name, known in {"silu": nn.functional.silu(x), "tanh": torch.tanh(x), "none": x}.items():
        factor = float(values[-1] / known[-1])
        if torch.allclose(values, factor * known, rtol=0, atol=TOLERANCE * max(1.0, abs(factor))):
            return name, factor
    raise NotNativeError(f"{part} has the activation {type_name(function)}; silu and tanh are known")


def hidden(net: nn.Sequential) -> nn.Sequential:
    """A fully connected network without its last layer."""
    return nn.Sequential(*list(net)[:-1])


def last_layer(net: Any) -> Matrix | None:
    """(hidden, out): what a fully connected network multiplies by at last; None if it ends otherwise."""
    layers: list[Any] = list(net)
    return None if len(layers) < 2 or layers[-1].act is not None else weights_of(layers[-1])


def weights_of(layer: Any) -> Matrix:
    """(in, out): of a layer; what its activation is multiplied by is left out."""
    scale = (layer.h_in * layer.var_in) ** 0.5
    if layer.act is None:
        scale /= layer.var_out**0.5
    weights: Matrix = (layer.weight.detach() / scale).numpy()
    return weights


def network(net: Any, part: str) -> tuple[list[Matrix], Matrix, float]:
    """Layers (in, out) of a fully connected network: the hidden ones and the last one; and what its silu is
    multiplied by.

    Raises:
        NotNativeError: it has another activation, or none.
    """
    layers: list[Any] = list(net)
    if len(layers) < 2:
        raise NotNativeError(f"{part} has no hidden layer")
    matrices, factors = [], set()
    for layer in layers:
        if layer.act is not None:
            name, factor = activation(layer.act, part)
            if name != "silu":
                raise NotNativeError(f"{part} has the activation {name}; radial networks have silu")
            factors.add(factor * layer.var_out**0.5)
        matrices.append(weights_of(layer))
    if len(factors) != 1 or layers[-1].act is not None:
        raise NotNativeError(f"{part} has activations that differ")
    return matrices[:-1], matrices[-1], factors.pop()
