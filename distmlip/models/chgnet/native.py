"""CHGNet's blocks as native stages, which are gated messages of edges and angles.

Between stages: ``atoms`` (n_owned, width); ``bond_messages`` (n_short, width), from angles at owned centres
to short bonds, in the order of ``graph.bonds.short_bonds``, and ``cut_messages`` (n_cut, width), those of cut
bonds once more, which partitions swap. A block begins with the bonds' update by them.

Angles never cross: they are the largest tensor of all, and a block updates them from the first on in the time
that reading them would take. For that it reads ``atoms k`` and ``bonds k``, what these were when block ``k``
began. Long bonds are part of no angle, so that they are functions of their length: nothing is kept of them.
``bond_basis``, ``short_basis`` and ``angle_basis`` are functions of lengths and angles, with derivatives,
where they are evaluated once for all blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from chgnet.model.functions import GatedMLP
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.chgnet.stages import Blocks
from distmlip.models.interface import EagerStage, Exchange, Halo, LocalGraph, Stage, Swap, Tensors
from distmlip.models.native import PADDING, Matrix, NativeStage, padded

if TYPE_CHECKING:
    from chgnet.model import CHGNet
    from chgnet.model.basis import RadialBessel
    from chgnet.model.layers import AngleUpdate, AtomConv, BondConv

BASES = ("bond_basis", "short_basis", "angle_basis")


class NativeBlocks:
    """The native stages of a model."""

    def __init__(self, model: CHGNet, replica: nn.Module, dtype: torch.dtype) -> None:
        """
        ``model``: in float64, whose weights are taken; ``replica``: of it, in the stages' dtype, for what is
        left behind its blocks.

        Raises:
            NotNativeError: a part of the model is of a kind that native stages do not know; so do methods.
        """
        self.model = model
        self.blocks = Blocks(replica)
        self.last = self.blocks.last
        self.is_double = dtype == torch.float64
        self.width = model.atom_fea_dim
        if not self.blocks.updates_bonds:
            raise NotNativeError("its bonds are never updated; native stages are for models that do")
        widths = {self.width, model.bond_fea_dim, model.angle_embedding.out_features}
        if len(widths) > 1 or self.width % PADDING:
            raise NotNativeError(
                f"features of atoms, bonds and angles have {sorted(widths)} numbers; native stages are for "
                f"the same multiple of {PADDING}"
            )

    def stages(self, memoise: bool) -> list[Stage]:
        """``memoise``: evaluate the bases once, and keep them."""
        with torch.no_grad():
            basis = self._basis()
            stages: list[Stage] = [self._block(k, basis, memoise) for k in range(self.last + 1)]
        # What is left is little, and no exchange stands before it.
        stages.insert(self.last, self._eager("magmoms", self._magmoms, ("magmoms",)))
        readout = self._eager("readout", self._readout, ("energy",), ("crystal_fea", "isolated_atoms"))
        derived = NativeStage(
            "derived", writes=BASES, compiled=core.gated_bases(is_double=self.is_double, basis=basis)
        )
        return [*([derived] if memoise else []), *stages, readout]

    def _block(self, k: int, basis: core.BondBasis, memoise: bool) -> NativeStage:
        sends = k < self.last
        n_updates = k if sends and self.blocks.updates_angles else 0
        messages = ("bond_messages", "cut_messages")
        bases = BASES if sends else BASES[:1]
        before: tuple[Exchange, ...] = (Halo("atoms", (self.width,)), Swap("cut_messages", (self.width,)))
        # What angles are updated by, and bonds as the block before left them.
        known = [f"atoms {j}" for j in range(1, n_updates)]
        known += [f"bonds {j}" for j in range(1 if n_updates else max(k - 1, 1), k)]
        kept = self._kept(k)
        return NativeStage(
            name=f"block {k}",
            before=before if k > 0 else (),
            reads=(*(("atoms", *messages, *known) if k > 0 else ()), *(bases if memoise else ())),
            writes=("atoms", *(f"{what} {k}" for what in kept), *(messages if sends else ())),
            computes=("atoms", "edges", *(("bonds", "angles") if sends else ())),
            compiled=self._compiled(k, basis, n_updates, kept),
        )

    def _kept(self, k: int) -> tuple[str, ...]:
        """What later blocks have to know of the beginning of this one."""
        if not 0 < k < self.last:
            return ()
        return ("atoms", "bonds") if k < self.last - 1 and self.blocks.updates_angles else ("bonds",)

    def _compiled(
        self, k: int, basis: core.BondBasis, n_updates: int, kept: tuple[str, ...]
    ) -> core.NativeStage:
        model = self.model
        out = [_out_of(layer) for layer in model.bond_conv_layers[:k]]
        update, update_bias = out[-1] if out else (None, [])
        return core.gated_block(
            is_double=self.is_double,
            index=k,
            basis=basis,
            atoms=_atom_messages(model.atom_conv_layers[k]),
            bonds=_bond_messages(model.bond_conv_layers[k]) if k < self.last else None,
            angles=[_angle_update(model.angle_layers[j]) for j in range(n_updates)],
            species=None if out else self._species(),
            update=update,
            update_bias=update_bias,
            embedding_shift=np.sum([bias for _, bias in out], axis=0).tolist() if update_bias else [],
            keeps_atoms="atoms" in kept,
            keeps_bonds="bonds" in kept,
        )

    def _basis(self) -> core.BondBasis:
        model = self.model
        fourier = model.angle_basis_expansion.fourier_expansion
        frequencies = [*fourier.frequencies.tolist(), 0.0]  # of the constant one, whose cosine it is
        n, order = padded(len(frequencies)), fourier.order
        factor = 1 / math.sqrt(math.pi)
        # Its value follows torch's default dtype, as in the model itself.
        constant = float(fourier(torch.zeros(1, dtype=torch.float64))[0, 0])
        weights = _weights(model.angle_embedding)
        embedding = np.zeros((2 * n, self.width))
        embedding[:order] = weights[1 : order + 1] * factor
        embedding[n : n + order] = weights[order + 1 :] * factor
        embedding[n + order] = weights[0] * constant
        of_bonds = model.bond_basis_expansion.rbf_expansion_ag
        of_short = model.bond_basis_expansion.rbf_expansion_bg
        return core.BondBasis(
            bonds=_bessel(of_bonds),
            short_bonds=_bessel(of_short),
            angle_frequencies=frequencies,
            bond_embedding=_padded_rows(_weights(model.bond_embedding)),
            bond_weights=_padded_rows(_weights(model.bond_weights_ag)),
            short_weights=_padded_rows(_weights(model.bond_weights_bg)),
            angle_embedding=embedding,
        )

    def _species(self) -> Matrix:
        weight = self.model.atom_embedding.embedding.weight
        return np.concatenate([np.zeros((1, self.width)), weight.numpy()])

    def _eager(
        self,
        name: str,
        function: Callable[[LocalGraph, Tensor], Tensors],
        results: tuple[str, ...],
        system_results: tuple[str, ...] = (),
    ) -> EagerStage:
        return EagerStage(
            name=name,
            function=lambda graph, _, inputs: function(graph, inputs["atoms"]),
            reads=("atoms",),
            results=results,
            system_results=system_results,
            computes=("atoms",),
        )

    def _magmoms(self, _graph: LocalGraph, atoms: Tensor) -> Tensors:
        return {"magmoms": self.blocks.magmoms(atoms)}

    def _readout(self, graph: LocalGraph, atoms: Tensor) -> Tensors:
        return self.blocks.read_out(graph, atoms)


def _atom_messages(layer: AtomConv) -> core.AtomMessages:
    _require_plain(layer, layer.atom_norm)
    (receivers, bonds, senders), bias, perceptron = _taken_apart(layer.twoBody_atom, 3)
    out, out_bias = _out_of(layer)
    return core.AtomMessages(
        receivers=receivers,
        senders=senders,
        bonds=bonds,
        bias=bias,
        out=out,
        out_bias=out_bias,
        perceptron=perceptron,
    )


def _bond_messages(layer: BondConv) -> core.AngleLayer:
    _require_plain(layer, layer.bond_norm)
    return _angle_layer(layer.twoBody_bond)


def _angle_update(layer: AngleUpdate) -> core.AngleLayer:
    _require_plain(layer, layer.angle_norm)
    return _angle_layer(layer.twoBody_bond)


def _angle_layer(mlp: GatedMLP) -> core.AngleLayer:
    (first, second, angles, centres), bias, perceptron = _taken_apart(mlp, 4)
    return core.AngleLayer(
        first=first, second=second, angles=angles, centres=centres, bias=bias, perceptron=perceptron
    )


def _require_plain(layer: nn.Module, norm: nn.Module | None) -> None:
    if norm is not None or not layer.resnet:
        raise NotNativeError(
            f"{type_name(layer)} normalises its result or does not add it; native stages know neither"
        )


def _out_of(layer: AtomConv | BondConv) -> tuple[Matrix, list[float]]:
    """What messages are multiplied by, and what is added to them; nothing, if nothing is."""
    linears = _linears_of(layer.mlp_out.layers) if layer.use_mlp_out else []
    if len(linears) != 1:
        raise NotNativeError(
            f"{type_name(layer)} has {len(linears)} layers behind its messages; one is known"
        )
    bias = linears[0].bias
    return _weights(linears[0]), [] if bias is None else bias.tolist()


def _taken_apart(mlp: GatedMLP, n_parts: int) -> tuple[list[Matrix], list[float], core.GatedPerceptron]:
    """The first layer of core and gate, divided among what it is applied to; its bias; what comes behind."""
    both, norms = _layers_of(mlp), _norms_of(mlp)
    center = np.eye(both[0][-1].out_features)
    if norms:
        center = center - 1 / len(center)  # takes off the mean, which is linear
    last = [(_weights(linears[-1]) @ center, _bias_of(linears[-1]) @ center) for linears in both]
    first, hidden = last, []
    if len(both[0]) == 2:
        first, hidden = [(_weights(linears[0]), _bias_of(linears[0])) for linears in both], last
    weights = np.concatenate([weight for weight, _ in first], axis=1)
    if weights.shape[1] % (2 * PADDING):
        raise NotNativeError(f"hidden layers have {weights.shape[1] // 2} numbers, no multiple of {PADDING}")
    perceptron = core.GatedPerceptron(
        hidden=[weight for weight, _ in hidden],
        bias=_joined(bias for _, bias in hidden),
        scales=_joined(norm.weight.numpy() for norm in norms),
        shifts=_joined(norm.bias.numpy() for norm in norms),
        epsilon=norms[0].eps if norms else 0.0,
    )
    parts = [part.copy() for part in np.split(weights, n_parts)]
    return parts, _joined(bias for _, bias in first), perceptron


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


def _bessel(basis: RadialBessel) -> core.RadialBasis:
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


def _weights(linear: nn.Linear) -> Matrix:
    """(in, out)"""
    return linear.weight.T.numpy().copy()


def _bias_of(linear: nn.Linear) -> Matrix:
    return np.zeros(linear.out_features) if linear.bias is None else linear.bias.numpy()


def _padded_rows(matrix: Matrix) -> Matrix:
    return np.pad(matrix, ((0, padded(len(matrix)) - len(matrix)), (0, 0)))


def _joined(parts: Iterable[Matrix]) -> list[float]:
    return [float(number) for part in parts for number in part]
