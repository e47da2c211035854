"""A model over partitions that can be trained: energy, forces and stress in one autograd graph."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from distmlip._native import core
from distmlip.cell import volume_of
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.evaluation.graphs import Graphs
from distmlip.evaluation.settings import Settings
from distmlip.inputs import (
    check_atoms,
    checked_atoms,
    checked_choice,
    checked_dtype,
)
from distmlip.machine.devices import DeviceLike
from distmlip.models import adapter_for
from distmlip.models.checks import CheckedStage, checked
from distmlip.models.interface import Adapter, EagerStage, LocalGraph
from distmlip.ranks.agreement import digest_of
from distmlip.ranks.driver import Driver, Task, agreed_atoms
from distmlip.ranks.group import OneAtATime, Ranks, ranks_of_this_run
from distmlip.torch_modes import usual_modes
from distmlip.training.ranks import RankCrossing
from distmlip.training.replica import TrainableReplica
from distmlip.training.stages import LocalCrossing, assemble_forces, run_stages, strain_gradient

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
        partitions: how many; ``"auto"``: one per device or rank, on a CPU one per 128 atoms if that is more.
        devices: a device or a list of devices; None: where the model's parameters are. On others the
            parameters are copied in every call, differentiably.
        dtype: ``torch.float32`` or ``torch.float64`` (or their names), likewise; None: the model's own.
        method: how to cut: ``"slab"``, ``"bisection"`` or ``"auto"``.
        weights: (n_atoms,) cost of each atom, to balance partitions; default: its number of edges.
        ranks: ``"auto"``: the processes that torchrun started share the partitions, and start from the
            parameters of rank 0; every rank makes the same calls. ``False``: this process has all of them.
        **family_options: options of the model family, such as ``head`` for MACE.

    Raises:
        UnsupportedModelError: the model cannot be distributed, or not be trained over partitions.
        InvalidInputError: an argument is out of its range.
        DeviceError: a device does not exist, or does not have float64.
    """

    @usual_modes()
    def __init__(
        self,
        model: Any,
        *,
        partitions: int | str = "auto",
        devices: DeviceLike | Sequence[DeviceLike] | None = None,
        dtype: torch.dtype | str | None = None,
        method: str = "auto",
        weights: ArrayLike | None = None,
        ranks: bool | str = "auto",
        **family_options: Any,
    ) -> None:
        super().__init__()
        is_copy = family_options.pop("_is_copy", False)
        options = {
            "partitions": partitions,
            "devices": devices,
            "dtype": dtype,
            "method": method,
            "weights": weights,
            "ranks": ranks,
        }
        self._arguments = (model, {**options, **family_options})
        self._lock = threading.RLock()  # threads that share the model take turns
        self._work = OneAtATime()
        self._ranks = ranks_of_this_run() if checked_choice("ranks", ranks, ("auto", False)) else None
        # A copy may be made by one rank alone: it has the parameters that it was copied with.
        self._takes_over = self._ranks is not None and not is_copy
        if self._ranks is not None and Driver.active is not None:
            raise InvalidInputError(
                "a DistModel over several ranks needs a script that all of them run, because each has to "
                "compute the loss; start it with torchrun, not with distmlip run, or give ranks=False"
            )
        self._number = -1
        self._make_adapter = partial(adapter_for, model, checked_dtype(dtype), **family_options)
        self._adapter = self._make_adapter()
        _require_trainable(self._adapter)
        (self.model,) = self._adapter.models
        on = _device_of(self.model) if devices is None else devices
        # No skin: structures of a training set have no history.
        self._settings = Settings.checked(
            self._ranks, devices=on, partitions=partitions, method=method, weights=weights
        )
        self._settings.devices.require_float64("training sums in", "devices='cpu'")
        self._set_up()

    def _set_up(self) -> None:
        """What is made of the parameters and buffers as they are now."""
        self._graphs = Graphs(self._adapter, self._settings)
        self._replicas: list[TrainableReplica] = []
        self._stages: list[list[CheckedStage]] = []
        for device in self._settings.devices.devices:
            with core.DefaultStreams([device]):  # what names no device is made here, too
                self._replicas.append(self._replica(device))
                self._stages.append(self._stages_of(self._replicas[-1]))

    def forward(self, atoms: Atoms) -> Prediction:
        """Energy, forces and stress of the atoms.

        Raises:
            InvalidInputError: a structure that cannot be calculated.
            UnsupportedModelError: a part of the model is in training mode and computes something else there.
        """
        atoms, differentiable = checked_atoms(atoms), torch.is_grad_enabled()
        _require_eval_mode(self.model)
        turn = nullcontext() if self._ranks is None else self._ranks.turn()
        with self._lock, turn, self._work if self._ranks is None else self._ranks.work, usual_modes():
            if self._ranks is not None:
                atoms = self._shared(self._ranks, atoms)
            system = check_atoms(atoms, self._adapter, self._settings.weights)
            # As in the executor's threads. Backward is the user's own, on the streams of the forward.
            with core.FlushedTeam(), core.DefaultStreams(self._settings.devices.devices):
                prediction = self._predict(atoms, system, differentiable)
            _hand_over(prediction)
        return prediction if differentiable else _detached(prediction)

    def _shared(self, ranks: Ranks, atoms: Atoms) -> Atoms:
        """Rank 0's atoms, with which all ranks have come; at the first call also its parameters."""
        with self._together():
            digest = ""
            if self._number < 0:
                self._number = ranks.next_number()
                digest = digest_of([self.model], self._arguments[1], with_values=not self._takes_over)
            atoms, _ = agreed_atoms(ranks, self._adapter, atoms, (Task.PREDICT, self._number, (), digest))
            ranks.require_same_devices(self._settings.devices.devices[0])
            if self._takes_over:
                _take_over(ranks, self.model)
                self._adapter = self._make_adapter()  # for what it may have derived of parameters
                self._set_up()
                self._takes_over = False
        return atoms

    def _predict(self, atoms: Atoms, system: Mapping[str, Tensor], differentiable: bool) -> Prediction:
        with self._together():
            graphs = self._graphs.at(atoms, system)
            exchange = self._exchange(graphs)
            trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            shared = dict(zip(map(id, trained), exchange.parameters(trained), strict=True))
            for replica in self._replicas:
                replica.renew(shared)
            vectors = [graph.vectors.detach().requires_grad_() for graph in graphs]
            stages = [self._stages[device] for device in self._graphs.device_of_partition]
            sums = run_stages(stages, graphs, vectors, exchange)
        energy = self._adapter.total_energy(atoms, sums)
        with self._together():
            # By one thread, so that autograd numbers what it makes in the same order on every rank.
            with torch.autograd.set_multithreading_enabled(self._ranks is None):
                found = _gradients(energy, [*vectors, *exchange.tokens], differentiable=differentiable)
            gradients = [gradient.double() for gradient in found[: len(vectors)]]
            exchange.follow(found[len(vectors) :])
            forces = assemble_forces(graphs, gradients, exchange, len(atoms))
            volume = volume_of(atoms)
            stress = strain_gradient(graphs, gradients, exchange) / volume if volume > 0 else None
        exchange.end()
        return Prediction(energy, forces, stress)

    def _exchange(self, graphs: list[LocalGraph]) -> LocalCrossing:
        crossing, dtype = core.Crossing(self._graphs.native.step), self._adapter.dtype
        if self._ranks is None:
            return LocalCrossing(crossing, graphs, dtype)
        return RankCrossing(self._ranks, crossing, graphs, dtype)

    def _together(self) -> AbstractContextManager[None]:
        return nullcontext() if self._ranks is None else self._ranks.together("a prediction")

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
    return DistModel(model, **options, _is_copy=True)


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


def _take_over(ranks: Ranks, model: nn.Module) -> None:
    """The parameters and buffers of rank 0: a new layer may have been initialised at random."""
    tensors = [*model.parameters(), *model.buffers()]
    with torch.no_grad():
        for mine, first in zip(
            tensors, ranks.broadcast([tensor.detach().cpu() for tensor in tensors]), strict=True
        ):
            mine.copy_(first)


def _hand_over(prediction: Prediction) -> None:
    """To the stream that is current: the memory is not used again before that is done with it."""
    for tensor in prediction:
        if tensor is not None and tensor.device.type != "cpu":
            tensor.record_stream(torch.accelerator.current_stream(tensor.device))


def _detached(prediction: Prediction) -> Prediction:
    energy, forces, stress = prediction
    return Prediction(energy.detach(), forces.detach(), None if stress is None else stress.detach())
