"""Which outputs of a fairchem model are energy, forces and stress: by its tasks, or by its heads alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fairchem.core.models.uma.escn_md import (
    Linear_Energy_Head,
    Linear_Force_Head,
    MLP_EFS_Head,
    MLP_Stress_Head,
)
from fairchem.core.models.uma.escn_moe import DatasetSpecificMoEWrapper, DatasetSpecificSingleHeadWrapper
from fairchem.core.units.mlip_unit import MLIPPredictUnit

from distmlip.errors import InvalidInputError, UnsupportedModelError

if TYPE_CHECKING:
    from fairchem.core.models.base import HeadInterface, HydraModel
    from fairchem.core.modules.normalization.element_references import ElementReferences
    from fairchem.core.units.mlip_unit.mlip_unit import Task


@dataclass(frozen=True)
class Output:
    """One of the tensors that a model returns."""

    path: tuple[str, ...]
    """Keys that lead to it."""
    property: str
    """``"energy"``, ``"forces"`` or ``"stress"``."""
    direct: bool
    """Whether a head predicts forces or stress, which else are derivatives of the energy."""
    head: str
    """Name of its head in the model."""
    dataset: str | None
    """The dataset that it is for; None: for all."""


@dataclass(frozen=True)
class Scale:
    """What a task's normaliser makes of an output: ``rmsd * output + mean``."""

    rmsd: float = 1.0
    mean: float = 0.0


@dataclass(frozen=True)
class Potential:
    """A model with what of it is evaluated."""

    model: HydraModel
    unit: MLIPPredictUnit | None
    """Where the model comes from, if from a predict unit."""
    dataset: str | None
    outputs: Mapping[str, Output]
    """By property. Forces and stress that the model does not return are missing."""
    scales: Mapping[str, Scale]
    """By property, of the properties that have a task."""
    references: ElementReferences | None
    """Of the energy."""
    max_neighbors: int
    """Of an atom in the original's graph, the nearest; 0: all."""
    strict: bool
    """Whether of neighbours at the same distance some are left out."""

    def direct(self, name: str) -> bool:
        """Whether a head predicts this property."""
        return name in self.outputs and self.outputs[name].direct

    def scale(self, name: str) -> Scale:
        """What a task's normaliser does; to derivatives that have no task what it does to energies."""
        return self.scales.get(name, Scale(rmsd=self.scales.get("energy", Scale()).rmsd))

    def head(self, model: HydraModel, name: str) -> HeadInterface:
        """The head of a property in this model or in a copy of it, without what tells datasets apart."""
        head = model.output_heads[self.outputs[name].head]
        return getattr(head, "head", head)


def outputs_of(model: HydraModel) -> Iterator[Output]:
    """What the heads that are known return, of every dataset."""
    passed_through = getattr(model, "pass_through_head_outputs", False)
    for name, head in model.output_heads.items():
        by_dataset = isinstance(head, DatasetSpecificMoEWrapper | DatasetSpecificSingleHeadWrapper)
        inner = head.head if by_dataset else head
        for key, output, direct in _keys(inner):
            for dataset in head.dataset_names if by_dataset else [None]:
                path = [f"{dataset}_{key}", key] if by_dataset else [key, output]
                if not getattr(head, "wrap_property", False):
                    path.pop()
                if not passed_through:
                    path.insert(0, name)
                yield Output(tuple(path), output, direct, name, dataset)


def _keys(head: HeadInterface) -> Iterator[tuple[str, str, bool]]:
    """What a head calls each of its outputs, which property that is, and whether it is predicted directly."""
    forward = type(head).forward
    if forward is MLP_EFS_Head.forward:
        regress = head.regress_config
        stress = regress.stress and not regress.direct_stress
        forces = stress or (regress.forces and not regress.direct_forces)
        for name, given in (("energy", True), ("forces", forces), ("stress", stress)):
            if given:
                yield f"{head.prefix}_{name}" if head.prefix else name, name, False
    elif forward is Linear_Energy_Head.forward:
        yield "energy", "energy", False
    elif forward is Linear_Force_Head.forward:
        yield "forces", "forces", True
    elif forward is MLP_Stress_Head.forward:
        yield "stress", "stress", True


