"""Layers of models as blocks of directed edges take them (csrc/native/directed). They are in float64.

Raises:
    NotNativeError: a layer is of a kind that native stages do not know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.linear_layers import bias_of, gated_layers, padded_rows, weights_of
from distmlip.models.native import PADDING, Matrix, padded

LARGEST_DEGREE = 3
"""Of spherical harmonics in the core."""


def require_padded(**widths: int) -> None:
    """
    Raises:
        NotNativeError: a number of features, by its name, is no multiple of what vectors hold.
    """
    for name, width in widths.items():
        if width % PADDING:
            raise NotNativeError(
                f"{name} have {width} features; native stages are for multiples of {PADDING}"
            )


def gated_layer(
    both: Sequence[Sequence[nn.Linear]],
    order: Sequence[int],
    widths: Sequence[int],
    norms: Sequence[nn.LayerNorm] = (),
) -> core.GatedLayer:
    """Of a gated perceptron of rows side by side (see ``gated_layers``). ``order``: which of them are
    sources, and last the row itself."""
    layers = gated_layers(both, norms, widths)
    *sources, own = order
    return core.GatedLayer(
        sources=[layers.parts[k] for k in sources],
        own=padded_rows(layers.parts[own]),
        bias=layers.sums_bias,
        hidden=layers.hidden,
        hidden_bias=layers.bias,
        scales=layers.scales,
        shifts=layers.shifts,
        epsilon=layers.epsilon,
    )


def norm_of(norm: nn.Module | None) -> core.LayerNorm | None:
    """Behind an update."""
    if norm is None:
        return None
    if type(norm) is not nn.LayerNorm or norm.weight is None or norm.bias is None:
        raise NotNativeError(f"features are normalised by a {type_name(norm)}")
    return core.LayerNorm(norm.weight.tolist(), norm.bias.tolist(), norm.eps)


def by_number(numbers: Tensor, rows: Tensor) -> Matrix:
    """(largest atomic number + 1, width), of a row for each of these atomic numbers."""
    table = torch.zeros(int(numbers.max()) + 1, rows.shape[1], dtype=torch.float64)
    table[numbers] = rows.double()
    return table.numpy()


def end_atoms(linear: nn.Linear) -> core.EndAtoms:
    """What three-body sums read of atoms: a sigmoid of this layer."""
    weights = np.zeros((linear.in_features, padded(linear.out_features)))
    weights[:, : linear.out_features] = weights_of(linear)
    return core.EndAtoms(weights, bias_of(linear).tolist())


def legendre(degree: int) -> core.AngularFunction:
    """2 l + 1 times the polynomial: what spherical harmonics of two directions add up to."""
    powers = np.polynomial.legendre.leg2poly([0.0] * degree + [1.0])
    return core.AngularFunction(((2 * degree + 1) * powers).tolist(), 0)
