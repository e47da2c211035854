"""The stages of matgl's CHGNet.

CHGNet's edges run from sender to receiver, so its bond vectors are minus ours. A block updates edges and the
atoms that they lead to, then short edges in the line graph, then angles. In the line graph an edge is updated
by the angles around its first atom, and if the edge is cut another partition than its owner has these. So
partitions swap the edges of cut bonds before, and swap them back after. Where the atom graph leaves edges as
they are, only the swap back is needed: a block is one stage instead of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from matgl.graph._compute import compute_theta
from matgl.utils.cutoff import polynomial_cutoff
from torch import Tensor, nn

from distmlip.errors import UnsupportedModelError
from distmlip.models.interface import EagerStage, Exchange, Halo, LocalGraph, Stage, Swap, Tensors
from distmlip.models.matgl.architecture import AT_CUTOFF, MARGIN, Architecture
from distmlip.models.matgl.line_graph import LineGraph
from distmlip.models.matgl.native_chgnet import NativeCHGNet
from distmlip.models.native import NativeChoice

if TYPE_CHECKING:
    from matgl.apps.pes import Potential
    from matgl.models import CHGNet

CARRIED = frozenset({"edges", "nodes", "angles"})
"""Tensors between stages that only their own partition reads."""


class CHGNetArchitecture(Architecture):
    """CHGNet.

    Between stages: ``atoms`` (n_owned, width), ``edges`` (n_edges, width), ``nodes`` of the line graph
    (n_nodes, width), ``angles`` (n_angles, width) and ``crossing`` (n_cut, width), what goes to the other
    copy of a cut bond. Derived: ``edge_embedding`` and ``angle_embedding``, which edges and angles are until
    a stage has updated them, and what messages are weighted with: of edges ``radial``, ``atom_weights`` and
    ``edge_weights``, of nodes ``node_radial`` and ``node_weights``.
    """

    name: ClassVar[str] = "CHGNet"
    has_radial_tables: ClassVar[bool] = False
    network: CHGNet

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        network, layer = self.network, self.network.atom_graph_layers[0]
        self.last = network.n_blocks - 1
        self.has_line_graph = bool(network.use_bond_graph)
        self.updates_edges = layer.conv.edge_update_func is not None or layer.bond_norm is not None
        self.updates_angles = self.has_line_graph and any(
            layer.conv.edge_update_func is not None for layer in network.bond_graph_layers
        )
        if self.has_line_graph:
            self.bond_cutoff = float(min(network.three_body_cutoff + AT_CUTOFF, self.cutoff))
        if potential.calc_magmom and isinstance(network.sitewise_readout, nn.Module):
            self.site_properties = ("magmoms",)
        if layer.conv.node_weight_func is not None:
            self.dtypes = (torch.float32,)  # to which matgl rounds what these weights are computed of

    def require_supported(self) -> None:
        """See :class:`Architecture`."""
        network = self.network
        if network.include_states or network.atom_graph_layers[0].conv.include_state:
            raise UnsupportedModelError(
                "CHGNet with dim_state_feats or dim_state_embedding updates a state of the whole system in "
                "every block, which cannot be distributed; only models without a state can"
            )
        if network.readout_operation != "sum":
            raise UnsupportedModelError(
                f"CHGNet with pooling_operation={network.readout_operation!r}: its energy is not a sum over "
                "atoms, so it cannot be distributed; only models with pooling_operation='sum' can"
            )
        n_targets = getattr(network.final_layer, "value", network.final_layer).layers[-1].out_features
        if n_targets != 1:
            raise UnsupportedModelError(
                f"CHGNet with num_targets={n_targets} is not a potential; only num_targets=1 is"
            )

    # ---- what the stages read and write

    def stages(self) -> Sequence[tuple[EagerStage, frozenset[str]]]:
        """See :class:`Architecture`; one stage per block, or two."""
        stages = []
        for k in range(self.last + 1):
            stages.append(self._block(k))
            if self._updates_nodes(k) and self.updates_edges:
                stages.append(self._line_graph(k))
        return stages

    def native_stages(self, dtype: torch.dtype, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Architecture`."""
        return NativeCHGNet(self, dtype, recompute).stages()

    def _block(self, k: int) -> tuple[EagerStage, frozenset[str]]:
        """The line graph is part of it if the atom graph leaves edges as they are."""
        inputs = {self._edges(k), *self._edge_weights()}
        before: list[Exchange] = []
        if k > 0:
            before.append(Halo("atoms", (self.network.atom_embedding.embedding_dim,)))
        if k > 0 and self.has_line_graph:
            before.append(self._swap())
            inputs.add("nodes")
        if self._updates_nodes(k) and not self.updates_edges:
            inputs |= {self._angles(k), *self._node_weights()}
        elif self._updates_angles(k) or (k == self.last and self.network.readout_field == "angle_feat"):
            inputs.add(self._angles(k))
        reads_angles = bool(inputs & {"angles", "angle_embedding"})
        stage = EagerStage(
            name=f"block {k}",
            function=partial(self._run_block, k),
            before=tuple(before),
            reads=(*(exchange.name for exchange in before), *sorted(inputs & CARRIED)),
            writes=self._writes(k),
            results=("energy", *self.site_properties) if k == self.last else (),
            computes=("atoms", "edges", *(["angles"] if reads_angles else [])),
        )
        return stage, frozenset(inputs - CARRIED)

    def _line_graph(self, k: int) -> tuple[EagerStage, frozenset[str]]:
        inputs = {"edges", self._angles(k + 1), *self._node_weights()}
        stage = EagerStage(
            name=f"line graph {k}",
            function=partial(self._run_line_graph, k),
            before=(self._swap(),),
            reads=("crossing", "atoms", *sorted(inputs & CARRIED)),
            writes=("crossing", "nodes"),
            computes=("angles",),
        )
        return stage, frozenset(inputs - CARRIED)

    def _writes(self, k: int) -> tuple[str, ...]:
        if k == self.last:
            return ()
        updated = {
            "edges": self.updates_edges,
            "angles": self._updates_angles(k),
            "crossing": self.has_line_graph,
            "nodes": self.has_line_graph and not self.updates_edges,
        }
        return ("atoms", *(name for name, is_updated in updated.items() if is_updated))

    def _swap(self) -> Swap:
        return Swap("crossing", (self.network.bond_embedding.layers[-1].out_features,))

    def _updates_nodes(self, k: int) -> bool:
        return self.has_line_graph and k < self.last

    def _updates_angles(self, k: int) -> bool:
        """Whether stage ``k`` begins with the angles of block ``k - 1``; nothing reads those of the last."""
        is_read = k < self.last or self.network.readout_field == "angle_feat"
        return self.updates_angles and k > 0 and is_read

    def _edges(self, k: int) -> str:
        """The tensor with the edges that block ``k`` begins with, but for those that are nodes."""
        return "edges" if k > 0 and self.updates_edges else "edge_embedding"

    def _angles(self, k: int) -> str:
        return "angles" if k > 1 and self.updates_angles else "angle_embedding"

    def _edge_weights(self) -> set[str]:
        network, conv = self.network, self.network.atom_graph_layers[0].conv
        functions = {
            "radial": conv.node_weight_func,
            "atom_weights": network.atom_bond_weights,
            "edge_weights": network.bond_bond_weights if conv.edge_update_func is not None else None,
        }
        return {name for name, function in functions.items() if function is not None}

    def _node_weights(self) -> set[str]:
        network, conv = self.network, self.network.bond_graph_layers[0].conv
        functions = {"node_radial": conv.node_weight_func, "node_weights": network.threebody_bond_weights}
        return {name for name, function in functions.items() if function is not None}

    # ---- what they compute

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """See :class:`Architecture`."""
        network = self.network
        lengths = torch.linalg.norm(vectors, dim=1)
        radial = self._expanded(network.bond_expansion, lengths, network.cutoff)
        derived = {"radial": radial} if "radial" in names else {}
        of_edges = {
            "edge_embedding": network.bond_embedding,
            "atom_weights": network.atom_bond_weights,
            "edge_weights": network.bond_bond_weights,
        }
        derived |= {name: of_edges[name](radial) for name in names & of_edges.keys()}
        if names & {"node_radial", "node_weights"}:
            line = LineGraph.of(graph)
            node_lengths = lengths.index_select(0, line.edges)
            radial = self._expanded(network.threebody_bond_expansion, node_lengths, network.three_body_cutoff)
            if "node_radial" in names:
                derived["node_radial"] = line.all_rows(radial)
            if "node_weights" in names:
                derived["node_weights"] = line.all_rows(network.threebody_bond_weights(radial))
        if "angle_embedding" in names:
            first, second = graph.require_bonds().angles.T
            cosines = compute_theta(vectors, None, first, second, directed=False)
            angles = torch.acos(torch.clamp(cosines, -1 + MARGIN, 1 - MARGIN))
            derived["angle_embedding"] = network.angle_embedding(network.angle_expansion(angles))
        return derived

    def _expanded(self, basis: nn.Module, lengths: Tensor, cutoff: float) -> Tensor:
        expanded: Tensor = basis(lengths)
        # In matgl the envelope is a function of the expansion, and not of the length.
        envelope: Tensor = polynomial_cutoff(expanded, cutoff, self.network.cutoff_exponent)
        return envelope * expanded

    def _run_block(self, k: int, graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
        network = self.network
        line = LineGraph.of(graph) if self.has_line_graph else None
        atoms = inputs["atoms"] if k > 0 else network.atom_embedding(self.elements(graph))
        edges, angles = inputs[self._edges(k)], inputs.get(self._angles(k))
        nodes = None
        if line is not None and k > 0:
            nodes = torch.cat([inputs["nodes"], inputs["crossing"]])
            edges = line.write(nodes, edges)
            if self._updates_angles(k):
                angles = self._update_angles(k - 1, line, atoms, nodes, inputs[self._angles(k)])
        before_last = atoms[: graph.n_owned]
        atoms, edges = self._update_atoms(k, graph, atoms, edges, inputs)
        if k == self.last:
            return self._read_out(graph, before_last, atoms, edges, angles)
        outputs = {"atoms": atoms, "edges": edges}
        if angles is not None:
            outputs["angles"] = angles
        if line is not None:
            if self.updates_edges:
                outputs["crossing"] = edges.index_select(0, line.cut_edges)
            else:
                if nodes is None:  # their embedding is that of their reverses
                    nodes = line.all_rows(edges.index_select(0, line.edges))
                outputs |= self._update_nodes(k, line, atoms, nodes, angles, inputs)
        return {name: outputs[name] for name in self._writes(k)}

    def _run_line_graph(self, k: int, graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
        line = LineGraph.of(graph)
        nodes = line.read(inputs["edges"], inputs["crossing"])
        return self._update_nodes(k, line, inputs["atoms"], nodes, inputs[self._angles(k + 1)], inputs)

    def _update_atoms(
        self, k: int, graph: LocalGraph, atoms: Tensor, edges: Tensor, inputs: Tensors
    ) -> tuple[Tensor, Tensor]:
        """The layer's own forward would also update the atoms of the halo."""
        layer, ends = self.network.atom_graph_layers[k], (graph.senders, graph.receivers)
        radial = inputs.get("radial")
        if layer.conv.edge_update_func is not None:
            weights = inputs.get("edge_weights")
            edges = edges + layer.conv.edge_update_(*ends, atoms, edges, radial, None, weights)
        weights = inputs.get("atom_weights")
        update = layer.conv.node_update_(*ends, atoms, edges, radial, None, weights, graph.n_owned)
        atoms = atoms[: graph.n_owned] + update
        if layer.atom_norm is not None:
            atoms, edges = layer.atom_norm(atoms), layer.bond_norm(edges)
        return atoms, edges

    def _update_nodes(
        self, k: int, line: LineGraph, atoms: Tensor, nodes: Tensor, angles: Tensor | None, inputs: Tensors
    ) -> Tensors:
        """The layer's own forward would also update nodes of other partitions."""
        update = self.network.bond_graph_layers[k].conv.node_update_(
            line.angles,
            nodes,
            angles,
            atoms.index_select(0, line.centres),
            inputs.get("node_radial"),
            inputs.get("node_weights"),
            line.n_nodes,
        )
        nodes = nodes[: line.n_nodes] + update
        return {"nodes": nodes, "crossing": nodes.index_select(0, line.cut_nodes)}

    def _update_angles(self, k: int, line: LineGraph, atoms: Tensor, nodes: Tensor, angles: Tensor) -> Tensor:
        centres = atoms.index_select(0, line.centres)
        update = self.network.bond_graph_layers[k].conv.edge_update_(line.angles, nodes, angles, centres)
        updated: Tensor = angles + update
        return updated

    def _read_out(
        self, graph: LocalGraph, before_last: Tensor, atoms: Tensor, edges: Tensor, angles: Tensor | None
    ) -> Tensors:
        """Energies of edges go to their receivers, those of angles to the atoms in the middle."""
        network = self.network
        if network.readout_field == "atom_feat":
            site_energies = network.final_layer(atoms).view(-1)
        else:
            of_edges = network.readout_field == "bond_feat"
            sites = graph.receivers if of_edges else LineGraph.of(graph).centres
            energies = network.final_layer(edges if of_edges else angles).view(-1)
            site_energies = atoms.new_zeros(graph.n_owned).index_add(0, sites, energies)
        outputs = {"energy": self.scaled(site_energies)}
        if self.site_properties:
            outputs["magmoms"] = network.sitewise_readout(before_last).squeeze(1)  # of several targets all
        return outputs