def choose_dataset(model: HydraModel, asked: str | None) -> str | None:
    """The dataset that is asked for, or the only one; None if the model tells none apart.

    Raises:
        InvalidInputError: the model does not have it, or has several and none is asked for.
    """
    if model._tasks:
        known = list(model.dataset_to_tasks)
    else:
        datasets = [set(head.dataset_names) for head in model.output_heads.values() if hasattr(head, "head")]
        if model.backbone.use_dataset_embedding:
            datasets.append(set(model.backbone.dataset_mapping))
        known = sorted(set.intersection(*datasets)) if datasets else []
    if asked is None and len(known) <= 1:
        return known[0] if known else None
    if asked not in known:
        names = ", ".join(map(repr, known))
        raise InvalidInputError(
            f"task_name={asked!r}; the model has the tasks {names}: give one of them"
            if known
            else f"task_name={asked!r}, but the model tells no tasks apart: leave it out"
        )
    return asked


def tasks_of(model: HydraModel, dataset: str | None) -> dict[str, Task]:
    """The tasks of a dataset by property; empty if the model has none at all."""
    return {task.property: task for task in model.dataset_to_tasks[dataset]} if model._tasks else {}


def choose_outputs(model: HydraModel, dataset: str | None, tasks: Mapping[str, Task]) -> dict[str, Output]:
    """The outputs of the tasks, or of a model without tasks its only ones; by property.

    Raises:
        UnsupportedModelError: it is not clear which are meant, or they cannot be distributed.
    """
    if "hessian" in tasks or model.backbone.regress_config.hessian:
        raise UnsupportedModelError(
            "the model computes Hessians, which are not distributed; load it without "
            "predict_untrained_hessian"
        )
    outputs = _of_tasks(model, tasks) if tasks else _only(model, dataset)
    missing = {"energy", *(name for name in tasks if name in ("forces", "stress"))} - set(outputs)
    if missing:
        kinds = ", ".join(sorted({type(head).__qualname__ for head in model.output_heads.values()}))
        raise UnsupportedModelError(
            f"no head that can be distributed gives {' and '.join(sorted(missing))}; the model has {kinds}, "
            "and known are MLP_EFS_Head, MLP_Energy_Head, Linear_Energy_Head, Linear_Force_Head and "
            "MLP_Stress_Head, alone or by dataset"
        )
    if {name for name, output in outputs.items() if output.direct} == {"stress"}:
        raise UnsupportedModelError(
            "a head predicts the stress, but forces are derivatives of the energy; such a stress cannot be "
            "distributed: leave out the stress head"
        )
    return outputs


def _of_tasks(model: HydraModel, tasks: Mapping[str, Task]) -> dict[str, Output]:
    by_path = {output.path: output for output in outputs_of(model)}
    paths = {name: (task.name, name) for name, task in tasks.items()}
    return {name: by_path[path] for name, path in paths.items() if path in by_path}


def _only(model: HydraModel, dataset: str | None) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    for output in outputs_of(model):
        if output.dataset not in (None, dataset):
            continue
        if output.property in outputs:
            raise UnsupportedModelError(
                f"heads {outputs[output.property].head!r} and {output.head!r} both give {output.property}, "
                "and the model has no tasks that say which is meant; give a model with one of them"
            )
        outputs[output.property] = output
    return outputs


def scale_of(task: Task) -> Scale:
    """What a task's normaliser does.

    Raises:
        UnsupportedModelError: not the same to all components.
    """
    normalizer = task.normalizer
    if normalizer.mean.numel() != 1 or normalizer.rmsd.numel() != 1:
        raise UnsupportedModelError(
            f"the normalizer of task {task.name!r} has a value per component; one for all is supported"
        )
    return Scale(rmsd=float(normalizer.rmsd), mean=float(normalizer.mean))
