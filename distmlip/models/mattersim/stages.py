"""The stages of a MatterSim model, one per block, made of the model's own submodules.

Edges belong to their first atom, our receiver: its angles, and what it gathers of its edges, are here. Only
the networks of edges read the other atom, whose rows a halo exchange completes before every block but the
first: that one reads what depends on types.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distmlip.machine.devices import in_float64
from distmlip.models.interface import EagerStage, Halo, LocalGraph, Tensors

DERIVED = frozenset({"lengths", "radial", "angular"})
"""Of edges (n_edges, 1) in Å, and what blocks read of edges and of angles alone."""
ROUNDING = 1e-7
"""How far cosines of angles stay from -1 and 1."""


class Blocks:
    """What each stage of one replica computes."""

    def __init__(self, replica: Any) -> None:
        """``replica``: an ``M3Gnet``."""
        self._model = replica
        self._blocks: list[Any] = list(replica.graph_conv)
        self._width = (int(replica.model_args["units"]),)

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read."""
        return [(self._stage(k), DERIVED) for k in range(len(self._blocks))]

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """Functions of the edge vectors."""
        lengths = torch.linalg.norm(vectors, dim=1)
        first, second = graph.require_bonds().angles.T
        cosines = torch.sum(vectors[first] * vectors[second], dim=1) / (lengths[first] * lengths[second])
        angles = torch.acos(torch.clamp(cosines, min=-1.0 + ROUNDING, max=1.0 - ROUNDING))
        every = {
            "lengths": lengths[:, None],
            "radial": self._model.rbf(lengths),
            "angular": self._model.sbf(lengths[second], angles),
        }
        return {name: every[name] for name in names}

    def _stage(self, k: int) -> EagerStage:
        last = k == len(self._blocks) - 1
        return EagerStage(
            f"block {k}",
            partial(self._run, k),
            before=() if k == 0 else (Halo("atoms", self._width),),
            reads=() if k == 0 else ("atoms", "edges"),
            writes=() if last else ("atoms", "edges"),
            results=("energy",) if last else (),
            computes=("atoms", "edges", "angles"),
        )

    def _run(self, k: int, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        if k == 0:
            types = nn.functional.one_hot(graph.numbers, self._model.max_z + 1).to(vectors.dtype)
            atoms = self._model.atom_embedding(types)
            edges = self._model.edge_encoder(inputs["radial"])
        else:
            atoms, edges = inputs["atoms"], inputs["edges"]
        block, radial = self._blocks[k], inputs["radial"]
        edges = self._with_angles(block, graph, atoms, edges, inputs)
        ends = [atoms[graph.receivers], atoms[graph.senders]]
        edges = edges + block.gated_mlp_edge(torch.cat([*ends, edges], dim=1)) * block.edge_layer_edge(radial)
        messages = block.gated_mlp_atom(torch.cat([*ends, edges], dim=1)) * block.edge_layer_atom(radial)
        atoms = atoms[: graph.n_owned].index_add(0, graph.receivers, messages)
        if k < len(self._blocks) - 1:
            return {"atoms": atoms, "edges": edges}
        energies = self._model.final(atoms).view(-1)
        return {"energy": in_float64(self._model.normalizer(energies, graph.numbers[: graph.n_owned]))}

    @staticmethod
    def _with_angles(block: Any, graph: LocalGraph, atoms: Tensor, edges: Tensor, inputs: Tensors) -> Tensor:
        """(n_edges, width): edges, with what the angles at their first atom say."""
        angles = graph.require_bonds().angles
        updated: Tensor = block.three_body(
            edges,
            inputs["angular"],
            atoms[: graph.n_owned],
            graph.reversed_edge_index(),
            angles,
            inputs["lengths"],
            num_edges=None,
            num_triple_ij=None,
            total_num_bonds=graph.n_edges,
            three_body_edge_map=angles[:, 0],
        )
        return updated
