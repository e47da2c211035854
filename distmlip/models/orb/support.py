"""Which Orb models can be distributed, and with which graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.calculator import ORBCalculator
from orb_models.forcefield.conservative_regressor import ConservativeForcefieldRegressor
from orb_models.forcefield.direct_regressor import DirectForcefieldRegressor
from orb_models.forcefield.forcefield_heads import (
    ConfidenceHead,
    EnergyHead,
    ForceHead,
    GraphHead,
    StressHead,
)
from orb_models.forcefield.gns import AttentionInteractionNetwork, MoleculeGNS
from orb_models.forcefield.nn_util import ChargeSpinConditioner
from orb_models.forcefield.pair_repulsion import ZBLBasis
from torch import nn

from distmlip.errors import InvalidInputError, UnsupportedModelError, type_name
from distmlip.models.interface import ModelLike

Regressor: TypeAlias = ConservativeForcefieldRegressor | DirectForcefieldRegressor
HEADS: dict[str, tuple[type[nn.Module], ...]] = {
    "energy": (EnergyHead,),
    "forces": (ForceHead,),
    "stress": (StressHead, GraphHead),
    "confidence": (ConfidenceHead,),
}
"""The types of the heads that are known, by the names that a model has them by."""
N_TYPES = 118
"""One more than the largest atomic number."""
BASE_FEATURE = "feat"
"""Stands for what every model reads of atoms and edges anyway."""


@dataclass(frozen=True)
class Potential:
    """A model with the graph that it reads."""

    model: Regressor
    cutoff: float
    """Å"""
    max_neighbors: int
    """How many neighbours an atom has in the graph: the nearest ones."""

    @property
    def is_conservative(self) -> bool:
        """Whether forces and stress are derivatives of the energy."""
        return isinstance(self.model, ConservativeForcefieldRegressor)

    @property
    def reads_charge_and_spin(self) -> bool:
        """Of the whole system, from ``atoms.info``."""
        return self.model.model.conditioner is not None


def read_potential(
    model: ModelLike, system_config: SystemConfig | None, max_num_neighbors: int | None
) -> Potential:
    """What the user gave, a model or an ``ORBCalculator``; the options are those of the calculator.

    Raises:
        UnsupportedModelError: it has a part that cannot be distributed.
        InvalidInputError: nobody says what graph the model reads, or an option is out of range.
    """
    if isinstance(model, ORBCalculator):
        system_config = system_config or model.system_config
        if max_num_neighbors is None:
            max_num_neighbors = model.max_num_neighbors
        is_conservative, model = model.conservative, model.model
        if is_conservative != isinstance(model, ConservativeForcefieldRegressor):
            raise UnsupportedModelError(
                "the ORBCalculator has conservative=False, but its model computes forces as derivatives; "
                "leave conservative=None"
            )
    if not isinstance(model, Regressor):
        raise UnsupportedModelError(
            f"{type_name(model)} cannot be distributed; supported are ConservativeForcefieldRegressor, "
            "DirectForcefieldRegressor and ORBCalculator"
        )
    system_config = system_config or model.system_config
    if system_config is None:
        raise InvalidInputError(
            "the model does not say how far it sees; give system_config=SystemConfig(radius=6.0, "
            "max_num_neighbors=120), or the values that it was trained with"
        )
    if not isinstance(system_config, SystemConfig):
        raise InvalidInputError(
            f"system_config={system_config!r}; it must be orb-models' SystemConfig(radius=..., "
            "max_num_neighbors=...)"
        )
    limit = system_config.max_num_neighbors if max_num_neighbors is None else max_num_neighbors
    if isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1:
        raise InvalidInputError(
            f"max_num_neighbors={limit!r}; it must be a number of neighbours, such as 120"
        )
    _require_supported(model)
    return Potential(model, float(system_config.radius), int(limit))


def _require_supported(model: Regressor) -> None:
    _require(model.model, MoleculeGNS, "model")
    gns: MoleculeGNS = model.model
    if len(gns.gnn_stacks) == 0:
        raise UnsupportedModelError("the model has no layers: its num_message_passing_steps is 0")
    for k, layer in enumerate(gns.gnn_stacks):
        _require(layer, AttentionInteractionNetwork, f"model.gnn_stacks.{k}")
        if layer._attention_gate != "sigmoid":
            raise UnsupportedModelError(
                f"model.gnn_stacks.{k} has attention_gate={layer._attention_gate!r}, whose maximum over the "
                "edges of an atom is not computed over partitions; only 'sigmoid' is supported"
            )
        if "concatenative" in layer.conditioning_type:
            raise UnsupportedModelError(
                f"model.gnn_stacks.{k} has a concatenative conditioning, which cannot be distributed yet; "
                "'additive' can"
            )
    if gns.conditioner is not None:
        _require(gns.conditioner, ChargeSpinConditioner, "model.conditioner")
    extra = {*gns.node_feature_names, *gns.edge_feature_names} - {BASE_FEATURE}
    if extra:
        raise UnsupportedModelError(
            f"the model reads {', '.join(sorted(extra))} of atoms or edges besides types and vectors, which "
            "cannot be distributed"
        )
    if "energy" not in model.heads:
        raise UnsupportedModelError(f"the model has no energy head, only {', '.join(model.heads)}")
    for name, head in model.heads.items():
        if type(head) not in HEADS.get(name, ()):
            raise UnsupportedModelError(
                f"heads.{name} of the model is a {type_name(head)}, which cannot be distributed; supported "
                f"are {', '.join(f'{name} ({kinds[0].__name__})' for name, kinds in HEADS.items())}"
            )
    if model.pair_repulsion:
        _require(model.pair_repulsion_fn, ZBLBasis, "pair_repulsion_fn")


def _require(part: nn.Module, known: type[nn.Module], name: str) -> None:
    if type(part) is not known:
        raise UnsupportedModelError(
            f"{name} of the model is a {type_name(part)}, not a {known.__name__}, and cannot be distributed"
        )
