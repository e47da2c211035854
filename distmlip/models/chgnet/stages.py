"""The stages of CHGNet.

The model is a chain of blocks: AtomConv, BondConv, AngleUpdate. AtomConv reads the features of neighbour
atoms; BondConv adds up messages from the angles at both ends of a bond, and the ends may belong to different
partitions. So a stage begins where rows of both kinds have just crossed: it finishes BondConv and AngleUpdate
of the block before, then runs AtomConv and the messages of BondConv of its own block.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distmlip.models.chgnet.projection import Part, evaluate
from distmlip.models.interface import Add, EagerStage, Exchange, Halo, LocalGraph, Tensors

if TYPE_CHECKING:
    from chgnet.model import CHGNet
    from chgnet.model.layers import AngleUpdate, AtomConv, BondConv


class Blocks:
    """The blocks of a replica as stages.

    Between stages: ``atoms`` (n_owned, width), ``bonds`` and ``bond_messages`` (n_bonds, width), ``angles``
    (n_angles, width). Derived: ``bond_embedding``, ``edge_weights``, ``angle_embedding``, ``angle_weights``.
    Bonds and angles are their embeddings until a stage has updated them.
    """

    def __init__(self, model: CHGNet) -> None:
        self.model = model
        self.last = model.n_conv - 1
        self.updates_bonds = self.last > 0 and isinstance(model.bond_conv_layers, nn.ModuleList)
        self.updates_angles = self.updates_bonds and isinstance(model.angle_layers, nn.ModuleList)

    def stage(self, k: int) -> tuple[EagerStage, frozenset[str]]:
        """Stage ``k``, and the names of the derived tensors that it needs."""
        before: list[Exchange] = []
        if k > 0:
            before.append(Halo("atoms", (self.model.atom_fea_dim,)))
        if k > 0 and self.updates_bonds:
            before.append(Add("bond_messages", (self.model.bond_fea_dim,)))
        inputs = {self._bonds(k), "edge_weights"}
        if self._sends_bond_messages(k):
            inputs |= {self._angles(k), "angle_weights"}
        carried = inputs & {"bonds", "angles"}
        stage = EagerStage(
            name=f"block {k}",
            function=partial(self._run, k),
            before=tuple(before),
            reads=(*(exchange.name for exchange in before), *sorted(carried)),
            writes=self._writes(k),
            results=("energy",) if k == self.last else ("magmoms",) if k == self.last - 1 else (),
            system_results=("crystal_fea", "isolated_atoms") if k == self.last else (),
            computes=("atoms", "edges", *(("bonds", "angles") if self._sends_bond_messages(k) else ())),
        )
        return stage, frozenset(inputs - carried)

    def _sends_bond_messages(self, k: int) -> bool:
        return self.updates_bonds and k < self.last

    def _bonds(self, k: int) -> str:
        """The tensor with the bond features that stage ``k`` begins with."""
        return "bonds" if k > 1 and self.updates_bonds else "bond_embedding"

    def _angles(self, k: int) -> str:
        return "angles" if k > 1 and self.updates_angles else "angle_embedding"

    def _writes(self, k: int) -> tuple[str, ...]:
        if k == self.last:
            return ()
        if not self.updates_bonds:
            return ("atoms",)
        updated = (*(["bonds"] if k > 0 else []), *(["angles"] if k > 0 and self.updates_angles else []))
        return ("atoms", "bond_messages", *updated)

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """The named functions of edge vectors and types. A cut bond is embedded on both sides."""
        model, bonds = self.model, graph.require_bonds()
        lengths = torch.linalg.norm(vectors, dim=1)
        bond_lengths = lengths.index_select(0, bonds.bond_edge)
        derived = Tensors()
        if names & {"bond_embedding", "edge_weights"}:
            basis = model.bond_basis_expansion.rbf_expansion_ag(bond_lengths)
            if "bond_embedding" in names:
                derived["bond_embedding"] = model.bond_embedding(basis)
            derived["edge_weights"] = model.bond_weights_ag(basis).index_select(0, bonds.edge_bond)
        if "angle_weights" in names:
            weights = model.bond_weights_bg(model.bond_basis_expansion.rbf_expansion_bg(bond_lengths))
            first, second = (weights.index_select(0, bonds.edge_bond[edges]) for edges in bonds.angles.T)
            derived["angle_weights"] = first * second
        if "angle_embedding" in names:
            directions = vectors / lengths[:, None]
            first, second = (directions.index_select(0, edges) for edges in bonds.angles.T)
            derived["angle_embedding"] = model.angle_embedding(model.angle_basis_expansion(first, second))
        return derived

    def _run(self, k: int, graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
        model = self.model
        bonds = inputs[self._bonds(k)]
        # None in the last stage: the original updates its angles once more, but nothing reads them.
        angles = inputs.get(self._angles(k))
        atoms = inputs["atoms"] if k > 0 else model.atom_embedding(graph.numbers - 1)
        # Without any angle in the whole system the original leaves out both layers, also their biases.
        angular = self.updates_bonds and graph.require_bonds().n_angles_total > 0
        if angular and k > 0:
            bonds = _update_bonds(model.bond_conv_layers[k - 1], bonds, inputs["bond_messages"])
        if angles is not None and angular and k > 0 and self.updates_angles:
            angles = _update_angles(model.angle_layers[k - 1], graph, atoms, bonds, angles)
        atoms = _update_atoms(model.atom_conv_layers[k], graph, atoms, bonds, inputs["edge_weights"])
        if k == self.last:
            return self.read_out(graph, atoms)
        outputs = {"atoms": atoms, "bonds": bonds}
        if angles is not None:
            outputs |= {"angles": angles, "bond_messages": torch.zeros_like(bonds)}
        if angles is not None and angular:
            layer, weights = model.bond_conv_layers[k], inputs["angle_weights"]
            outputs["bond_messages"] = _bond_messages(layer, graph, atoms, bonds, weights, angles)
        outputs = {name: outputs[name] for name in self._writes(k)}
        if k == self.last - 1:
            outputs["magmoms"] = self.magmoms(atoms)
        return outputs

    def magmoms(self, atoms: Tensor) -> Tensor:
        """(n,) μB, of the atoms before the last block."""
        moments: Tensor = self.model.site_wise(atoms)
        return moments.view(-1).abs()

    def read_out(self, graph: LocalGraph, atoms: Tensor) -> Tensors:
        """What the last stage gives, of the owned atoms behind the last block."""
        model = self.model
        if model.readout_norm is not None:
            atoms = model.readout_norm(atoms)
        is_isolated = atoms.new_ones(graph.n_owned, dtype=torch.bool).index_fill(0, graph.receivers, False)
        return {
            "energy": model.mlp(atoms).view(-1),
            "crystal_fea": atoms.sum(dim=0),
            "isolated_atoms": is_isolated.sum(),
        }


def _update_atoms(
    layer: AtomConv, graph: LocalGraph, atoms: Tensor, bonds: Tensor, weights: Tensor
) -> Tensor:
    """AtomConv of the owned atoms only; the layer's own forward would also update the halo's."""
    owned = atoms[: graph.n_owned]
    parts = (owned, graph.receivers), (bonds, graph.require_bonds().edge_bond), (atoms, graph.senders)
    messages = evaluate(layer.twoBody_atom, *parts) * weights
    update = torch.zeros_like(owned).index_add(0, graph.receivers, messages)
    if layer.use_mlp_out:
        update = layer.mlp_out(update)
    if layer.resnet:
        update = update + owned
    return update if layer.atom_norm is None else layer.atom_norm(update)


def _bond_messages(
    layer: BondConv, graph: LocalGraph, atoms: Tensor, bonds: Tensor, weights: Tensor, angles: Tensor
) -> Tensor:
    """(n_bonds, width): BondConv's sum over the angles at owned centres; for a cut bond, those at one end."""
    messages = evaluate(layer.twoBody_bond, *_angle_parts(graph, atoms, bonds, angles)) * weights
    bond_graph = graph.require_bonds()
    receiving = bond_graph.edge_bond[bond_graph.angles[:, 0]]
    return torch.zeros_like(bonds).index_add(0, receiving, messages)


