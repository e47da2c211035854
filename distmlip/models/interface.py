"""How a model family takes part: an adapter is a list of stages.

The energy of every supported model is a function of edge vectors and atom types. An adapter cuts the
model's own forward pass into *stages* at the places where a partition needs rows that another partition
computed. A stage is a function of one partition; the executor runs it for every partition, moves the
tensors named in ``before`` across partitions, runs the next one, and sweeps backwards the same way.

Tensors between stages are known by name and have one row per owned atom (``on="atoms"``), per bond of the
partition (``on="bonds"``) or per anything else that only this partition reads (edges, angles).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from distmlip.models.local_graph import BondGraph, LocalGraph

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = [
    "Adapter",
    "Add",
    "AllSum",
    "BondGraph",
    "EagerStage",
    "Evaluation",
    "Exchange",
    "Halo",
    "LocalGraph",
    "Stage",
    "Swap",
    "Tensors",
    "with_derived",
]

Tensors = dict[str, Tensor]
Pullback = Callable[[Tensors], tuple[Tensors, Tensor | None]]
"""Gradients of a stage's outputs by name -> gradients of its inputs by name, and of the edge vectors
``(n_edges, 3)``; ``None`` where nothing depends on the vectors. May be called once."""


@dataclass(frozen=True)
class Halo:
    """Before the stage, ``name`` (n_owned, *width) becomes (n_local, *width): halo rows from their owners."""

    name: str
    width: tuple[int, ...]
    kind: ClassVar[str] = "halo"


@dataclass(frozen=True)
class Add:
    """Before the stage, each cut bond's row of ``name`` (n_bonds, *width) becomes the sum of both copies."""

    name: str
    width: tuple[int, ...]
    kind: ClassVar[str] = "add"


@dataclass(frozen=True)
class Swap:
    """Before the stage, ``name`` (n_cut, *width), one row per cut bond in the order of ``graph.bonds.cut``,
    becomes the rows that the partitions with the other copies gave."""

    name: str
    width: tuple[int, ...]
    kind: ClassVar[str] = "swap"


@dataclass(frozen=True)
class AllSum:
    """Before the stage, ``name``, one tensor of shape ``width`` per partition, becomes their sum."""

    name: str
    width: tuple[int, ...]
    kind: ClassVar[str] = "all_sum"


Exchange = Halo | Add | Swap | AllSum
"""All are differentiable: the backward sweep runs their adjoints. Partitions without atoms take part with
zeros, so ``width`` must be right."""


class Stage(Protocol):
    """One step of a model on one partition.

    The executor hands ``run`` the tensors in ``reads`` and stores those in ``writes`` under their names; a
    name that is written again replaces the tensor of that name for all later stages.
    """

    @property
    def name(self) -> str: ...

    @property
    def before(self) -> tuple[Exchange, ...]:
        """What has to cross partitions first; every name must also be in ``reads``."""

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def writes(self) -> tuple[str, ...]: ...

    @property
    def results(self) -> tuple[str, ...]:
        """Outputs with one row per owned atom that go to the caller, detached. The last stage's ``"energy"``
        (n_owned,) in eV is what the backward sweep differentiates."""

    @property
    def system_results(self) -> tuple[str, ...]:
        """Outputs of any shape that are summed over partitions."""

    @property
    def computes(self) -> tuple[str, ...]:
        """Which rows the stage updates, of ``"atoms"``, ``"edges"``, ``"bonds"``, ``"angles"``."""

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        """Compute the outputs. ``keep`` says whether the pullback may hold the inside of the stage in
        memory, or has to compute it again when it is called."""


StageFunction = Callable[[LocalGraph, Tensor, Tensors], Tensors]
"""``(graph, vectors, inputs) -> outputs``, all tensors by name; differentiable in vectors and inputs."""


