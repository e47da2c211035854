"""Linear layers and norms of models as native stages take them: matrices in float64."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from distmlip.errors import NotNativeError
from distmlip.models.native import PADDING, Matrix, padded


def weights_of(linear: nn.Linear) -> Matrix:
    """(in, out)"""
    weights: Matrix = np.ascontiguousarray(linear.weight.detach().numpy().T)
    return weights


def bias_of(linear: nn.Linear) -> Matrix:
    """(out,)"""
    return np.zeros(linear.out_features) if linear.bias is None else linear.bias.detach().numpy()


def padded_rows(matrix: Matrix) -> Matrix:
    """With zeros, to as many rows as the core's rows have numbers."""
    return np.pad(matrix, ((0, padded(len(matrix)) - len(matrix)), (0, 0)))


def joined(parts: Iterable[Matrix | Tensor]) -> list[float]:
    """One after another."""
    return [float(number) for part in parts for number in part]


def linears_of(modules: Iterable[nn.Module], *ends: type[nn.Module]) -> list[nn.Linear]:
    """Of linear layers with SiLU between, and ``ends`` behind the last one; dropouts do nothing in eval mode.

    Raises:
        NotNativeError: there are others.
    """
    layers = [layer for layer in modules if not isinstance(layer, nn.Dropout | nn.Identity)]
    linears = [layer for layer in layers if type(layer) is nn.Linear]
    kinds = [kind for _ in linears for kind in (nn.Linear, nn.SiLU)][:-1]
    if [type(layer) for layer in layers] != [*kinds, *ends]:
        names = ", ".join(type(layer).__name__ for layer in layers)
        raise NotNativeError(f"a perceptron of {names}; native stages know linear layers and SiLU")
    return linears


@dataclass(frozen=True)
class GatedLayers:
    """A gated perceptron whose first layer is divided among what it is applied to; [core | gate]."""

    parts: list[Matrix]
    """Of the first layer: (channels, sums) each."""
    sums_bias: list[float]
    hidden: list[Matrix]
    """Of core and of gate in turn, behind silu; none, if the first layer is the last one."""
    bias: list[float]
    """Behind hidden layers."""
    scales: list[float]
    shifts: list[float]
    epsilon: float


def gated_layers(
    both: Sequence[Sequence[nn.Linear]], norms: Sequence[nn.LayerNorm], widths: Sequence[int]
) -> GatedLayers:
    """Of the linear layers of core and of gate, with SiLU between, that are applied to rows of these widths
    side by side; ``norms``: of what both give, or none. The mean that these take off is taken off the
    weights.

    Raises:
        NotNativeError: native stages do not know layers of these shapes.
    """
    n_layers = _require_known(both)
    layers = [[(weights_of(linears[k]), bias_of(linears[k])) for linears in both] for k in range(n_layers)]
    if norms:
        center = np.eye(both[0][-1].out_features) - 1 / both[0][-1].out_features
        layers[-1] = [(weights @ center, bias @ center) for weights, bias in layers[-1]]
    first, *hidden = layers
    return GatedLayers(
        parts=_divided(np.concatenate([weights for weights, _ in first], axis=1), widths),
        sums_bias=joined(bias for _, bias in first),
        hidden=[weights for layer in hidden for weights, _ in layer],
        bias=joined(bias for layer in hidden for _, bias in layer),
        scales=joined(norm.weight for norm in norms),
        shifts=joined(norm.bias for norm in norms),
        epsilon=norms[0].eps if norms else 0.0,
    )


def _require_known(both: Sequence[Sequence[nn.Linear]]) -> int:
    """How many layers there are."""
    core, gate = both
    if len(core) != len(gate):
        raise NotNativeError("core and gate of a gated perceptron have different numbers of layers")
    for linear in (*core[:-1], *gate[:-1]):
        if linear.out_features % PADDING:
            raise NotNativeError(
                f"hidden layers have {linear.out_features} numbers, no multiple of {PADDING}"
            )
    return len(core)


def _divided(weights: Matrix, widths: Sequence[int]) -> list[Matrix]:
    return [part.copy() for part in np.split(weights, np.cumsum(widths)[:-1])]