def _update_bonds(layer: BondConv, bonds: Tensor, messages: Tensor) -> Tensor:
    """The rest of BondConv, once the messages of both ends have been added up."""
    update = layer.mlp_out(messages) if layer.use_mlp_out else messages
    if layer.resnet:
        update = update + bonds
    return update if layer.bond_norm is None else layer.bond_norm(update)


def _update_angles(
    layer: AngleUpdate, graph: LocalGraph, atoms: Tensor, bonds: Tensor, angles: Tensor
) -> Tensor:
    update = evaluate(layer.twoBody_bond, *_angle_parts(graph, atoms, bonds, angles))
    if layer.resnet:
        update = update + angles
    return update if layer.angle_norm is None else layer.angle_norm(update)


def _angle_parts(graph: LocalGraph, atoms: Tensor, bonds: Tensor, angles: Tensor) -> Iterator[Part]:
    """What an angle is computed of: receiving bond, other bond, itself and centre atom."""
    bond_graph = graph.require_bonds()
    short = bonds.index_select(0, bond_graph.short_bonds)  # few bonds are part of an angle
    for rows in bond_graph.bonds_of_angles:
        yield short, rows
    yield angles, None
    yield atoms[: graph.n_owned], graph.receivers[bond_graph.angles[:, 0]]
