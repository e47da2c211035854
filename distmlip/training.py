"""A model over partitions that can be trained: energy, forces and stress in one autograd graph."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from distmlip.cell import volume_of
from distmlip.devices import DeviceLike, resolve_devices
from distmlip.errors import UnsupportedModelError
from distmlip.evaluator import Evaluator
from distmlip.inputs import check_atoms
from distmlip.joint_graph import LocalExchange, assemble_forces, run_stages, strain_gradient
from distmlip.models import adapter_for
from distmlip.models.checks import CheckedStage, checked
from distmlip.models.interface import Adapter, EagerStage
from distmlip.models.trainable import TrainableReplica
from distmlip.options import (
    METHODS,
    checked_choice,
    checked_dtype,
    checked_partitions,
    checked_weights,
)
from distmlip.settings import Settings

if TYPE_CHECKING:
    from ase import Atoms


class Prediction(NamedTuple):
    """What a model says of one structure; all of it can be differentiated with respect to its parameters."""

    energy: Tensor
    """() float64, eV: the calculator's energy."""
    forces: Tensor
    """(n_atoms, 3) float64, eV/Å, in the order of the atoms."""
    stress: Tensor | None
    """(3, 3) float64, eV/Å^3, symmetric, with ASE's sign; None without a cell volume."""