@dataclass(frozen=True)
class EagerStage:
    """A :class:`Stage` whose pullback comes from autograd: the usual kind."""

    name: str
    function: StageFunction
    before: tuple[Exchange, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    system_results: tuple[str, ...] = ()
    computes: tuple[str, ...] = ()

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        if keep:
            return self._run_differentiable(graph, inputs)
        with torch.no_grad():
            outputs = self.function(graph, graph.vectors, dict(inputs))

        def recompute(output_gradients: Tensors) -> tuple[Tensors, Tensor | None]:
            _, pullback = self._run_differentiable(graph, inputs)
            return pullback(output_gradients)

        return outputs, recompute

    def _run_differentiable(self, graph: LocalGraph, inputs: Tensors) -> tuple[Tensors, Pullback]:
        with torch.enable_grad():
            vectors = graph.vectors.detach().requires_grad_()
            leaves = {name: _leaf(tensor) for name, tensor in inputs.items()}
            outputs = self.function(graph, vectors, dict(leaves))

        def pullback(output_gradients: Tensors) -> tuple[Tensors, Tensor | None]:
            differentiable = [name for name in output_gradients if outputs[name].requires_grad]
            wanted = {name: leaf for name, leaf in leaves.items() if leaf.requires_grad}
            if not differentiable:
                return {}, None
            gradients = torch.autograd.grad(
                [outputs[name] for name in differentiable],
                [vectors, *wanted.values()],
                [output_gradients[name] for name in differentiable],
                allow_unused=True,
            )
            outputs.clear()
            named = zip(wanted, gradients[1:], strict=True)
            return {name: gradient for name, gradient in named if gradient is not None}, gradients[0]

        return {name: tensor.detach() for name, tensor in outputs.items()}, pullback


def _leaf(tensor: Tensor) -> Tensor:
    leaf = tensor.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


Derive = Callable[[LocalGraph, Tensor, frozenset[str]], Tensors]
"""``(graph, vectors, names) -> tensors``: functions of edge vectors and types only (edge embeddings)."""


def with_derived(
    derive: Derive, stages: Sequence[tuple[EagerStage, frozenset[str]]], memoise: bool
) -> list[Stage]:
    """Give each stage the derived tensors that it names, as further inputs.

    If ``memoise``, a first stage computes all of them once and they stay in memory for the whole sweep; else
    every stage computes its own again, so that they never outlive a stage.
    """
    if memoise:
        every = frozenset().union(*(names for _, names in stages))
        first = EagerStage(
            "derived",
            lambda graph, vectors, _: derive(graph, vectors, every),
            writes=tuple(sorted(every)),
        )
        return [first, *(_reading(stage, names) for stage, names in stages)]
    return [_deriving(derive, stage, names) for stage, names in stages]


def _reading(stage: EagerStage, names: frozenset[str]) -> EagerStage:
    return EagerStage(**{**vars(stage), "reads": (*stage.reads, *sorted(names))})


def _deriving(derive: Derive, stage: EagerStage, names: frozenset[str]) -> EagerStage:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        return stage.function(graph, vectors, {**derive(graph, vectors, names), **inputs})

    return EagerStage(**{**vars(stage), "function": function})


@dataclass(frozen=True)
class Evaluation:
    """What one sweep of one model over all partitions gave, in the order of the user's atoms."""

    atoms: Mapping[str, np.ndarray]
    """The stages' ``results``: (n_atoms, ...); ``"energy"`` is (n_atoms,) float64 in eV."""
    system: Mapping[str, np.ndarray]
    """The stages' ``system_results``, summed over partitions."""
    forces: np.ndarray
    """(n_atoms, 3) float64, eV/Å: minus the gradient of the energy; zeros if the adapter is not
    ``conservative``, as are the virials."""
    virials: np.ndarray
    """(n_atoms, 3, 3) float64, eV: each atom's symmetric share of ``-dE/dstrain``; half of each edge's to
    either end. Their sum is the virial of the system; ``stress = -virial / volume``."""


class Adapter(ABC):
    """One model object (or committee of model objects) of one family."""

    family: ClassVar[str]
    models: Sequence[torch.nn.Module]
    """The user's own objects; never modified."""
    cutoff: float
    """Å; edges are the pairs with distance ``< cutoff``."""
    bond_cutoff: float | None = None
    """Å; for models with angles."""
    dtype: torch.dtype
    """In which the model is evaluated."""
    conservative: bool = True
    """Whether forces are the gradient of the energy. If not, there is no backward sweep and no stress from
    virials: :meth:`results` takes forces (and stress, if the model has one) from outputs of the stages."""
    supported_numbers: frozenset[int]
    """Atomic numbers that the model knows."""
    implemented_properties: Sequence[str]
    """Keys of :meth:`results`; the original calculator's and ``free_energy``, ``energies``, ``stresses``."""

    @abstractmethod
    def replicate(self, index: int, device: torch.device) -> torch.nn.Module:
        """An evaluation copy of ``models[index]`` on ``device`` in :attr:`dtype`: frozen, in eval mode,
        independent of the user's object except for shared storage."""

    @abstractmethod
    def stages(self, module: torch.nn.Module, recompute: bool) -> Sequence[Stage]:
        """The stages that evaluate a replica."""

    @abstractmethod
    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        """ASE results from one evaluation per model: every key of the original calculator, in ASE's units.
        If the adapter is conservative, the calculator adds ``stress`` and ``stresses`` (Voigt-6, eV/Å^3) from
        the virials."""

    @abstractmethod
    def reference(self, dtype: torch.dtype | None = None) -> Calculator:
        """The family's own calculator on an independent copy of the models: the undivided original."""

    def system(self, atoms: Atoms) -> dict[str, Tensor]:  # noqa: ARG002  families without such quantities
        """Quantities besides positions and types that the model reads (charge, spin, …).

        They are computed from the whole system and given to every partition as ``graph.system``; one with a
        row per atom is to be indexed with ``graph.atoms``. The calculator recomputes when they change.
        """
        return {}
