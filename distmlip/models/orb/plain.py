"""Parts of Orb whose arithmetic depends on torch's default dtype, in the dtype of what they read."""

from __future__ import annotations

import torch
from orb_models.forcefield.nn_util import SSP
from orb_models.forcefield.pair_repulsion import ZBLBasis
from torch import Tensor, nn

from distmlip.models.replicate import replicate

COULOMB = 14.3996
"""eV Å"""
BOHR = 0.529
"""Å"""


class ShiftedSoftplus(nn.Module):
    """Stands for Orb's ``SSP``, whose shift is computed in the default dtype."""

    def __init__(self, stands_for: SSP) -> None:
        super().__init__()
        self.beta: float = stands_for.beta
        self.threshold: float = stands_for.threshold

    def forward(self, features: Tensor) -> Tensor:
        shift = nn.functional.softplus(features.new_zeros(1), self.beta, self.threshold)
        return nn.functional.softplus(features, self.beta, self.threshold) - shift


def plain_copy(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A frozen copy of a model, as of :func:`replicate`; its activations know no default dtype."""
    copy = replicate(model, device, dtype)
    for part in list(copy.modules()):
        for name, child in part.named_children():
            if type(child) is SSP:
                setattr(part, name, ShiftedSoftplus(child))
    return copy


def repulsion_energies(repulsion: ZBLBasis, vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """(n_edges,) in eV: each edge's half of the energy of its two atoms, as ``ZBLBasis`` has it.

    ``first``, ``second``: (n_edges,) int64, the atomic numbers at either end of each edge.
    """
    first, second = first + 1, second + 1  # so does Orb
    lengths = vectors.norm(dim=1)
    charges = [numbers.to(vectors.dtype) for numbers in (first, second)]
    powers = [charge**repulsion.a_exp for charge in charges]
    scale = repulsion.a_prefactor * BOHR / (powers[0] + powers[1])
    screening = torch.sum(repulsion.c * torch.exp(-repulsion.d * (lengths / scale)), dim=0)
    reach = repulsion.covalent_radii[first] + repulsion.covalent_radii[second]
    envelope, _ = repulsion._polynomial_cutoff_with_derivative(lengths, reach, repulsion.p)
    energies: Tensor = 0.5 * COULOMB * charges[0] * charges[1] / lengths * screening * envelope
    return energies
