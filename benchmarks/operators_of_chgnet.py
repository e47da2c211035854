"""Messages of edges in CHGNet's second block: gated perceptrons of both atoms and the bond, weighed and
summed (bench_operators.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from chgnet.model.layers import AtomConv
from models import chgnet
from operator_contests import Contest, Contestant, Tensors, with_gradients
from structures import copper
from torch import Tensor

from distmlip import neighbor_list
from distmlip._native import core
from distmlip.models.chgnet.native_layers import layers_of
from distmlip.models.linear_layers import GatedLayers

BLOCK = 1
CUTOFF = 6.0


def gated_messages(size: int, device: str) -> Contest:
    """Gradients of atoms, bonds and the bonds' weights."""
    atoms = copper(size)
    edges = [of.to(device) for of in edges_of(atoms)]
    model = chgnet()
    layer = model.atom_conv_layers[BLOCK].to(device)
    n_bonds, width = int(edges[2].max()) + 1, model.atom_fea_dim
    random = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(n, width, generator=random).to(device) for n in (len(atoms), n_bonds, n_bonds))
    seed = torch.randn(len(atoms), width, generator=random).to(device)
    exact_layer = chgnet().double().atom_conv_layers[BLOCK]
    known = layers_of(exact_layer.twoBody_atom.requires_grad_(False), 3)
    exact = with_gradients(
        original(exact_layer.to(device), edges), tuple(of.double() for of in inputs), seed.double()
    )
    theirs = original(layer, edges)
    contestants = {
        "original": Contestant(lambda: with_gradients(theirs, inputs, seed)),
        "distmlip": ours(known, edges, inputs, seed),
    }
    return Contest(len(atoms), exact, contestants)


def edges_of(atoms: Atoms) -> tuple[Tensor, Tensor, Tensor]:
    """Receivers and senders, and the bond of each edge: edges in both directions share one."""
    receivers, senders, shifts = neighbor_list("ijS", atoms, CUTOFF)
    there = np.column_stack([receivers, senders, shifts])
    back = np.column_stack([senders, receivers, -shifts])
    differ = there != back
    first = np.argmax(differ, axis=1)
    rows = np.arange(len(there))
    is_less = there[rows, first] <= back[rows, first]
    _, bonds = np.unique(np.where(is_less[:, None], there, back), axis=0, return_inverse=True)
    return torch.tensor(receivers), torch.tensor(senders), torch.tensor(bonds.reshape(-1))


def original(layer: AtomConv, edges: list[Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """By the model's own perceptron."""
    receivers, senders, bond_of = edges

    def messages(atoms: Tensor, bonds: Tensor, weights: Tensor) -> Tensor:
        of_edges = torch.cat([atoms[receivers], bonds[bond_of], atoms[senders]], dim=1)
        weighed = layer.twoBody_atom(of_edges) * weights[bond_of]
        return torch.zeros_like(atoms).index_add(0, receivers, weighed)

    return messages


def ours(known: GatedLayers, edges: list[Tensor], inputs: Tensors, seed: Tensor) -> Contestant:
    """By our operator; projections by torch."""
    receivers, senders, bond_of = edges
    atoms, bonds, weights = inputs
    of_receivers, of_bonds, of_senders = (torch.tensor(part).to(seed) for part in known.parts)
    bias, hidden_bias, scales, shifts = (
        torch.tensor(of).to(seed) for of in (known.sums_bias, known.bias, known.scales, known.shifts)
    )
    layers = torch.tensor(np.stack(known.hidden)).to(seed)
    gate = core.DeviceGate(
        channels=seed.shape[1],
        hidden=(layers, hidden_bias.view(2, -1)),
        norm=(scales.view(2, -1), shifts.view(2, -1)),
        epsilon=known.epsilon,
    )
    places = [(len(atoms), receivers), (len(atoms), senders), (len(bonds), bond_of)]
    rows = core.DeviceMessages(places[0], places, places[2:])

    def compute() -> Tensors:
        tables = [torch.addmm(bias, atoms, of_receivers), atoms @ of_senders, bonds @ of_bonds]
        messages = gate.forward(rows, tables, [weights])
        (to_receivers, to_senders, to_bonds), (by_weights,) = gate.backward(rows, tables, [weights], seed)
        by_atoms = torch.addmm(to_receivers @ of_receivers.T, to_senders, of_senders.T)
        return messages, by_atoms, to_bonds @ of_bonds.T, by_weights

    return Contestant(compute)
