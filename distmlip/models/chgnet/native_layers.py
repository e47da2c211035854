"""CHGNet's layers as native stages take them: first layers divided among what they read, and the mean of
norms taken off the weights. Layers are in float64.

Raises:
    NotNativeError: a layer is of a kind that native stages do not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chgnet.model.functions import GatedMLP
from torch import nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.linear_layers import GatedLayers, gated_layers, linears_of, weights_of
from distmlip.models.native import Matrix

if TYPE_CHECKING:
    from chgnet.model.basis import RadialBessel
    from chgnet.model.layers import AngleUpdate, AtomConv, BondConv


def atom_messages(layer: AtomConv) -> core.AtomMessages:
    """Messages of edges, with what atoms make of them."""
    _require_plain(layer, layer.atom_norm)
    layers = layers_of(layer.twoBody_atom, 3)
    receivers, bonds, senders = layers.parts
    out, out_bias = out_of(layer)
    return core.AtomMessages(
        receivers=receivers,
        senders=senders,
        bonds=bonds,
        bias=layers.sums_bias,
        out=out,
        out_bias=out_bias,
        perceptron=_perceptron(layers),
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
    layers = layers_of(mlp, 4)
    first, second, angles, centres = layers.parts
    return core.AngleLayer(
        first=first,
        second=second,
        angles=angles,
        centres=centres,
        bias=layers.sums_bias,
        perceptron=_perceptron(layers),
    )


def _require_plain(layer: nn.Module, norm: nn.Module | None) -> None:
    if norm is not None or not layer.resnet:
        raise NotNativeError(
            f"{type_name(layer)} normalises its result or does not add it; native stages know neither"
        )


def out_of(layer: AtomConv | BondConv) -> tuple[Matrix, list[float]]:
    """What messages are multiplied by, and what is added to them; nothing, if nothing is."""
    linears = linears_of(layer.mlp_out.layers) if layer.use_mlp_out else []
    if len(linears) != 1:
        raise NotNativeError(
            f"{type_name(layer)} has {len(linears)} layers behind its messages; one is known"
        )
    bias = linears[0].bias
    return weights_of(linears[0]), [] if bias is None else bias.tolist()


def layers_of(mlp: GatedMLP, n_parts: int) -> GatedLayers:
    """Take one apart that is applied to so many rows side by side."""
    both = _linear_layers(mlp)
    return gated_layers(both, _norms_of(mlp), [both[0][0].in_features // n_parts] * n_parts)


def _perceptron(layers: GatedLayers) -> core.GatedPerceptron:
    """What comes behind the sums."""
    return core.GatedPerceptron(
        hidden=layers.hidden,
        bias=layers.bias,
        scales=layers.scales,
        shifts=layers.shifts,
        epsilon=layers.epsilon,
    )


def _linear_layers(mlp: GatedMLP) -> list[list[nn.Linear]]:
    """Those of core and of gate: one each, or two."""
    if type(mlp) is not GatedMLP or type(mlp.activation) is not nn.SiLU:
        raise NotNativeError(
            f"a gated perceptron is a {type_name(mlp)} with {type_name(mlp.activation)}; SiLU is known"
        )
    both = [linears_of(part.layers) for part in (mlp.mlp_core, mlp.mlp_gate)]
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
