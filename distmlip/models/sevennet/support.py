"""Which SevenNet models can be distributed, and the modality that they are evaluated with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from sevenn.calculator import SevenNetCalculator
from sevenn.nn.convolution import IrrepsConvolution
from sevenn.nn.edge_embedding import EdgeEmbedding
from sevenn.nn.equivariant_gate import EquivariantGate
from sevenn.nn.force_output import ForceStressOutputFromEdge
from sevenn.nn.linear import AtomReduce, FCN_e3nn, IrrepsLinear
from sevenn.nn.node_embedding import OnehotEmbedding
from sevenn.nn.scale import ModalWiseRescale, Rescale, SpeciesWiseRescale
from sevenn.nn.self_connection import SelfConnectionIntro, SelfConnectionLinearIntro, SelfConnectionOutro
from sevenn.nn.sequential import AtomGraphSequential
from torch import nn

from distmlip.errors import InvalidInputError, UnsupportedModelError, type_name
from distmlip.models.interface import ModelLike
from distmlip.models.options import refuse_unknown

PARTS = (
    EdgeEmbedding,
    OnehotEmbedding,
    IrrepsLinear,
    SelfConnectionIntro,
    SelfConnectionLinearIntro,
    IrrepsConvolution,
    SelfConnectionOutro,
    EquivariantGate,
    FCN_e3nn,
    Rescale,
    SpeciesWiseRescale,
    ModalWiseRescale,
    AtomReduce,
    ForceStressOutputFromEdge,
)
"""Every kind of module in the sequence that SevenNet builds for training and for its calculator."""


def read_model(model: ModelLike) -> AtomGraphSequential:
    """The ``AtomGraphSequential`` of what the user gave.

    Raises:
        UnsupportedModelError: it has none, or one with a part that cannot be distributed.
    """
    if isinstance(model, SevenNetCalculator):
        _refuse_atomic_virials(model)
        model = model.model
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "the model is compiled with TorchScript and cannot be cut into stages; make the calculator from "
            "the checkpoint that it was compiled from"
        )
    if getattr(type(model), "forward", None) is not AtomGraphSequential.forward:
        raise UnsupportedModelError(
            f"{type_name(model)} cannot be distributed; give an AtomGraphSequential with its own forward (as "
            "SevenNetCalculator(...).model) or a SevenNetCalculator"
        )
    _require_supported(model)
    return model


def _refuse_atomic_virials(calculator: SevenNetCalculator) -> None:
    if getattr(calculator, "compute_atomic_virial", False):
        raise UnsupportedModelError(
            "compute_atomic_virial=True of the SevenNetCalculator gives virials in eV, each edge's to one of "
            "its atoms, under the name 'stresses'; make it without: DistCalculator always gives 'stresses' "
            "as ASE defines them, in eV/Ang^3"
        )


def _require_supported(model: AtomGraphSequential) -> None:
    """Refuse a model whose energy is not what the stages compute, naming the part."""
    if model.type_map is None or model.cutoff <= 0:
        raise UnsupportedModelError(
            f"the model has type_map={model.type_map} and cutoff={model.cutoff} Ang; SevenNet's calculator "
            "needs both, too: build the model from a checkpoint"
        )
    for name, part in model.named_children():
        if name.endswith("_convolution") and not _runs_on_e3nn(part):
            raise UnsupportedModelError(
                f"{name} of the model runs on an accelerator library (cuEquivariance, FlashTP or "
                "OpenEquivariance), which cannot be distributed yet; build the model from its checkpoint "
                "without enable_cueq, enable_flash and enable_oeq"
            )
        if type(part) not in PARTS:
            raise UnsupportedModelError(
                f"{name} of the model is a {type(part).__qualname__}, which cannot be distributed; supported "
                f"are {', '.join(cls.__qualname__ for cls in PARTS)}"
            )
        if getattr(part, "constant", 1.0) != 1.0:
            raise UnsupportedModelError(
                f"{name} of the model multiplies the total energy by {part.constant}, but not the atoms' "
                "energies; set its constant to 1 and convert the results"
            )
        if getattr(part, "is_parallel", False):
            raise UnsupportedModelError(
                f"{name} of the model was built for LAMMPS (parallel=True) and has its own ghost atoms; "
                "build the model without"
            )
    if not any(type(part) is IrrepsConvolution for part in model):
        raise UnsupportedModelError("the model has no convolution: there is nothing to distribute")


def _runs_on_e3nn(part: nn.Module) -> bool:
    """Whether a convolution is SevenNet's own on e3nn's tensor product."""
    return type(part) is IrrepsConvolution and type(part.convolution).__module__.startswith("e3nn.")


def read_modal(model: ModelLike, network: AtomGraphSequential, given: Mapping[str, Any]) -> str | None:
    """The modality chosen by the user or else by the calculator; None for a model that has none.

    Raises:
        InvalidInputError: an option that SevenNet does not have, a modality that the model does not have, or
            none where the model needs one.
    """
    refuse_unknown(given, ["modal"], "SevenNet")
    modal: str | None = given.get("modal")
    if modal is None and isinstance(model, SevenNetCalculator):
        modal = model.modal
    known = network.modal_map or {}
    if modal not in known and (known or modal is not None):
        names = ", ".join(map(repr, known))
        raise InvalidInputError(
            f"modal={modal!r}; "
            + (f"the model has the modalities {names}: give one" if known else "the model has no modalities")
        )
    return modal
