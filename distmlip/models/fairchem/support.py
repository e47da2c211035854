"""Which models of fairchem can be distributed, and what of them is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

from fairchem.core.calculate.ase_calculator import FAIRChemCalculator
from fairchem.core.models.base import BackboneInterface, HydraModel, HydraModelV2
from fairchem.core.models.uma.escn_md import eSCNMDBackbone
from fairchem.core.models.uma.escn_md_block import Edgewise, eSCNMD_Block
from fairchem.core.models.uma.nn.mole import MOLEDGL
from fairchem.core.models.uma.nn.so2_layers import SO2_Convolution
from fairchem.core.units.mlip_unit import MLIPPredictUnit
from fairchem.core.units.mlip_unit.api.inference import UMATask
from torch import nn

from distmlip.errors import UnsupportedModelError
from distmlip.models.fairchem.experts import without_memory
from distmlip.models.fairchem.original import PlainUnit
from distmlip.models.fairchem.outputs import Potential, choose_dataset, choose_outputs, scale_of, tasks_of
from distmlip.models.interface import ModelLike
from distmlip.models.replicate import replicate

EXTERNAL_CUTOFF, EXTERNAL_MAX_NEIGHBORS = 6.0, 300
"""Of the graphs that ``FAIRChemCalculator`` makes with ``external_graph_gen=True``; Å."""


def read_potential(model: ModelLike | MLIPPredictUnit, task_name: str | UMATask | None = None) -> Potential:
    """What is to be evaluated of whatever a user may give.

    Raises:
        UnsupportedModelError: there is a part that cannot be distributed.
        InvalidInputError: a task that the model does not have.
    """
    unit, asked = None, getattr(task_name, "value", task_name)
    if isinstance(model, FAIRChemCalculator):
        asked, model = asked or model.task_name, model.predictor
    if isinstance(model, MLIPPredictUnit):
        unit, model = model, _model_of(model)
    elif isinstance(model, list | tuple):
        model = _joined(model)
    if getattr(type(model), "forward", None) not in (HydraModel.forward, HydraModelV2.forward):
        raise UnsupportedModelError(
            f"{_kind(model)} of fairchem cannot be distributed; give a FAIRChemCalculator, an "
            "MLIPPredictUnit (of load_predict_unit with workers=1), a HydraModel, or a pair (backbone, head)"
        )
    network: HydraModel = model
    reason = _unsupported_part(network.backbone) or _prepared_part(network)
    if reason is not None:
        raise UnsupportedModelError(reason)
    dataset = choose_dataset(network, asked)
    tasks = tasks_of(network, dataset)
    outputs = choose_outputs(network, dataset, tasks)
    external = unit is not None and unit.inference_settings.external_graph_gen
    return Potential(
        model=network,
        unit=unit,
        dataset=dataset,
        outputs=outputs,
        scales={name: scale_of(task) for name, task in tasks.items() if name in outputs},
        references=getattr(tasks.get("energy"), "element_references", None),
        max_neighbors=EXTERNAL_MAX_NEIGHBORS if external else network.backbone.max_neighbors,
        strict=external or network.backbone.enforce_max_neighbors_strictly,
    )


def _model_of(unit: MLIPPredictUnit) -> HydraModel:
    """The unit's own model, or where inference settings have changed that, the one of its checkpoint.

    It shares its weights, but is a copy: with its first prediction a unit may change its model.
    """
    model = unit.model.module
    if not isinstance(model, HydraModel) or _prepared_part(model) is not None:
        try:
            model = PlainUnit.loaded_again(unit).model.module
        except FileNotFoundError as error:
            raise UnsupportedModelError(
                "inference settings (merge_mole, execution_mode or nitro) have changed the predict unit's "
                f"model, and its checkpoint {error.filename} is not there to load it again; give a unit that "
                "has not predicted yet, or one loaded with inference_settings='batch'"
            ) from error
    backbone = model.backbone
    if unit.inference_settings.external_graph_gen and backbone.cutoff > EXTERNAL_CUTOFF:
        raise UnsupportedModelError(
            f"external_graph_gen=True of the predict unit makes graphs with a cutoff of {EXTERNAL_CUTOFF} "
            f"Ang, less than the model's {backbone.cutoff} Ang; load the unit without it"
        )
    if backbone.always_use_pbc and backbone.radius_pbc_version != 2:
        raise UnsupportedModelError(
            "always_use_pbc=True of the backbone makes all systems periodic in all directions; load the "
            "predict unit without this override, and set atoms.pbc"
        )
    weights = next(backbone.parameters())
    return replicate(model, weights.device, weights.dtype, stand_ins=without_memory(model))


def _joined(pair: Sequence[nn.Module]) -> HydraModelV2:
    """Backbone and head as one model of fairchem."""
    if len(pair) != 2 or not isinstance(pair[0], eSCNMDBackbone) or not isinstance(pair[1], nn.Module):
        kinds = ", ".join(map(_kind, pair))
        raise UnsupportedModelError(
            f"({kinds}) is not a pair of an eSCNMDBackbone and a head; models of fairchem form no committees"
        )
    return HydraModelV2(pair[0], {"head": pair[1]})


def _unsupported_part(backbone: BackboneInterface) -> str | None:
    """Why a backbone cannot be cut into stages; None if it can."""
    kind = type(backbone)
    if not isinstance(backbone, eSCNMDBackbone) or (kind.forward, kind._generate_graph) != (
        eSCNMDBackbone.forward,
        eSCNMDBackbone._generate_graph,
    ):
        return (
            f"the backbone is of type {_kind(backbone)}; only eSCNMDBackbone (eSEN) and eSCNMDMoeBackbone "
            "(UMA) with their own forward can be distributed"
        )
    for position, block in enumerate(backbone.blocks):
        if (type(block), type(block.edge_wise)) != (eSCNMD_Block, Edgewise):
            return (
                f"blocks.{position} of the backbone is a {_kind(block)} with {_kind(block.edge_wise)}; only "
                "eSCNMD_Block with Edgewise can be distributed"
            )
    if any(isinstance(part, MOLEDGL) for part in backbone.modules()):
        return "the backbone has experts of moe_layer_type='dgl'; only those of 'pytorch' can be distributed"
    charge = range(backbone.charge_channel_start, backbone.charge_channel_end)
    spin = range(backbone.spin_channel_start, backbone.spin_channel_end)
    if set(charge) & set(spin):
        return f"charge_balanced_channels {[*charge]} and spin_balanced_channels {[*spin]} overlap"
    return None


def _prepared_part(model: nn.Module) -> str | None:
    """What inference settings have made of a model: other layers, or layers for one composition only."""
    for name, part in model.named_modules():
        if getattr(part, "_merged_composition", None) is not None:
            return (
                "the experts of the backbone are merged for one composition; give it as it was before, or a "
                "predict unit, whose checkpoint still has them"
            )
        if getattr(part, "merged_on_dataset", None) is not None:
            return f"{name} is merged for dataset {part.merged_on_dataset!r}; give it as it was before"
        if isinstance(part, Edgewise) and type(part.so2_conv_1) is not SO2_Convolution:
            return (
                f"{name}.so2_conv_1 is a {_kind(part.so2_conv_1)}, made for one execution mode; give the "
                "backbone as it was before prepare_for_inference"
            )
    return None


def _kind(thing: ModelLike) -> str:
    return type(thing).__qualname__
