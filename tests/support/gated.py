"""Blocks of gated messages with random parameters, graphs of bonds, and the same blocks in plain torch."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from support.operators import NUMBERS, Graph, Tensors, uniform
from torch import Tensor
from torch.nn import functional

from distmlip._native import core
from distmlip.models.local_graph import BondGraph
from distmlip.models.native import padded

CUTOFF, BOND_CUTOFF = 4.0, 2.0
BOND_POWER, SHORT_POWER = 8, 5
BOND_FREQUENCIES = [k * math.pi / CUTOFF for k in range(1, 10)]
SHORT_FREQUENCIES = [k * math.pi / BOND_CUTOFF for k in range(1, 18)]
ANGLE_FREQUENCIES = [1.0, 2.0, 3.0, 4.0, 5.0, 0.0]
SHRUNK = 1 - 1e-6
"""What cosines of angles are multiplied by."""
EPSILON = 1e-2


# ---- graphs


Bonds = list[tuple[int, int, float]]
"""(owned atom, any atom, length)"""


def bonded(n_owned: int, n_local: int, bonds: Bonds, n_angles_elsewhere: int = 2, seed: int = 0) -> Graph:
    """In random directions. Bonds with halo atoms have one edge, and are cut if they are short."""
    random = torch.Generator().manual_seed(seed)
    directions = functional.normalize(
        torch.randn(len(bonds), 3, generator=random, dtype=torch.float64), dim=1
    )
    along = directions * torch.tensor([length for *_, length in bonds], dtype=torch.float64)[:, None]
    edges = [(a, b, k, 1) for k, (a, b, _) in enumerate(bonds)]
    edges += [(b, a, k, -1) for k, (a, b, _) in enumerate(bonds) if b < n_owned]
    edges.sort(key=lambda edge: edge[0])
    table = torch.tensor(edges, dtype=torch.int64).view(-1, 4)
    receivers, senders, edge_bond, signs = table.T.contiguous()
    return Graph(
        n_owned,
        torch.randint(len(NUMBERS), (n_local,), generator=random),
        senders,
        receivers,
        (along[edge_bond] * signs[:, None]).float().double(),
        _bond_graph(bonds, receivers.tolist(), edge_bond, n_angles_elsewhere),
    )


def _bond_graph(bonds: Bonds, receivers: list[int], edge_bond: Tensor, n_angles_elsewhere: int) -> BondGraph:
    short = [k for k, (_, _, length) in enumerate(bonds) if length < BOND_CUTOFF]
    copies: list[list[int]] = [[] for _ in bonds]
    of_atoms: dict[int, list[int]] = {}
    for edge, (receiver, bond) in enumerate(zip(receivers, edge_bond.tolist(), strict=True)):
        copies[bond].append(edge)
        if bonds[bond][2] < BOND_CUTOFF:
            of_atoms.setdefault(receiver, []).append(edge)
    angles = [pair for of in of_atoms.values() for pair in itertools.permutations(of, 2)]
    return BondGraph(
        edge_bond,
        torch.tensor([of[k % len(of)] for k, of in enumerate(copies)], dtype=torch.int64),
        torch.tensor(short, dtype=torch.int64),
        torch.tensor(angles, dtype=torch.int64).view(-1, 2),
        torch.tensor([k for k in reversed(short) if len(copies[k]) == 1], dtype=torch.int64),
        len(angles) + n_angles_elsewhere,
    )


def random_graph(n_owned: int, n_halo: int, n_bonds: int, seed: int = 0) -> Graph:
    """Each fifth owned atom and the last one of the halo have no edges."""
    random = torch.Generator().manual_seed(seed)
    owned = [atom for atom in range(n_owned) if atom % 5 != 1]
    others = [*owned, *range(n_owned, n_owned + n_halo - 1)]
    lengths = 0.7 + (CUTOFF - 0.71) * torch.rand(n_bonds, generator=random)
    bonds = []
    for length in lengths.tolist():
        first, step = torch.randint(1 << 30, (2,), generator=random).tolist()
        place = first % len(owned)
        other = others[(place + 1 + step % (len(others) - 1)) % len(others)]
        bonds.append((owned[place], other, length))
    return bonded(n_owned, n_owned + n_halo, bonds, seed=seed)


def with_parts(of: Graph, **changes: Any) -> Graph:
    """Another graph; parts are its own or those of its bonds."""
    assert of.bonds is not None
    own = {field.name for field in fields(Graph)}
    of_bonds = {name: part for name, part in changes.items() if name not in own}
    of = replace(of, bonds=replace(of.bonds, **of_bonds))
    return replace(of, **{name: part for name, part in changes.items() if name in own})


# ---- parameters


@dataclass(frozen=True)
class Spec:
    """What kind of block."""

    index: int = 1
    updates: int = 0
    """Of angles."""
    sends: bool = True
    keeps: bool = False
    channels: int = 16
    hidden: int = 0
    """Channels of hidden layers; 0: there are none."""
    normalised: bool = False
    biased: bool = True
    """First and hidden layers."""
    out_biased: bool = True
    """Of atoms' messages and bonds' updates, with a shift of embeddings."""


class Random:
    """Tensors that differ from each other."""

    def __init__(self, seed: int) -> None:
        self._seeds = itertools.count(seed)

    def vector(self, n: int, present: bool = True) -> Tensor:
        return uniform(n if present else 0, seed=next(self._seeds))

    def matrix(self, rows: int, columns: int) -> Tensor:
        return uniform(rows, columns, seed=next(self._seeds)) * math.sqrt(3 / rows)

    def embedding(self, n_used: int, columns: int) -> Tensor:
        """Whose rows are padded."""
        return functional.pad(self.matrix(n_used, columns), (0, 0, 0, padded(n_used) - n_used))


def centred(tensor: Tensor) -> Tensor:
    """Both halves of the columns without their means."""
    return torch.cat([half - half.mean(-1, keepdim=True) for half in tensor.chunk(2, dim=-1)], dim=-1)


class Gated:
    """A gated perceptron of rows side by side."""

    def __init__(self, spec: Spec, random: Random, names: tuple[str, ...]) -> None:
        n, sums = spec.channels, 2 * (spec.hidden or spec.channels)
        self.spec = spec
        self.parts = {name: random.matrix(n, sums) / math.sqrt(len(names)) for name in names}
        self.bias = random.vector(sums, spec.biased)
        self.hidden = [random.matrix(spec.hidden, n) for _ in range(2)] if spec.hidden else []
        self.hidden_bias = random.vector(2 * n, bool(spec.hidden)) * spec.biased
        self.scales = random.vector(2 * n, spec.normalised)
        self.shifts = random.vector(2 * n, spec.normalised)
        if spec.normalised and spec.hidden:
            self.hidden = list(centred(torch.cat(self.hidden, dim=1)).chunk(2, dim=1))
            self.hidden_bias = centred(self.hidden_bias)
        elif spec.normalised:
            self.parts = {name: centred(part) for name, part in self.parts.items()}
            self.bias = centred(self.bias)

    def arguments(self) -> dict[str, Any]:
        perceptron = {
            "hidden": [layer.numpy() for layer in self.hidden],
            "bias": self.hidden_bias.tolist(),
            "scales": self.scales.tolist(),
            "shifts": self.shifts.tolist(),
            "epsilon": EPSILON,
        }
        parts = {name: part.numpy() for name, part in self.parts.items()}
        return {**parts, "bias": self.bias.tolist(), "perceptron": perceptron}

    def __call__(self, **rows: Tensor) -> Tensor:
        projected = [rows[name] @ part for name, part in self.parts.items()]
        total = sum(projected) + (self.bias if len(self.bias) else 0)
        halves = list(total.chunk(2, dim=1))
        if self.hidden:
            of_halves = zip(halves, self.hidden, self.hidden_bias.chunk(2), strict=True)
            halves = [functional.silu(half) @ layer + bias for half, layer, bias in of_halves]
        if self.spec.normalised:
            of_halves = zip(halves, self.scales.chunk(2), self.shifts.chunk(2), strict=True)
            shape = (self.spec.channels,)
            halves = [functional.layer_norm(half, shape, *of, EPSILON) for half, *of in of_halves]
        return functional.silu(halves[0]) * torch.sigmoid(halves[1])


# ---- bases


def sines(lengths: Tensor, frequencies: list[float], cutoff: float, power: int) -> Tensor:
    """(n, padded number of frequencies); a power of zero: without envelope."""
    x, p = (lengths / cutoff)[:, None], power
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    envelope = envelope if power else torch.ones_like(x)
    values = torch.sin(lengths[:, None] * lengths.new_tensor(frequencies)) / lengths[:, None] * envelope
    return functional.pad(math.sqrt(2 / cutoff) * values, (0, padded(len(frequencies)) - len(frequencies)))


def waves(angles: Tensor) -> Tensor:
    """Sines, then cosines; padding has frequency zero."""
    frequencies = angles.new_zeros(padded(len(ANGLE_FREQUENCIES)))
    frequencies[: len(ANGLE_FREQUENCIES)] = angles.new_tensor(ANGLE_FREQUENCIES)
    phases = angles[:, None] * frequencies
    return torch.cat([torch.sin(phases), torch.cos(phases)], dim=1)


def angles_between(vectors: Tensor, pairs: Tensor) -> Tensor:
    first, second = (vectors[edges] for edges in pairs.T)
    cosines = (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))
    return torch.arccos(cosines * SHRUNK)


def radial(with_envelope: bool) -> dict[str, core.RadialBasis]:
    kinds = {
        "bonds": (BOND_FREQUENCIES, CUTOFF, BOND_POWER),
        "short_bonds": (SHORT_FREQUENCIES, BOND_CUTOFF, SHORT_POWER),
    }
    envelope = "polynomial" if with_envelope else "none"
    return {
        name: core.RadialBasis(frequencies, math.sqrt(2 / cutoff), cutoff, power=power, envelope=envelope)
        for name, (frequencies, cutoff, power) in kinds.items()
    }


# ---- blocks


class Block:
    """A block's parameters, what it is to be given, and what it gives."""

    def __init__(self, spec: Spec, seed: int = 100) -> None:
        random, n = Random(seed), spec.channels
        of_angles = ("first", "second", "angles", "centres")
        self.spec = spec
        self.atoms = Gated(spec, random, ("receivers", "senders", "bonds"))
        self.out, self.out_bias = random.matrix(n, n), random.vector(n, spec.out_biased)
        self.messages, *self.angles = (Gated(spec, random, of_angles) for _ in range(1 + spec.updates))
        self.species = random.matrix(max(NUMBERS) + 1, n) * 3
        self.update, self.update_bias = random.matrix(n, n), random.vector(n, spec.out_biased)
        self.shift = random.vector(n, spec.out_biased and spec.index > 0)
        self.bond_embedding = random.embedding(len(BOND_FREQUENCIES), n)
        self.bond_weights = random.embedding(len(BOND_FREQUENCIES), n)
        self.short_weights = random.embedding(len(SHORT_FREQUENCIES), n)
        halves = [random.embedding(len(ANGLE_FREQUENCIES), n) for _ in range(2)]
        self.angle_embedding = torch.cat(halves)

    def basis(self, with_envelope: bool = True) -> dict[str, Any]:
        return {
            **radial(with_envelope),
            "angle_frequencies": ANGLE_FREQUENCIES,
            "bond_embedding": self.bond_embedding.numpy(),
            "bond_weights": self.bond_weights.numpy(),
            "short_weights": self.short_weights.numpy(),
            "angle_embedding": self.angle_embedding.numpy(),
        }

    def arguments(self, dtype: torch.dtype) -> dict[str, Any]:
        """Nested, so that single ones may be replaced."""
        spec, follows = self.spec, self.spec.index > 0
        out = {"out": self.out.numpy(), "out_bias": self.out_bias.tolist()}
        return {
            "is_double": dtype == torch.float64,
            "index": spec.index,
            "basis": self.basis(),
            "atoms": {**self.atoms.arguments(), **out},
            "bonds": self.messages.arguments() if spec.sends else None,
            "angles": [update.arguments() for update in self.angles],
            "species": None if follows else self.species.numpy(),
            "update": self.update.numpy() if follows else None,
            "update_bias": self.update_bias.tolist() if follows else [],
            "embedding_shift": self.shift.tolist(),
            "keeps_atoms": spec.keeps,
            "keeps_bonds": spec.keeps,
        }

    def stage(self, dtype: torch.dtype) -> core.NativeStage:
        return built(self.arguments(dtype))

    def bases(self, dtype: torch.dtype, with_envelope: bool = True) -> core.NativeStage:
        basis = core.BondBasis(**self.basis(with_envelope))
        return core.gated_bases(is_double=dtype == torch.float64, basis=basis)

    def inputs(self, of: Graph) -> Tensors:
        index, updates, bonds = self.spec.index, self.spec.updates, of.bonds
        if index == 0 or bonds is None:
            return {}
        n_short = len(bonds.short_bonds)
        n_rows = {"atoms": len(of.species), "bond_messages": n_short, "cut_messages": len(bonds.cut)}
        n_rows |= {f"atoms {k}": of.n_owned for k in range(1, index) if k <= updates}
        n_rows |= {f"bonds {k}": n_short for k in range(1, index) if k <= updates or k == index - 1}
        names = enumerate(n_rows.items(), 20)
        return {name: uniform(n, self.spec.channels, seed=k) for k, (name, n) in names}

    def reference(self, of: Graph, vectors: Tensor, inputs: Tensors) -> Tensors:
        return _Evaluation(self, of, vectors, inputs).outputs()


