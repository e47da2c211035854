"""CHGNet's layers as native stages take them: first layers divided among what they read, and the mean of
norms taken off the weights. Layers are in float64.

Raises:
    NotNativeError: a layer is of a kind that native stages do not know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from chgnet.model.functions import GatedMLP
from torch import nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.native import PADDING, Matrix, padded

if TYPE_CHECKING:
    from chgnet.model.basis import RadialBessel
    from chgnet.model.layers import AngleUpdate, AtomConv, BondConv


def atom_messages(layer: AtomConv) -> core.AtomMessages:
    """Messages of edges, with what atoms make of them."""
    _require_plain(layer, layer.atom_norm)
    layers = gated_layers(layer.twoBody_atom, 3)
    receivers, bonds, senders = layers.parts
    out, out_bias = out_of(layer)
    return core.AtomMessages(
        receivers=receivers,
        senders=senders,
        bonds=bonds,
        bias=layers.sums_bias,
        out=out,
        out_bias=out_bias,
        perceptron=layers.perceptron(),
    )


def bond_messages(layer: BondConv) -> core.AngleLayer:
    """Messages of angles."""
    _require_plain(layer, layer.bond_norm)
    return _angle_layer(layer.twoBody_bond)


def angle_update(layer: AngleUpdate) -> core.AngleLayer:
    """What is added to angles."""
    _require_plain(layer, layer.angle_norm)
    return _angle_layer(layer.twoBody_bond)


def _angle_layer(mlp: GatedMLP) -> core.AngleLayer:
    layers = gated_layers(mlp, 4)
    first, second, angles, centres = layers.parts
    return core.AngleLayer(
        first=first,
        second=second,
        angles=angles,
        centres=centres,
        bias=layers.sums_bias,
        perceptron=layers.perceptron(),
    )


def _require_plain(layer: nn.Module, norm: nn.Module | None) -> None:
    if norm is not None or not layer.resnet:
        raise NotNativeError(
            f"{type_name(layer)} normalises its result or does not add it; native stages know neither"
        )


def out_of(layer: AtomConv | BondConv) -> tuple[Matrix, list[float]]:
    """What messages are multiplied by, and what is added to them; nothing, if nothing is."""
    linears = _linears_of(layer.mlp_out.layers) if layer.use_mlp_out else []
    if len(linears) != 1:
        raise NotNativeError(
            f"{type_name(layer)} has {len(linears)} layers behind its messages; one is known"
        )
    bias = linears[0].bias
    return weights_of(linears[0]), [] if bias is None else bias.tolist()


@dataclass(frozen=True)
class GatedLayers:
    """A gated perceptron whose first layer is divided among what it is applied to; [core | gate]."""

    parts: list[Matrix]
    """Of the first layer: (channels, sums) each."""
    sums_bias: list[float]
    hidden: list[Matrix]
    """Of core and of gate, behind silu; none, if the first layer is the last one."""
    bias: list[float]
    """Behind hidden layers."""
    scales: list[float]
    shifts: list[float]
    epsilon: float

    def perceptron(self) -> core.GatedPerceptron:
        """What comes behind the sums."""
        return core.GatedPerceptron(
            hidden=self.hidden,
            bias=self.bias,
            scales=self.scales,
            shifts=self.shifts,
            epsilon=self.epsilon,
        )


def gated_layers(mlp: GatedMLP, n_parts: int) -> GatedLayers:
    """Take one apart that is applied to so many rows side by side."""
    both, norms = _layers_of(mlp), _norms_of(mlp)
    center = np.eye(both[0][-1].out_features)
    if norms:
        center = center - 1 / len(center)  # takes off the mean, which is linear
    last = [(weights_of(linears[-1]) @ center, _bias_of(linears[-1]) @ center) for linears in both]
    first, hidden = last, []
    if len(both[0]) == 2:
        first, hidden = [(weights_of(linears[0]), _bias_of(linears[0])) for linears in both], last
    weights = np.concatenate([weight for weight, _ in first], axis=1)
    if weights.shape[1] % (2 * PADDING):
        raise NotNativeError(f"hidden layers have {weights.shape[1] // 2} numbers, no multiple of {PADDING}")
    return GatedLayers(
        parts=[part.copy() for part in np.split(weights, n_parts)],
        sums_bias=_joined(bias for _, bias in first),
        hidden=[weight for weight, _ in hidden],
        bias=_joined(bias for _, bias in hidden),
        scales=_joined(norm.weight.numpy() for norm in norms),
        shifts=_joined(norm.bias.numpy() for norm in norms),
        epsilon=norms[0].eps if norms else 0.0,
    )


def _layers_of(mlp: GatedMLP) -> list[list[nn.Linear]]:
    """Those of core and of gate: one each, or two."""
    if type(mlp) is not GatedMLP or type(mlp.activation) is not nn.SiLU:
        raise NotNativeError(
            f"a gated perceptron is a {type_name(mlp)} with {type_name(mlp.activation)}; SiLU is known"
        )
    both = [_linears_of(part.layers) for part in (mlp.mlp_core, mlp.mlp_gate)]
    if len(both[0]) > 2 or len(both[0]) != len(both[1]):
        raise NotNativeError("gated perceptrons have more than one hidden layer")
    return both


def _norms_of(mlp: GatedMLP) -> list[nn.LayerNorm]:
    """Of core and of gate; none, if there are none."""
    if mlp.norm is None:
        return []
    norms = [mlp.bn1, mlp.bn2]
    if any(type(norm) is not nn.LayerNorm or norm.weight is None for norm in norms):
        raise NotNativeError(f"gated perceptrons are normalised by a {type_name(mlp.bn1)}")
    if mlp.bn1.eps != mlp.bn2.eps:
        raise NotNativeError("core and gate are normalised with different eps")
    return norms


def _linears_of(layers: Iterable[nn.Module]) -> list[nn.Linear]:
    """Of linear layers with SiLU between; dropouts do nothing in eval mode."""
    layers = [layer for layer in layers if not isinstance(layer, nn.Dropout | nn.Identity)]
    linears = [layer for layer in layers if type(layer) is nn.Linear]
    kinds = [kind for _ in linears for kind in (nn.Linear, nn.SiLU)][:-1]
    if [type(layer) for layer in layers] != kinds:
        names = ", ".join(type(layer).__name__ for layer in layers)
        raise NotNativeError(f"a perceptron of {names}; native stages know linear layers and SiLU")
    return linears


def bessel(basis: RadialBessel) -> core.RadialBasis:
    """Functions of bonds' lengths."""
    envelope = basis.smooth_cutoff
    plain = envelope is None or envelope.p == 0
    power = 0 if plain else envelope.p
    if power != int(power):
        raise NotNativeError(f"cutoff_coeff={power} is no integer")
    return core.RadialBasis(
        (basis.frequencies.double() * basis.inv_cutoff).tolist(),
        basis.norm_const,
        1 / basis.inv_cutoff if plain else envelope.cutoff,
        power=int(power),
        envelope="none" if plain else "polynomial",
    )


def weights_of(linear: nn.Linear) -> Matrix:
    """(in, out)"""
    return linear.weight.T.numpy().copy()


def _bias_of(linear: nn.Linear) -> Matrix:
    return np.zeros(linear.out_features) if linear.bias is None else linear.bias.numpy()


def padded_rows(matrix: Matrix) -> Matrix:
    """With zeros, to as many rows as the core's bases have."""
    return np.pad(matrix, ((0, padded(len(matrix)) - len(matrix)), (0, 0)))


def _joined(parts: Iterable[Matrix]) -> list[float]:
    return [float(number) for part in parts for number in part]