class DistModel(nn.Module):
    """A machine-learning potential over partitions as a module with the parameters of the user's model.

    ``DistModel(model)(atoms)`` gives a :class:`Prediction`. A loss of energy, forces and stress can be
    backpropagated, through the exchange between partitions, into the parameters of the object that was given;
    gradients are those of the undivided model. Where gradients are switched off (``torch.no_grad``) the
    prediction has none and costs less memory.

    Parameters are read anew in every call. The model runs as in eval mode.

    Args:
        model: a model object, or the family's own ASE calculator with one model.
        partitions: how many; ``"auto"``: as :class:`distmlip.DistCalculator` chooses.
        devices: a device or a list of devices; None: where the model's parameters are. On others the
            parameters are copied in every call, differentiably.
        dtype: ``torch.float32`` or ``torch.float64`` (or their names), likewise; None: the model's own.
        method: how to cut: ``"slab"``, ``"bisection"`` or ``"auto"``.
        weights: (n_atoms,) cost of each atom, to balance partitions; default: its number of edges.
        **family_options: options of the model family, such as ``head`` for MACE.

    Raises:
        UnsupportedModelError: the model cannot be distributed, or not be trained over partitions.
        InvalidInputError: an argument is out of its range.
        DeviceError: a device does not exist.
    """

    def __init__(
        self,
        model: Any,
        *,
        partitions: int | str = "auto",
        devices: DeviceLike | Sequence[DeviceLike] | None = None,
        dtype: torch.dtype | str | None = None,
        method: str = "auto",
        weights: ArrayLike | None = None,
        **family_options: Any,
    ) -> None:
        super().__init__()
        options = {
            "partitions": partitions,
            "devices": devices,
            "dtype": dtype,
            "method": method,
            "weights": weights,
        }
        self._arguments = (model, {**options, **family_options})
        self._lock = threading.RLock()  # threads that share the model take turns
        with torch.inference_mode(False):
            adapter = adapter_for(model, checked_dtype(dtype), **family_options)
        _require_trainable(adapter)
        (self.model,) = adapter.models
        chosen = resolve_devices(_device_of(self.model) if devices is None else devices)
        settings = Settings(
            devices=chosen,
            partitions=checked_partitions(partitions),
            method=checked_choice("method", method, METHODS),
            weights=checked_weights(weights),
            recompute=False,
            skin=0.0,  # structures of a training set have no history
        )
        self._adapter = adapter
        self._evaluator = Evaluator(adapter, settings)
        with torch.inference_mode(False):
            self._replicas = [self._replica(device) for device in chosen.devices]
            self._stages = [self._stages_of(replica) for replica in self._replicas]

    def forward(self, atoms: Atoms) -> Prediction:
        """Energy, forces and stress of the atoms.

        Raises:
            InvalidInputError: a structure that cannot be calculated.
            UnsupportedModelError: a part of the model is in training mode and computes something else there.
        """
        differentiable = torch.is_grad_enabled()
        _require_eval_mode(self.model)
        with self._lock, torch.inference_mode(False), torch.enable_grad():
            check_atoms(atoms, self._adapter, self._evaluator.settings.weights)
            prediction = self._predict(atoms, differentiable)
        return prediction if differentiable else _detached(prediction)

    def _predict(self, atoms: Atoms, differentiable: bool) -> Prediction:
        graphs = self._evaluator.graphs(atoms)
        exchange = LocalExchange(self._evaluator.step, graphs, self._adapter.dtype)
        for replica in self._replicas:
            replica.renew()
        vectors = [graph.vectors.detach().requires_grad_() for graph in graphs]
        stages = [self._stages[device] for device in self._evaluator.device_of_partition]
        energy = self._adapter.total_energy(atoms, run_stages(stages, graphs, vectors, exchange))
        gradients = [
            gradient.double() for gradient in _gradients(energy, vectors, differentiable=differentiable)
        ]
        volume = volume_of(atoms)
        return Prediction(
            energy,
            assemble_forces(graphs, gradients, exchange),
            strain_gradient(graphs, gradients, exchange) / volume if volume > 0 else None,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, self._arguments

    def _replica(self, device: torch.device) -> TrainableReplica:
        return TrainableReplica(self._adapter.replicate(0, device), self.model, device, self._adapter.dtype)

    def _stages_of(self, replica: TrainableReplica) -> list[CheckedStage]:
        stages = self._adapter.stages(replica.module, recompute=False)
        for stage in stages:
            if not isinstance(stage, EagerStage):
                raise _untrainable(
                    self._adapter, f"its stage {stage.name!r} is a {type(stage).__name__} and no EagerStage"
                )
        return checked(stages, has_bonds=self._adapter.bond_cutoff is not None, conservative=True)


def _rebuild(model: Any, options: dict[str, Any]) -> DistModel:
    return DistModel(model, **options)


def _require_trainable(adapter: Adapter) -> None:
    if len(adapter.models) != 1:
        raise _untrainable(
            adapter, f"it is a committee of {len(adapter.models)}; make a DistModel of each member"
        )
    if adapter.untrainable is not None:
        raise _untrainable(adapter, adapter.untrainable)
    if not adapter.conservative:
        raise _untrainable(adapter, "its forces are an output, and no derivative of its energy")


def _untrainable(adapter: Adapter, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"this {adapter.family} model cannot be trained over partitions: {reason}")


def _require_eval_mode(model: nn.Module) -> None:
    """Partitions would drop other features than the whole, and have other statistics."""
    for name, part in model.named_modules():
        drops = isinstance(part, _DropoutNd) and part.p > 0
        if part.training and (drops or isinstance(part, _BatchNorm)):
            raise UnsupportedModelError(
                f"{name} of the model is a {type(part).__name__} in training mode, which cannot be "
                "distributed; call model.eval() first: its parameters can be trained in eval mode, too"
            )


def _device_of(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def _gradients(energy: Tensor, vectors: Sequence[Tensor], differentiable: bool) -> Sequence[Tensor]:
    if not energy.requires_grad:  # no edges, and nothing to be trained
        return [torch.zeros_like(of_partition) for of_partition in vectors]
    return torch.autograd.grad(
        energy, vectors, create_graph=differentiable, allow_unused=True, materialize_grads=True
    )


def _detached(prediction: Prediction) -> Prediction:
    energy, forces, stress = prediction
    return Prediction(energy.detach(), forces.detach(), None if stress is None else stress.detach())