def built(arguments: dict[str, Any]) -> core.NativeStage:
    def layer(kind: type, given: dict[str, Any]) -> Any:
        return kind(**{**given, "perceptron": core.GatedPerceptron(**given["perceptron"])})

    bonds = arguments["bonds"]
    return core.gated_block(
        **{
            **arguments,
            "basis": core.BondBasis(**arguments["basis"]),
            "atoms": layer(core.AtomMessages, arguments["atoms"]),
            "bonds": bonds and layer(core.AngleLayer, bonds),
            "angles": [layer(core.AngleLayer, of) for of in arguments["angles"]],
        }
    )


class _Evaluation:
    """Of a block on a graph, edge by edge and angle by angle."""

    def __init__(self, block: Block, of: Graph, vectors: Tensor, inputs: Tensors) -> None:
        self.block, self.graph, self.inputs, self.index = block, of, inputs, block.spec.index
        assert of.bonds is not None
        self.bonds = of.bonds
        self.row = torch.full_like(of.bonds.bond_edge, -1)  # of short bonds
        self.row[of.bonds.short_bonds] = torch.arange(len(of.bonds.short_bonds))
        self.vectors, self.lengths = vectors, vectors[of.bonds.bond_edge].norm(dim=1)
        self.has_angles = of.bonds.n_angles_total > 0
        atoms = block.species[torch.tensor(NUMBERS)[of.species]]
        self.before = atoms if self.index == 0 else inputs["atoms"]
        self.basis = sines(self.lengths, BOND_FREQUENCIES, CUTOFF, BOND_POWER)
        self.short = self._updated_bonds()
        self.after = self._updated_atoms()

    def _updated_bonds(self) -> Tensor:
        """(n_short, channels)"""
        block = self.block
        if self.index > 1:
            bonds = self.inputs[f"bonds {self.index - 1}"]
        else:
            bonds = (self.basis @ block.bond_embedding)[self.bonds.short_bonds]
        if self.index == 0 or not self.has_angles:
            return bonds
        messages = self.inputs["bond_messages"].index_add(
            0, self.row[self.bonds.cut], self.inputs["cut_messages"]
        )
        update = messages @ block.update
        return bonds + (update + block.update_bias if block.spec.out_biased else update)

    def _updated_atoms(self) -> Tensor:
        """(n_owned, channels)"""
        block, of, edge_bond = self.block, self.graph, self.bonds.edge_bond
        every = self.basis @ block.bond_embedding
        if self.has_angles and len(block.shift):
            every = every + block.shift
        if self.index > 0:
            every = every.index_copy(0, self.bonds.short_bonds, self.short)
        rows = {
            "receivers": self.before[of.receivers],
            "senders": self.before[of.senders],
            "bonds": every[edge_bond],
        }
        messages = block.atoms(**rows) * (self.basis @ block.bond_weights)[edge_bond]
        sums = messages.new_zeros(of.n_owned, block.spec.channels).index_add(0, of.receivers, messages)
        update = sums @ block.out
        return self.before[: of.n_owned] + (update + block.out_bias if block.spec.out_biased else update)

    def _messages(self) -> Tensor:
        """(n_short, channels)"""
        block, bonds = self.block, self.bonds
        total = torch.zeros_like(self.short)
        if not self.has_angles:
            return total
        first, second = (self.row[bonds.edge_bond[edges]] for edges in bonds.angles.T)
        centres = self.graph.receivers[bonds.angles[:, 0]]
        angles = waves(angles_between(self.vectors, bonds.angles)) @ block.angle_embedding
        for k, update in enumerate(block.angles, 1):
            known, atoms = self.short, self.before
            if k < self.index:
                known, atoms = self.inputs[f"bonds {k}"], self.inputs[f"atoms {k}"]
            rows = {"first": known[first], "second": known[second], "centres": atoms[centres]}
            angles = angles + update(angles=angles, **rows)
        rows = {"first": self.short[first], "second": self.short[second], "centres": self.after[centres]}
        of_lengths = sines(self.lengths, SHORT_FREQUENCIES, BOND_CUTOFF, SHORT_POWER)[bonds.short_bonds]
        weights = of_lengths @ block.short_weights
        messages = block.messages(angles=angles, **rows) * weights[first] * weights[second]
        return total.index_add(0, first, messages)

    def outputs(self) -> Tensors:
        spec, outputs = self.block.spec, {"atoms": self.after}
        if spec.keeps:
            outputs[f"atoms {self.index}"] = self.before[: self.graph.n_owned]
            outputs[f"bonds {self.index}"] = self.short
        if spec.sends:
            messages = self._messages()
            outputs |= {"bond_messages": messages, "cut_messages": messages[self.row[self.bonds.cut]]}
        return outputs
