"""The stages of all partitions in one autograd graph, with differentiable exchanges between them.

The executor's sweep cuts the graph at every stage and goes back once. Here nothing is cut, so that results,
forces among them, can be differentiated again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distmlip.models.checks import CheckedStage
from distmlip.models.interface import Add, AllSum, EagerStage, Exchange, Halo, LocalGraph, Swap, Tensors


class LocalExchange:
    """What crosses the partitions of this process, as differentiable operators of the core.

    Those of several processes: :class:`distmlip.training.ranks.RankExchange`.
    """

    def __init__(self, step: Any, graphs: Sequence[LocalGraph], dtype: torch.dtype) -> None:
        """``step``: the core's, of the same atoms as ``graphs``."""
        self._graphs = graphs
        self._dtype = dtype
        self._atom_plan, self._bond_plan = step.atom_plan, step.bond_plan
        self._cut = [part.cut for part in step.parts]

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

    def cross(self, before: Sequence[Exchange], inputs: Sequence[Tensors]) -> None:
        """Replace what a stage names in ``before``, in the inputs of every partition."""
        rows = [
            [
                tensors[exchange.name] if exchange.name in tensors else self._nothing(exchange, graph)
                for tensors, graph in zip(inputs, self._graphs, strict=True)
            ]
            for exchange in before
        ]
        for exchange, crossed in zip(before, self._crossed(before, rows) if before else [], strict=True):
            for tensors, of_partition in zip(inputs, crossed, strict=True):
                tensors[exchange.name] = of_partition

    def fold(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Rows of local atoms, those of halo atoms added to their owners': rows of owned atoms."""
        folded: list[Tensor] = torch.ops.distmlip.fold(list(rows), *self._atom_plan)
        return folded

    def total(self, tensors: Sequence[Tensor]) -> Tensor:
        """The sum over partitions, on the device of the first."""
        device = self._graphs[0].vectors.device
        return torch.stack([tensor.to(device) for tensor in tensors]).sum(dim=0)

    def _crossed(self, exchanges: Sequence[Exchange], rows: Sequence[list[Tensor]]) -> list[list[Tensor]]:
        return [
            self._crossed_by(exchange, of_exchange)
            for exchange, of_exchange in zip(exchanges, rows, strict=True)
        ]

    def _crossed_by(self, exchange: Exchange, rows: list[Tensor]) -> list[Tensor]:
        ops = torch.ops.distmlip
        crossed: list[Tensor]
        if isinstance(exchange, Halo):
            crossed = ops.halo(rows, *self._atom_plan)
        elif isinstance(exchange, Add):
            crossed = ops.add(rows, *self._bond_plan, self._cut)
        elif isinstance(exchange, Swap):
            crossed = ops.swap(rows, *self._bond_plan)
        else:
            crossed = ops.all_sum(rows)
        return crossed

    def _nothing(self, exchange: Exchange, graph: LocalGraph) -> Tensor:
        """What a partition without atoms, for which no stage runs, takes part with."""
        shape = tuple(exchange.width) if isinstance(exchange, AllSum) else (0, *exchange.width)
        return graph.vectors.new_zeros(shape, dtype=self._dtype)


def run_stages(
    stages: Sequence[Sequence[CheckedStage]],
    graphs: Sequence[LocalGraph],
    vectors: Sequence[Tensor],
    exchange: LocalExchange,
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
        outputs = stage.stage.function(graph, vectors, inputs)
        stage.check(graph, outputs)
    except Exception as error:
        error.add_note(f"in the forward of stage {stage.name!r} on partition {graph.partition}")
        raise
    return outputs


def assemble_forces(
    graphs: Sequence[LocalGraph], gradients: Sequence[Tensor], exchange: LocalExchange, n_atoms: int
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
    graphs: Sequence[LocalGraph], gradients: Sequence[Tensor], exchange: LocalExchange
) -> Tensor:
    """(3, 3) float64, symmetric: dE/dstrain."""
    outer = exchange.total(
        [graph.vectors.double().T @ gradient for graph, gradient in zip(graphs, gradients, strict=True)]
    )
    return (outer + outer.T) / 2
