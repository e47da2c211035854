"""The stages of an eSEN or UMA model: one per block, made of the model's own submodules.

A block's ``norm_1`` is applied by the stage before, to owned rows only; a halo exchange completes its rows
for ``edge_wise``, the only submodule that reads the senders of edges. Balanced channels add a stage to every
block, because they need a sum over all atoms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from fairchem.core.graph.radius_graph_pbc import get_max_neighbors_mask
from torch import Tensor, nn

from distmlip.errors import InvalidInputError
from distmlip.machine.devices import in_float64
from distmlip.models.fairchem.experts import MergedExperts, balances_channels
from distmlip.models.fairchem.plain import FixedRoll
from distmlip.models.interface import AllSum, EagerStage, Halo, LocalGraph, Tensors

if TYPE_CHECKING:
    from fairchem.core.models.base import HeadInterface
    from fairchem.core.models.uma.escn_md import eSCNMDBackbone

EDGES = frozenset({"kept", "x_edge", "wigner", "wigner_inverse"})
"""Derived tensors that a block reads: which edges there are, their scalar features (distance and types), and
the rotations into their frames and, times the envelope, back."""


class Replica(nn.Module):
    """The parts of a copied model that are evaluated."""

    def __init__(
        self, backbone: eSCNMDBackbone, heads: Mapping[str, HeadInterface], experts: MergedExperts
    ) -> None:
        """``heads``: by the property that they predict."""
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)
        self.experts = experts


class Blocks:
    """What each stage of one replica computes."""

    def __init__(self, replica: Replica, scale: float, max_neighbors: int, strict: bool) -> None:
        """``scale`` multiplies energies; ``strict`` forbids edges beyond the nearest ``max_neighbors``."""
        self.backbone = replica.backbone
        self.heads: dict[str, HeadInterface] = dict(replica.heads.items())
        self.experts = replica.experts
        self.scale = scale
        self.max_neighbors = max_neighbors
        self.strict = strict
        self.balances = balances_channels(replica.backbone)
        self.n_layers = len(self.backbone.blocks)
        self.width = (self.backbone.sph_feature_size, self.backbone.sphere_channels)

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read."""
        written = ("features", "normed")
        stages = [
            (
                EagerStage("embedding", self._embed, writes=written, computes=("atoms", "edges")),
                EDGES - {"wigner"},
            )
        ]
        for layer in range(self.n_layers):
            stages.append((self._block_stage(layer), EDGES))
            if self.balances:
                stages.append((self.balance_stage(layer), frozenset()))
        return stages

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """Functions of the edge vectors and types, for the edges that the original has."""
        if not names:
            return {}
        kept = self.kept(graph)
        if len(kept) == 0:
            return {"kept": kept} | {name: vectors.new_zeros(0, 1) for name in names - {"kept"}}
        senders, receivers, vectors = _rows(kept, graph.senders, graph.receivers, vectors)
        lengths = torch.linalg.norm(vectors, dim=-1)
        backbone = self.backbone
        x_edge = torch.cat(
            [
                backbone.distance_expansion(lengths),
                backbone.source_embedding(graph.numbers[senders]),
                backbone.target_embedding(graph.numbers[receivers]),
            ],
            dim=1,
        )
        with FixedRoll():
            wigner, inverse = backbone._get_rotmat_and_wigner(vectors)
        some = backbone.coefficient_index if backbone.mmax != backbone.lmax else None
        wigner, inverse = backbone.backend.prepare_wigner(wigner, inverse, backbone.mappingReduced, some)
        inverse = inverse * backbone.envelope(lengths / backbone.cutoff).reshape(-1, 1, 1)
        return {"kept": kept, "x_edge": x_edge, "wigner": wigner, "wigner_inverse": inverse}

    def kept(self, graph: LocalGraph) -> Tensor:
        """(n_kept,) int64: the edges that the original's limit of neighbours leaves to each receiver."""
        limit = self.max_neighbors
        n_neighbors = torch.bincount(graph.receivers)
        if limit <= 0 or graph.n_edges == 0 or int(n_neighbors.max()) <= limit:
            return torch.arange(graph.n_edges, device=graph.receivers.device)
        if self.strict:
            self._require_fewer(n_neighbors)
        mask, _ = get_max_neighbors_mask(
            natoms=torch.tensor([graph.n_owned], device=graph.receivers.device),
            index=graph.receivers,
            atom_distance=graph.vectors.square().sum(dim=1),
            max_num_neighbors_threshold=limit,
        )
        return torch.nonzero(mask)[:, 0]

    def _require_fewer(self, n_neighbors: Tensor) -> None:
        most = int(n_neighbors.max())
        if most > self.max_neighbors:
            raise InvalidInputError(
                f"an atom has {most} neighbours within {self.backbone.cutoff} Ang, but the model's graph has "
                f"only the nearest {self.max_neighbors}, and which of equally distant ones is not defined; "
                "load the predict unit without external_graph_gen, or set the backbone's "
                "enforce_max_neighbors_strictly to False"
            )

    def _embed(self, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        if "experts" in graph.system:
            self.experts.merge(graph.system["experts"])
        features = self.embedded(graph, vectors.new_zeros(graph.n_owned, *self.width))
        if len(inputs["kept"]) > 0:
            (receivers,) = _rows(inputs["kept"], graph.receivers)
            features = self.backbone.edge_degree_embedding(
                features, inputs["x_edge"], receivers, inputs["wigner_inverse"]
            )
        return self.ready_for(0, graph, features)

    def embedded(self, graph: LocalGraph, degrees: Tensor) -> Tensor:
        """Owned atoms before the first block, (n_owned, *width), with what their edges embed of them."""
        scalars = self.backbone.sphere_embedding(graph.numbers[: graph.n_owned]) + graph.system["embedding"]
        return torch.cat([degrees[:, :1] + scalars[:, None], degrees[:, 1:]], dim=1)

    def _block_stage(self, layer: int) -> EagerStage:
        def function(graph: LocalGraph, _: Tensor, inputs: Tensors) -> Tensors:
            features = inputs["features"]
            if len(inputs["kept"]) > 0:
                features = self._messages(layer, graph, inputs) + features
            return self.updated(layer, graph, features)

        return EagerStage(
            f"block {layer}",
            function,
            before=(Halo("normed", self.width),),
            reads=("features", "normed"),
            computes=("atoms", "edges"),
            **self.outputs_of_block(layer),
        )

    def outputs_of_block(self, layer: int) -> dict[str, Any]:
        """What the stage gives that ends a block, by fields of stages."""
        if self.balances:
            return {"writes": ("features", "sum")}
        return self._outputs(layer + 1 == self.n_layers)

    def balance_stage(self, layer: int) -> EagerStage:
        """Behind a block whose channels are balanced."""

        def function(graph: LocalGraph, _: Tensor, inputs: Tensors) -> Tensors:
            features = self._balanced(graph, inputs["features"], inputs["sum"])
            return self.ready_for(layer + 1, graph, features)

        return EagerStage(
            f"balance {layer}",
            function,
            before=(AllSum("sum", self.width[1:]),),
            reads=("features", "sum"),
            **self._outputs(layer + 1 == self.n_layers),
        )

    def _outputs(self, last: bool) -> dict[str, Any]:
        if not last:
            return {"writes": ("features", "normed")}
        results = ("energy", *(("direct_forces",) if "forces" in self.heads else ()))
        return {"results": results, "system_results": ("direct_stress",) if "stress" in self.heads else ()}

    def _messages(self, layer: int, graph: LocalGraph, inputs: Tensors) -> Tensor:
        """(n_owned, *width)"""
        senders, receivers = _rows(inputs["kept"], graph.senders, graph.receivers)
        messages: Tensor = self.backbone.blocks[layer].edge_wise.forward_chunk(
            inputs["normed"],
            graph.n_owned,
            inputs["x_edge"],
            torch.stack([senders, receivers]),
            inputs["wigner"],
            inputs["wigner_inverse"],
            receivers,
        )
        return messages

    def updated(self, layer: int, graph: LocalGraph, features: Tensor) -> Tensors:
        """What a block gives, from features to which messages have been added."""
        block = self.backbone.blocks[layer]
        features = block.atom_wise(block.norm_2(features)) + features
        if self.balances:
            return {"features": features, "sum": features[:, 0].sum(dim=0)}
        return self.ready_for(layer + 1, graph, features)

    def _balanced(self, graph: LocalGraph, features: Tensor, total: Tensor) -> Tensor:
        """The model's own balancing, with one more row for what all other partitions own together."""
        others = (total - features[:, 0].sum(dim=0))[None, None]
        scalars = torch.cat([features[:, :1], others])
        balanced = self.backbone.balance_channels(
            scalars,
            charge=graph.system["charge"],
            spin=graph.system["spin"],
            natoms=graph.system["n_atoms"],
            batch=torch.zeros(len(scalars), dtype=torch.int64, device=scalars.device),
        )
        return torch.cat([balanced[:-1], features[:, 1:]], dim=1)

    def ready_for(self, layer: int, graph: LocalGraph, features: Tensor) -> Tensors:
        """What the block of this layer reads, or after the last one the results."""
        if layer == self.n_layers:
            return self._read_out(self.backbone.norm(features))
        normed = self.backbone.blocks[layer].norm_1(features)
        normed[:, 0] = normed[:, 0] + graph.system["embedding"]
        return {"features": features, "normed": normed}

    def _read_out(self, features: Tensor) -> Tensors:
        energy = self.heads["energy"].energy_block(features[:, 0]).view(-1)
        outputs = {"energy": in_float64(energy) * self.scale}
        if "forces" in self.heads:
            outputs["direct_forces"] = self.heads["forces"]({}, {"node_embedding": features})["forces"]
        if "stress" in self.heads:
            head = self.heads["stress"]
            trace = head.scalar_block(features[:, 0])
            traceless = head.l2_linear(features[:, :9])[:, 4:9, 0]
            outputs["direct_stress"] = in_float64(torch.cat([trace, traceless], dim=1)).sum(dim=0)
        return outputs


def _rows(kept: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    return tensors if len(kept) == len(tensors[0]) else tuple(tensor[kept] for tensor in tensors)
