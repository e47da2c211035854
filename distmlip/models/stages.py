"""Stages, the pieces that a model is cut into.

A stage is a function of one partition. The executor runs it for every partition, moves the tensors that the
next one names in ``before`` across partitions, and so on; the backward sweep does the same in reverse.

Tensors between stages are known by name and have one row per owned atom, per bond of the partition, per cut
bond, or per anything else that only this partition reads (edges, angles); the exchanges say what they move.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, replace

import torch
from torch import Tensor

from distmlip._native import core
from distmlip.models.exchanges import Exchange, Sizes
from distmlip.models.local_graph import LocalGraph
from distmlip.records.plan import Received

Tensors = dict[str, Tensor]
Pullback = Callable[[Tensors], tuple[Tensors, Tensor | None]]
"""Gradients of a stage's outputs by name -> gradients of its inputs by name, and of the edge vectors
``(n_edges, 3)``; ``None`` where nothing depends on the vectors. May be called once."""


@dataclass(frozen=True)
class Stage(ABC):
    """One step of a model on one partition: what it reads and gives, and a function.

    The executor hands ``run`` the tensors in ``reads`` and stores those in ``writes`` under their names; a
    name that is written again replaces the tensor of that name for all later stages.
    """

    name: str
    _: KW_ONLY
    before: tuple[Exchange, ...] = ()
    """What has to cross partitions first; every name must also be in ``reads``."""
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    results: tuple[str, ...] = ()
    """Outputs with one row per owned atom that go to the caller, detached. The last stage's ``"energy"``
    (n_owned,) in eV is what the backward sweep differentiates."""
    system_results: tuple[str, ...] = ()
    """Outputs of any shape that are summed over partitions."""
    computes: tuple[str, ...] = ()
    """Which rows the stage updates, of ``"atoms"``, ``"edges"``, ``"bonds"``, ``"angles"``."""
    is_cheap: bool = False
    """Whether, with recompute, what it writes is not kept for the way back but made anew, if all that it
    takes is there: nothing may cross partitions before such a stage."""

    @property
    def native(self) -> core.NativeStage | None:
        """What the executor runs without Python in the place of :meth:`run`."""
        return None

    @abstractmethod
    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        """Compute the outputs. ``keep`` says whether the pullback may hold the inside of the stage in
        memory, or has to compute it again when it is called."""


StageFunction = Callable[[LocalGraph, Tensor, Tensors], Tensors]
"""``(graph, vectors, inputs) -> outputs``, all tensors by name; differentiable in vectors and inputs."""


@dataclass(frozen=True)
class EagerStage(Stage):
    """A :class:`Stage` whose pullback comes from autograd: the usual kind."""

    function: StageFunction

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        """See :class:`Stage`; without ``keep`` the function runs again in the pullback."""
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


def received(stages: Sequence[Stage], sizes: Sizes, dtype: torch.dtype) -> list[Received]:
    """By each partition, in the exchanges of a forward sweep."""
    return [
        Received(stage.name, exchange.kind, exchange.name, exchange.bytes_of(exchange.received(sizes), dtype))
        for stage in stages
        for exchange in stage.before
    ]


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
    return replace(stage, reads=(*stage.reads, *sorted(names)))


def _deriving(derive: Derive, stage: EagerStage, names: frozenset[str]) -> EagerStage:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        return stage.function(graph, vectors, {**derive(graph, vectors, names), **inputs})

    return replace(stage, function=function)
