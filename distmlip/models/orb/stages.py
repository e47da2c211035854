"""The stages of an Orb model, made of the model's own submodules: two per layer.

A layer's edges read both their atoms, and are added up at both: before them goes a halo exchange, and what
they give to atoms of other partitions is folded before atoms are updated. The energy (and the stress, where a
head predicts it) come of the mean over all atoms, and need a sum over partitions. Our receiver of an edge is
the atom whose neighbours are counted, which Orb calls the sender.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from orb_models.forcefield.nn_util import get_cutoff
from torch import Tensor, nn

from distmlip.machine.devices import in_float64
from distmlip.models.interface import AllSum, EagerStage, Fold, Halo, LocalGraph, Tensors
from distmlip.models.orb.nearest import nearest_neighbors
from distmlip.models.orb.plain import repulsion_energies
from distmlip.models.orb.support import N_TYPES

if TYPE_CHECKING:
    from orb_models.forcefield.forcefield_heads import EnergyHead
    from orb_models.forcefield.gns import AttentionInteractionNetwork, MoleculeGNS
    from orb_models.forcefield.pair_repulsion import ZBLBasis

EDGES = frozenset({"kept", "cutoff"})
"""Derived tensors that a layer reads: which edges there are, and the envelope of each."""


class Layers:
    """What each stage of one replica computes."""

    def __init__(
        self, replica: Any, max_neighbors: int, is_conservative: bool, warn: Callable[[], None]
    ) -> None:
        """``warn``: called where which neighbours are the nearest is not defined."""
        self._gns: MoleculeGNS = replica.model
        self._heads: dict[str, Any] = dict(replica.heads.items())
        self._repulsion: ZBLBasis | None = replica.pair_repulsion_fn if replica.pair_repulsion else None
        self._max_neighbors = max_neighbors
        self._is_conservative = is_conservative
        self._warn = warn
        self._n_layers = len(self._gns.gnn_stacks)
        self._width = (self._layer(0).latent_dim,)

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read."""
        embedding = EagerStage(
            "embedding", self._embed, writes=("nodes", "edges"), computes=("atoms", "edges")
        )
        stages = [(embedding, frozenset({"kept"}))]
        for k in range(self._n_layers):
            stages += [(self._edge_stage(k), EDGES), (self._atom_stage(k), frozenset())]
        return [*stages, (self._last_stage(), frozenset({"kept"}) if self._repulsion else frozenset())]

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """Functions of the edge vectors, for the edges that the original has."""
        derived = {}
        if names:
            derived["kept"] = nearest_neighbors(graph, self._max_neighbors, self._warn)
        if "cutoff" in names:
            derived["cutoff"] = get_cutoff(vectors[derived["kept"]].norm(dim=-1))
        return derived

    def _embed(self, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        owned = graph.numbers[: graph.n_owned]
        batch = SimpleNamespace(
            node_features={
                "atomic_numbers": owned,
                "atomic_numbers_embedding": nn.functional.one_hot(owned, N_TYPES).to(vectors.dtype),
            },
            edge_features={"vectors": vectors[inputs["kept"]]},
        )
        nodes, edges = self._gns._encoder(self._gns.featurize_nodes(batch), self._gns.featurize_edges(batch))
        return {"nodes": self._conditioned(0, nodes, graph), "edges": edges}

    def _condition(self, graph: LocalGraph) -> tuple[Tensor | None, Tensor | None]:
        """(1, width) for atoms and for edges, if the model reads the charge and the spin of the system."""
        if self._gns.conditioner is None:
            return None, None
        one = torch.ones(1, dtype=torch.int64, device=graph.numbers.device)
        features = {"total_charge": graph.system["charge"], "total_spin": graph.system["spin"]}
        found: tuple[Tensor | None, Tensor | None] = self._gns.conditioner(
            SimpleNamespace(system_features=features, n_node=one, n_edge=one)
        )
        return found

    def _conditioned(self, k: int, nodes: Tensor, graph: LocalGraph) -> Tensor:
        """What layer ``k`` reads of owned atoms."""
        of_atoms, _ = self._condition(graph)
        if of_atoms is None:
            return nodes
        conditioned: Tensor = nodes + self._layer(k)._cond_node_proj(of_atoms)
        return conditioned

    def _layer(self, k: int) -> AttentionInteractionNetwork:
        layer: AttentionInteractionNetwork = self._gns.gnn_stacks[k]
        return layer

    def _edge_stage(self, k: int) -> EagerStage:
        repels = k == self._n_layers - 1 and self._has_repulsion_forces
        return EagerStage(
            f"edges {k}",
            partial(self._update_edges, k),
            before=(Halo("nodes", self._width),),
            reads=("nodes", "edges"),
            writes=("edges", "of_edges", "to_others", *["repulsion"] * repels),
            system_results=("repulsion_virial",) if repels else (),
            computes=("edges",),
        )

    def _update_edges(self, k: int, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        layer, nodes, edges = self._layer(k), inputs["nodes"], inputs["edges"]
        atoms, neighbors = graph.receivers[inputs["kept"]], graph.senders[inputs["kept"]]
        _, of_edges = self._condition(graph)
        if of_edges is not None:
            edges = edges + layer._cond_edge_proj(of_edges)
        updated = layer._edge_mlp(torch.cat([edges, nodes[atoms], nodes[neighbors]], dim=1))
        gates = [torch.sigmoid(gate(edges)) for gate in (layer._send_attn, layer._receive_attn)]
        if layer._distance_cutoff:
            gates = [gate * inputs["cutoff"] for gate in gates]
        to_atoms, to_neighbors = (updated * gate for gate in gates)
        outputs = {
            "edges": edges + updated,
            "of_edges": torch.zeros_like(nodes[: graph.n_owned]).index_add(0, atoms, to_atoms),
            "to_others": torch.zeros_like(nodes).index_add(0, neighbors, to_neighbors),
        }
        if k == self._n_layers - 1 and self._has_repulsion_forces:
            outputs |= self._repulsion_forces(graph, vectors, inputs)
        return outputs

    def _repulsion_forces(self, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        """On local atoms in eV/Å, and their virial (3, 3) in eV."""
        with torch.enable_grad():
            leaf = vectors.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(self._repulsion_of(graph, leaf, inputs).sum(), leaf)
        forces = slopes.new_zeros(graph.n_local, 3)
        forces = forces.index_add(0, graph.receivers, slopes).index_add(0, graph.senders, -slopes)
        return {"repulsion": forces, "repulsion_virial": -in_float64(vectors).T @ in_float64(slopes)}

    def _atom_stage(self, k: int) -> EagerStage:
        last = k == self._n_layers - 1
        repels = last and self._has_repulsion_forces
        return EagerStage(
            f"atoms {k}",
            partial(self._update_atoms, k),
            before=(
                Fold("to_others", self._width),
                *([Fold("repulsion", (3,))] if repels else []),
            ),
            reads=("nodes", "of_edges", "to_others", *["repulsion"] * repels),
            writes=("sum",) if last else ("nodes",),
            results=self._results_of_atoms if last else (),
            computes=("atoms",),
        )

    def _update_atoms(self, k: int, graph: LocalGraph, _: Tensor, inputs: Tensors) -> Tensors:
        nodes = inputs["nodes"]
        gathered = torch.cat([nodes, inputs["to_others"], inputs["of_edges"]], dim=1)
        nodes = nodes + self._layer(k)._node_mlp(gathered)
        if k < self._n_layers - 1:
            return {"nodes": self._conditioned(k + 1, nodes, graph)}
        outputs = {"sum": nodes.sum(dim=0)}
        for name in self._results_of_atoms:
            if name == "repulsion_forces":
                outputs[name] = inputs["repulsion"]
            else:
                outputs[name] = self._heads[name].mlp(nodes)
        return outputs

    @property
    def _results_of_atoms(self) -> tuple[str, ...]:
        """The outputs of heads that are neither normalized nor turned into probabilities, and repulsion."""
        of_heads = [name for name in ("forces", "confidence") if name in self._heads]
        return (*of_heads, *["repulsion_forces"] * self._has_repulsion_forces)

    @property
    def _has_repulsion_forces(self) -> bool:
        """Whether forces of the pair repulsion are added to predicted ones, and are no derivatives."""
        return self._repulsion is not None and not self._is_conservative

    def _last_stage(self) -> EagerStage:
        return EagerStage(
            "mean",
            self._read_out,
            before=(AllSum("sum", self._width),),
            reads=("sum",),
            results=("energy",),
            system_results=("stress",) if "stress" in self._heads else (),
        )

    def _read_out(self, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        """Each atom's share of what the heads give for the whole system."""
        head: EnergyHead = self._heads["energy"]
        n_atoms = graph.system["n_atoms"]
        owned = graph.numbers[: graph.n_owned]
        energy = in_float64(head.normalizer.inverse(self._of_mean(head, inputs["sum"], n_atoms))).reshape(())
        if not head.atom_avg:
            energy = energy / n_atoms
        energies = energy + in_float64(head.reference.linear.weight.reshape(-1))[owned]
        if self._repulsion is not None:
            repulsion = in_float64(self._repulsion_of(graph, vectors, inputs))
            if self._repulsion.node_aggregation == "mean":  # of conservative models
                repulsion = repulsion / n_atoms
            energies = energies.index_add(0, graph.receivers[inputs["kept"]], repulsion)
        outputs = {"energy": energies}
        if "stress" in self._heads:
            predicted = self._of_mean(self._heads["stress"], inputs["sum"], n_atoms)
            outputs["stress"] = in_float64(predicted) * (graph.n_owned / n_atoms)
        return outputs

    @staticmethod
    def _of_mean(head: Any, total: Tensor, n_atoms: Tensor) -> Tensor:
        """What the head gives for the sum over all atoms, or for their mean."""
        mean = total / n_atoms if head.node_aggregation == "mean" else total
        found: Tensor = head.mlp(mean[None])[0]
        return found

    def _repulsion_of(self, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensor:
        """(n_kept,) in eV: each kept edge's half of its atoms' repulsion, from their vectors (n_kept, 3)."""
        assert self._repulsion is not None
        kept = inputs["kept"]
        ends = graph.numbers[graph.receivers[kept]], graph.numbers[graph.senders[kept]]
        return repulsion_energies(self._repulsion, vectors[kept], *ends)
