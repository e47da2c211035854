"""What fairchem's models read of the whole system: charge, spin and dataset, and for which composition their
experts are mixed.

The gate of the experts sees the mean over all atoms, so a partition cannot compute it. It is evaluated once,
for the whole system, and every replica holds plain linear layers in place of the mixtures, merged for that
system.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from fairchem.core.models.uma.escn_moe import DatasetSpecificMoEWrapper
from fairchem.core.models.uma.nn.mole import MOLE, MOLEGlobals
from torch import Tensor, nn

from distmlip.models.fairchem.plain import make_plain
from distmlip.models.interface import Tensors
from distmlip.models.quiet import quiet
from distmlip.models.replicate import StandIns, replicate

if TYPE_CHECKING:
    from fairchem.core.models.uma.escn_md import eSCNMDBackbone

System = tuple[int, int, tuple[int, ...]]
"""Charge, spin, and the number of atoms of every atomic number."""


def without_memory(model: nn.Module) -> StandIns:
    """Stand-ins for what the mixtures remember of the last system: tensors with a history, which cannot be
    copied."""
    memories = {id(memory) for memory in _memories(model)}
    return {memory: MOLEGlobals(None, None) for memory in memories}


def _memories(model: nn.Module) -> Iterator[MOLEGlobals]:
    for part in model.modules():
        memory = getattr(part, "global_mole_tensors", None)
        if memory is not None:
            yield memory


class MergedExperts:
    """The mixtures of experts in a part of a model, as linear layers that are merged for one system."""

    def __init__(self, part: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        mixtures = [module for module in part.modules() if isinstance(module, MOLE)]
        self._layers = [(mixture, _linear(mixture, device, dtype)) for mixture in mixtures]
        self._coefficients: Tensor | None = None

    @property
    def has_layers(self) -> bool:
        """Whether there is any mixture."""
        return bool(self._layers)

    def stand_ins(self) -> StandIns:
        """By the id of the mixture that a linear layer takes the place of."""
        return {id(mixture): linear for mixture, linear in self._layers}

    @torch.no_grad()
    def merge(self, coefficients: Tensor) -> bool:
        """Make the layers those of a system with these coefficients (1, n_experts); False: they were."""
        if self._coefficients is not None and torch.equal(coefficients, self._coefficients):
            return False
        self._coefficients = None
        for mixture, linear in self._layers:
            experts = mixture.weights.to(coefficients.dtype)
            # The user's autocast is no part of the model: it would round weights that stay.
            with torch.autocast(experts.device.type, enabled=False):
                weights = torch.einsum("eoi, be->boi", experts, coefficients.to(experts.device))
            linear.weight.copy_(weights[0])
            if mixture.bias is not None:
                linear.bias.copy_(mixture.bias)
        self._coefficients = coefficients
        return True


def experts_of_dataset(
    head: nn.Module, dataset: str | None, device: torch.device, dtype: torch.dtype
) -> StandIns:
    """Stand-ins for the mixtures in a head that has one expert per dataset: the layers of this dataset."""
    if not isinstance(head, DatasetSpecificMoEWrapper):
        return {}
    coefficients = torch.zeros(1, len(head.dataset_name_to_exp), device=device, dtype=dtype)
    coefficients[0, head.dataset_name_to_exp[dataset]] = 1.0
    experts = MergedExperts(head, device, dtype)
    experts.merge(coefficients)
    return experts.stand_ins()


def _linear(mixture: MOLE, device: torch.device, dtype: torch.dtype) -> nn.Linear:
    """A layer of the same shape. Its weights are not drawn: random numbers are the user's."""
    layer: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
        nn.Linear,
        mixture.in_features,
        mixture.out_features,
        bias=mixture.bias is not None,
        device=device,
        dtype=dtype,
    )
    return layer


class SystemEmbedding:
    """Embeds a system and mixes coefficients of experts for it; remembers those of the last system."""

    def __init__(self, backbone: eSCNMDBackbone, dtype: torch.dtype, dataset: str | None) -> None:
        stand_ins = {id(backbone.blocks): nn.ModuleList(), **without_memory(backbone)}
        self._backbone: eSCNMDBackbone = replicate(backbone, torch.device("cpu"), dtype, stand_ins=stand_ins)
        make_plain(self._backbone, dtype)
        self._dataset = dataset
        self._balances = balances_channels(backbone)
        self._mixes = getattr(backbone, "num_experts", 0) > 0
        self._lock = threading.Lock()
        self._last: tuple[System, Tensors] | None = None

    def of(self, charge: int, spin: int, numbers: np.ndarray) -> Tensors:
        """One row per quantity. ``numbers``: (n_atoms,)."""
        system = charge, spin, tuple(np.bincount(numbers).tolist())
        # The backbone leaves the coefficients of its last system in itself: one thread at a time.
        with self._lock, torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
            if self._last is None or self._last[0] != system:
                self._last = system, self._embedded(system)
            return dict(self._last[1])

    def _embedded(self, system: System) -> Tensors:
        charges, spins, counts = torch.tensor([system[0]]), torch.tensor([system[1]]), torch.tensor(system[2])
        datasets = None if self._dataset is None else [self._dataset]
        embedding = self._backbone.csd_embedding(charge=charges, spin=spins, dataset=datasets)
        quantities = {"embedding": embedding}
        if self._mixes:
            numbers = torch.repeat_interleave(counts)
            same_system = torch.zeros_like(numbers)
            with quiet():  # torch says that a function fairchem uses is in beta
                self._backbone.set_MOLE_coefficients(numbers, same_system, embedding)
            quantities["experts"] = self._backbone.global_mole_tensors.expert_mixing_coefficients
        if self._balances:
            # A linear embedding of the spin overwrites spin 0, and what is balanced is what it leaves.
            quantities |= {"charge": charges, "spin": spins, "n_atoms": counts.sum()[None]}
        return quantities


def balances_channels(backbone: eSCNMDBackbone) -> bool:
    """Whether some channels are made to sum to the charge or spin of the whole system after every layer."""
    ends = backbone.charge_channel_end, backbone.spin_channel_end
    return ends != (backbone.charge_channel_start, backbone.spin_channel_start)
