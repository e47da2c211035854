"""The stages of all partitions in one autograd graph, with differentiable exchanges between them.

The executor's sweep cuts the graph at every stage and goes back once. Here nothing is cut, so that results,
forces among them, can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distmlip._native import core
from distmlip.models.checks import CheckedStage
from distmlip.models.interface import EagerStage, Exchange, Halo, LocalGraph, Tensors

Context = Any
"""Of a torch.autograd.Function."""


class LocalCrossing:
    """What crosses the partitions of this process, differentiably.

    Those of several processes: :class:`distmlip.training.ranks.RankCrossing`.
    """

    def __init__(self, crossing: core.Crossing, graphs: Sequence[LocalGraph], dtype: torch.dtype) -> None:
        """``crossing``: the core's, of the same atoms as ``graphs``."""
        self.crossing = crossing
        self._graphs = graphs
        self._dtype = dtype
        self._token: Tensor | None = None

    @property
    def tokens(self) -> list[Tensor]:
        """What gradients have to be asked for, too, so that everything crosses on the way back."""
        return []

    def parameters(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """What stages compute with, so that gradients of the user's parameters are whole. Called first."""
        return list(parameters)

    def follow(self, gradients: Sequence[Tensor]) -> None:
        """What crosses from now on comes after the sweep that these gradients of the tokens are of."""

    def end(self) -> None:
        """The prediction is made: what crosses from now on belongs to a backward of the user's."""

    def go_back(self) -> None:
        """Adjoints are about to cross."""

    def cross(self, before: Sequence[Exchange], inputs: Sequence[Tensors]) -> None:
        """Replace what a stage names in ``before``, in the inputs of every partition."""
        rows = [
            [
                tensors[exchange.name] if exchange.name in tensors else self._nothing(exchange, graph)
                for tensors, graph in zip(inputs, self._graphs, strict=True)
            ]
            for exchange in before
        ]
        for exchange, crossed in zip(before, self.crossed(before, rows) if before else [], strict=True):
            for tensors, of_partition in zip(inputs, crossed, strict=True):
                tensors[exchange.name] = of_partition

    def fold(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Rows of local atoms, those of halo atoms added to their owners': rows of owned atoms."""
        return self.crossed([Halo("", ())], [rows], adjoint=True)[0]

    def total(self, tensors: Sequence[Tensor]) -> Tensor:
        """The sum over partitions, on the device of the first."""
        device = self._graphs[0].vectors.device
        return torch.stack([tensor.to(device) for tensor in tensors]).sum(dim=0)

    def crossed(
        self, exchanges: Sequence[Exchange], rows: Sequence[Sequence[Tensor]], adjoint: bool = False
    ) -> list[list[Tensor]]:
        """What the exchanges, or their adjoints, make of ``rows[exchange][partition]``."""
        flat = [tensor for of_exchange in rows for tensor in of_exchange]
        self._token, *crossed = applied(_Crossing, self, exchanges, adjoint, self._token, *flat)
        return _split(crossed, len(exchanges))

    def _nothing(self, exchange: Exchange, graph: LocalGraph) -> Tensor:
        """What a partition without atoms, for which no stage runs, takes part with."""
        return graph.vectors.new_zeros(exchange.shape(graph), dtype=self._dtype)


class _Crossing(torch.autograd.Function):
    """All exchanges of a boundary at once; or their adjoints, which are its gradient."""

    @staticmethod
    def forward(
        context: Context,
        exchange: LocalCrossing,
        before: Sequence[Exchange],
        adjoint: bool,
        token: Tensor | None,
        *rows: Tensor,
    ) -> tuple[Tensor | None, ...]:
        context.what = (exchange, before, not adjoint)
        crossed = exchange.crossing.cross(before, _split(rows, len(before)), adjoint)
        given = None if token is None else token.clone()
        return given, *(tensor for of_exchange in crossed for tensor in of_exchange)

    @staticmethod
    def backward(context: Context, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        context.what[0].go_back()
        return None, None, None, *applied(_Crossing, *context.what, *gradients)


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """What an autograd function makes of these."""
    return function.apply(*arguments)  # type: ignore[no-untyped-call]


def _split(tensors: Sequence[Tensor], n_groups: int) -> list[list[Tensor]]:
    size = len(tensors) // n_groups
    return [list(tensors[k * size : (k + 1) * size]) for k in range(n_groups)]


def run_stages(
    stages: Sequence[Sequence[CheckedStage]],
    graphs: Sequence[LocalGraph],
    vectors: Sequence[Tensor],
    exchange: LocalCrossing,
) -> dict[str, Tensor]:
    """Sums in float64: of the stages' results over all atoms, of their system results over partitions.

    ``stages[p]`` are those of partition p, ``vectors[p]`` (n_edges, 3) its edge vectors.
    """
    state = [Tensors() for _ in graphs]
    shares: dict[str, list[Tensor]] = {}  # without partitions that own nothing: a rank may have no other
    for k, stage in enumerate(stages[0]):
        for name in (*stage.results, *stage.system_results):
            shares.setdefault(name, [])
        inputs = [
            Tensors() if graph.n_owned == 0 else {name: known[name] for name in stage.reads}
            for known, graph in zip(state, graphs, strict=True)
        ]
        exchange.cross(stage.before, inputs)
        for p, graph in enumerate(graphs):
            if graph.n_owned == 0:
                continue
            outputs = _run(stages[p][k], graph, vectors[p], inputs[p])
            state[p] |= {name: outputs[name] for name in stage.writes}
            for name in stage.results:
                shares[name].append(outputs[name].double().sum())
            for name in stage.system_results:
                shares[name].append(outputs[name].double())
    return {name: exchange.total(parts) for name, parts in shares.items()}


def _run(stage: CheckedStage, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
    assert isinstance(stage.stage, EagerStage)  # checked when the model was made
    try:
        with core.DefaultStreams([graph.vectors.device]):  # what names no device is made here, too
            outputs = stage.stage.function(graph, vectors, inputs)
        stage.check(graph, outputs)
    except Exception as error:
        error.add_note(f"in the forward of stage {stage.name!r} on partition {graph.partition}")
        raise
    return outputs


def assemble_forces(
    graphs: Sequence[LocalGraph], gradients: Sequence[Tensor], exchange: LocalCrossing, n_atoms: int
) -> Tensor:
    """(n_atoms, 3) float64, in the order of the user's atoms, from dE/dvector of every partition's edges."""
    rows = []
    for graph, gradient in zip(graphs, gradients, strict=True):
        forces = gradient.new_zeros(graph.n_local, 3)
        forces = forces.index_add(0, graph.receivers, gradient).index_add(0, graph.senders, -gradient)
        rows.append(forces)
    device = graphs[0].atoms.device
    forces = torch.cat([owned.to(device) for owned in exchange.fold(rows)])
    atoms = torch.cat([graph.atoms[: graph.n_owned].to(device) for graph in graphs])
    return exchange.total([forces.new_zeros(n_atoms, 3).index_copy(0, atoms, forces)])


def strain_gradient(
    graphs: Sequence[LocalGraph], gradients: Sequence[Tensor], exchange: LocalCrossing
) -> Tensor:
    """(3, 3) float64, symmetric: dE/dstrain."""
    outer = exchange.total(
        [graph.vectors.double().T @ gradient for graph, gradient in zip(graphs, gradients, strict=True)]
    )
    return (outer + outer.T) / 2
