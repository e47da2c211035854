"""CHGNet's gated layers without the large first product.

A gated MLP of an edge or angle begins with two linear layers on rows gathered from atoms, bonds and angles,
side by side. There are many more edges and angles than atoms and bonds, and linear layers may be applied
before gathering: ``W [a_i, b_j] = (W_a a)_i + (W_b b)_j``. That takes a third off the model's time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from chgnet.model import CHGNet
    from chgnet.model.functions import GatedMLP

Part = tuple[Tensor, Tensor | None]
"""Rows, and which of them to gather; None: all, in order."""


def project_before_gathering(model: CHGNet) -> None:
    """Make the gated MLPs of a replica's layers take what :func:`evaluate` gives them. All else stays."""
    for layer in model.atom_conv_layers:
        _replace_first_layers(layer.twoBody_atom)
    for layer in (*model.bond_conv_layers, *model.angle_layers):
        if layer is not None:
            _replace_first_layers(layer.twoBody_bond)


def evaluate(mlp: GatedMLP, *parts: Part) -> Tensor:
    """``mlp`` of the gathered parts side by side."""
    output: Tensor = mlp(mlp.projection(*parts))
    return output


def _replace_first_layers(mlp: GatedMLP) -> None:
    linears = []
    for which, layers in enumerate((mlp.mlp_core.layers, mlp.mlp_gate.layers)):
        position = next(k for k, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        linears.append(layers[position])
        for k in range(position):  # dropout, which does nothing in eval mode, and knows nothing of pairs
            layers[k] = nn.Identity()
        layers[position] = _Pick(which)
    mlp.projection = _Projection(*linears)


class _Projection(nn.Module):
    """The first linear layers of core and gate, before gathering."""

    def __init__(self, core: nn.Linear, gate: nn.Linear) -> None:
        super().__init__()
        self.core, self.gate = core, gate
        self._joined: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def _join(self, name: str) -> Tensor | None:
        """Both layers' parameters of this name in one tensor, made again only when they are other tensors."""
        core, gate = getattr(self.core, name), getattr(self.gate, name)
        if core is None:
            return None
        known = self._joined.get(name)
        if known is None or known[0] is not core or known[1] is not gate:
            known = self._joined[name] = core, gate, torch.cat([core, gate])
        return known[2]

    def forward(self, *parts: Part) -> tuple[Tensor, ...]:
        weight, total = self._join("weight"), self._join("bias")
        assert weight is not None
        begin = 0
        for rows, index in parts:
            end = begin + rows.shape[1]
            projected = functional.linear(rows, weight[:, begin:end])
            gathered = projected if index is None else projected.index_select(0, index)
            total = gathered if total is None else gathered.add_(total)
            begin = end
        assert total is not None  # there is at least one part
        return total.chunk(2, dim=1)


class _Pick(nn.Module):
    def __init__(self, which: int) -> None:
        super().__init__()
        self.which = which

    def forward(self, projected: tuple[Tensor, ...]) -> Tensor:
        return projected[self.which]
