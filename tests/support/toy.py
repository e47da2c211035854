"""A small model with everything that the executor offers, and its undivided form written independently.

Two message-passing layers over atoms (halo) that also see the mean of all atoms (all_sum), messages added up
at senders (fold), a three-body term that sums over both ends of a bond (add), and a product of what the two
ends of a bond say (swap).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.neighborlist import neighbor_list
from torch import Tensor, nn

from distmlip.models.interface import (
    Adapter,
    Add,
    AllSum,
    EagerStage,
    Evaluation,
    Fold,
    Halo,
    LocalGraph,
    Stage,
    Swap,
    Tensors,
)
from distmlip.models.replicate import replicate

CUTOFF, BOND_CUTOFF, WIDTH = 4.0, 2.9, 6


class ToyModel(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.randn(100, WIDTH, generator=generator, dtype=torch.float64))
        self.mix = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator, dtype=torch.float64) / 3)
        self.readout = nn.Parameter(torch.randn(WIDTH, generator=generator, dtype=torch.float64))

    def message(self, sender: Tensor, receiver: Tensor, vectors: Tensor) -> Tensor:
        distance = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        return torch.tanh(sender @ self.mix + receiver) * (1 - distance / CUTOFF) ** 2

    def angle(self, first: Tensor, second: Tensor) -> Tensor:
        """Smooth at the bond cutoff."""
        cosine = torch.nn.functional.cosine_similarity(first, second, dim=1)
        return (1 + cosine) * _fade(first) * _fade(second)

    def opinion(self, sender: Tensor, vectors: Tensor) -> Tensor:
        """What the receiver of a short edge says of it: not what the other end says."""
        return torch.tanh(sender @ self.readout) * _fade(vectors)


def _fade(vectors: Tensor) -> Tensor:
    return (1 - torch.linalg.vector_norm(vectors, dim=1) / BOND_CUTOFF).clamp(min=0) ** 2


def undivided(model: ToyModel, atoms: Atoms) -> dict[str, Any]:
    """Energy, forces and stress of the whole system by plain autograd over positions and strain."""
    receivers, senders, shifts = (torch.as_tensor(x) for x in neighbor_list("ijS", atoms, CUTOFF))
    positions = torch.tensor(atoms.positions, requires_grad=True)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deformation = torch.eye(3, dtype=torch.float64) + (strain + strain.T) / 2
    vectors = (
        positions[senders] - positions[receivers] + shifts.double() @ torch.tensor(atoms.cell.array)
    ) @ deformation
    x = model.embedding[torch.as_tensor(atoms.numbers)]
    layers, sent = [], []
    for _ in range(2):
        messages = model.message(x[senders], x[receivers], vectors)
        x = x + torch.zeros_like(x).index_add(0, receivers, messages)
        layers.append(x)
        sent.append(torch.zeros_like(x).index_add(0, senders, messages))
        x = x - x.sum(dim=0) / 7 if len(layers) == 1 else x
    energy = (x**2 @ model.readout).sum() + 0.3 * layers[0].sum() + 0.1 * (sent[0] ** 2).sum()
    short = torch.linalg.vector_norm(vectors, dim=1) < BOND_CUTOFF
    bonds: dict[tuple[int, ...], Tensor] = {}
    keys = {}
    for edge in torch.nonzero(short).flatten().tolist():
        r, s, shift = int(receivers[edge]), int(senders[edge]), tuple(shifts[edge].tolist())
        keys[edge] = min((r, s, *shift), (s, r, *(-k for k in shift)))
    for first, bond in keys.items():
        for second in keys:
            if first != second and receivers[first] == receivers[second]:
                angle = model.angle(vectors[first : first + 1], vectors[second : second + 1])[0]
                bonds[bond] = bonds.get(bond, 0.0) + angle
    energy = energy + sum(2 * total**2 for total in bonds.values())
    embedded = model.embedding[torch.as_tensor(atoms.numbers)]
    opinions: dict[tuple[int, ...], list[Tensor]] = {}
    for edge, bond in keys.items():
        said = model.opinion(embedded[senders[edge]][None], vectors[edge : edge + 1])
        opinions.setdefault(bond, []).append(said[0])
    energy = energy + sum(2 * first * second for first, second in opinions.values())
    gradients = torch.autograd.grad(energy, [positions, strain], allow_unused=True, materialize_grads=True)
    return {
        "energy": energy.item(),
        "forces": -gradients[0].numpy(),
        "virial": -gradients[1].numpy(),
    }


def _embed(model: ToyModel) -> EagerStage:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        x = model.embedding[graph.numbers]
        messages = model.message(x[graph.senders], x[graph.receivers], vectors)
        out = x[: graph.n_owned].index_add(0, graph.receivers, messages)
        assert graph.bonds is not None
        edges = graph.bonds.bond_edge[graph.bonds.cut]
        opinions = model.opinion(x[graph.senders[edges]], vectors[edges])
        return {
            "features": out,
            "first": out,
            "sent": torch.zeros_like(x).index_add(0, graph.senders, messages),
            "sum": out.sum(dim=0),
            "cut_opinions": opinions[:, None],
        }

    writes = ("features", "first", "sent", "sum", "cut_opinions")
    return EagerStage("first layer", function, writes=writes, computes=("atoms", "edges"))


def _angles(model: ToyModel) -> EagerStage:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        assert graph.bonds is not None
        first, second = graph.bonds.angles.T
        totals = vectors.new_zeros(graph.bonds.n_bonds, 1)
        values = model.angle(vectors[first], vectors[second])[:, None]
        return {"bond_total": totals.index_add(0, graph.bonds.edge_bond[first], values)}

    return EagerStage("angles", function, writes=("bond_total",), computes=("angles",))


def _finish(model: ToyModel) -> EagerStage:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        assert graph.bonds is not None
        x = inputs["features"] - inputs["sum"] / 7
        messages = model.message(x[graph.senders], x[graph.receivers], vectors)
        out = x[: graph.n_owned].index_add(0, graph.receivers, messages)
        # Each end of a bond counts once, with the sum of both ends.
        per_edge = inputs["bond_total"][graph.bonds.edge_bond, 0] ** 2
        energy = (out**2 @ model.readout).index_add(0, graph.receivers, per_edge)
        energy = energy + 0.3 * inputs["first"].sum(dim=1) + 0.1 * (inputs["sent"] ** 2).sum(dim=1)
        theirs = _opinions_of_the_other_ends(model, graph, vectors, inputs["cut_opinions"][:, 0])
        mine = model.opinion(model.embedding[graph.numbers[graph.senders]], vectors)
        energy = energy.index_add(0, graph.receivers, mine * theirs)
        return {"energy": energy, "norm": out.norm(dim=1), "total": out.sum(0)}

    return EagerStage(
        "second layer",
        function,
        before=(
            Halo("features", (WIDTH,)),
            Fold("sent", (WIDTH,)),
            Add("bond_total", (1,)),
            AllSum("sum", (WIDTH,)),
            Swap("cut_opinions", (1,)),
        ),
        reads=("features", "first", "sent", "bond_total", "sum", "cut_opinions"),
        results=("energy", "norm"),
        system_results=("total",),
        computes=("atoms", "edges"),
    )


def _opinions_of_the_other_ends(model: ToyModel, graph: LocalGraph, vectors: Tensor, cut: Tensor) -> Tensor:
    """(n_edges,): of the reverse of each edge; of long ones nothing."""
    assert graph.bonds is not None
    reverse = graph.bonds.reverse_edges()
    there = reverse >= 0
    values = vectors.new_zeros(graph.n_edges)
    senders = model.embedding[graph.numbers[graph.receivers[there]]]
    values = values.index_put((torch.nonzero(there)[:, 0],), model.opinion(senders, -vectors[there]))
    return values.index_put((graph.bonds.bond_edge[graph.bonds.cut],), cut)


class ToyAdapter(Adapter):
    family = "toy"
    cutoff = CUTOFF
    bond_cutoff = BOND_CUTOFF
    supported_numbers = frozenset(range(1, 100))
    implemented_properties = ("energy", "free_energy", "energies", "forces", "stress", "stresses")

    def __init__(self, models: Sequence[ToyModel], dtype: torch.dtype = torch.float64) -> None:
        self.models = models
        self.dtype = dtype

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        return self.models[index]

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        assert isinstance(module, ToyModel)
        return [_embed(module), _angles(module), _finish(module)]

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        energies = evaluations[0].atoms["energy"]
        energy = float(np.sum(energies))
        return {
            "energy": energy,
            "free_energy": energy,
            "energies": energies,
            "forces": evaluations[0].forces,
        }

    def original(self, dtype: torch.dtype | None = None) -> Any:
        raise NotImplementedError


class ToyOnDevices(ToyAdapter):
    """With a replica on every device."""

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        return replicate(self.models[index], device, self.dtype)
