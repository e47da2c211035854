"""What tests of native stages' operators share: a random graph, and the comparison with plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distmlip._native import core
from distmlip.models.local_graph import BondGraph
from distmlip.models.native import Grid

NUMBERS = (1, 8, 26)
CUTOFF = 4.0
CHANNELS = (1, 3, 16, 24, 40, 128)
GRID = Grid((0.0, 0.3, 0.6, 1.0, 1.3, 1.6, 2.0, 2.7, 3.3, CUTOFF), 6)
RELATIVE = {torch.float64: 1e-12, torch.float32: 1e-5}

Tensors = dict[str, Tensor]
Irreps = list[tuple[int, int]]


@dataclass(frozen=True)
class Graph:
    """Random: nothing here asks for a reverse of every edge."""

    n_owned: int
    species: Tensor
    senders: Tensor
    receivers: Tensor
    vectors: Tensor
    bonds: BondGraph | None = None

    @property
    def pairs(self) -> Tensor:
        """Receiver's species times the number of species, plus the sender's."""
        return self.species[self.receivers] * len(NUMBERS) + self.species[self.senders]


def graph(edges_of: list[int], n_local: int, seed: int = 0) -> Graph:
    """With so many edges at each owned atom, lengths from 0.5 Å to the cutoff."""
    random = torch.Generator().manual_seed(seed)
    n = sum(edges_of)
    vectors = torch.randn(n, 3, generator=random, dtype=torch.float64)
    lengths = 0.5 + (CUTOFF - 0.51) * torch.rand(n, 1, generator=random, dtype=torch.float64)
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * lengths
    return Graph(
        len(edges_of),
        torch.randint(len(NUMBERS), (n_local,), generator=random),
        torch.randint(n_local, (n,), generator=random),
        torch.arange(len(edges_of)).repeat_interleave(torch.tensor(edges_of)),
        vectors.float().double(),  # the same in both dtypes
    )


SMALL = graph([3, 0, 5, 130, 1, 0], n_local=9)


@dataclass(frozen=True)
class Precision:
    dtype: torch.dtype

    def builder(self, sign: int = 1, grid: Grid = GRID) -> Any:
        kind = core.StageBuilder32 if self.dtype == torch.float32 else core.StageBuilder64
        return kind(list(NUMBERS), sign, grid.cells)


def uniform(*shape: int, seed: int = 1) -> Tensor:
    """In float64, exact in float32."""
    random = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=random, dtype=torch.float64) - 1).float().double()


def parts(rows: Tensor, irreps: Irreps) -> list[Tensor]:
    """(n, channels, 2l+1) of each irrep."""
    found, first = [], 0
    for degree, channels in irreps:
        width = channels * (2 * degree + 1)
        found.append(rows[:, first : first + width].reshape(len(rows), channels, 2 * degree + 1))
        first += width
    return found


def joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten(1) for tensor in tensors], dim=1)


def width(irreps: Irreps) -> int:
    return sum(channels * (2 * degree + 1) for degree, channels in irreps)


def run(stage: core.NativeStage, of: Graph, dtype: torch.dtype, inputs: Tensors, keep: bool = True) -> Any:
    numbers = torch.tensor(NUMBERS)[of.species]
    given = {name: tensor.to(dtype) for name, tensor in inputs.items()}
    vectors = of.vectors.to(dtype)
    return stage.run(of.n_owned, numbers, of.senders, of.receivers, vectors, given, keep, of.bonds)


def assert_agrees(
    stage: core.NativeStage,
    precision: Precision,
    of: Graph,
    inputs: Tensors,
    reference: Callable[[Tensor, Tensors], Tensors],
    relative: dict[torch.dtype, float] = RELATIVE,
) -> None:
    """Outputs, and gradients of inputs and vectors for random gradients of the outputs."""
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    vectors = of.vectors.clone().requires_grad_()
    expected = reference(vectors, leaves)
    seeds = {name: uniform(*tensor.shape, seed=7) for name, tensor in expected.items()}
    total = sum((seeds[name] * tensor).sum() for name, tensor in expected.items())
    gradients = torch.autograd.grad(total, [vectors, *leaves.values()], allow_unused=True)
    of_vectors, *of_inputs = [
        torch.zeros_like(leaf) if found is None else found
        for leaf, found in zip([vectors, *leaves.values()], gradients, strict=True)
    ]
    bits = []
    for keep in (True, False):
        outputs, pullback = run(stage, of, precision.dtype, inputs, keep)
        back, edges = pullback({name: seed.to(outputs[name].dtype) for name, seed in seeds.items()})
        bits.append([*outputs.values(), *back.values(), edges])
    assert all(map(torch.equal, *bits)), "what was kept and what was computed again differ"
    pairs = {"vectors": (edges, of_vectors)}
    pairs |= {f"output {name}": (outputs[name], tensor) for name, tensor in expected.items()}
    for name, tensor in zip(leaves, of_inputs, strict=True):
        pairs[f"input {name}"] = back.get(name, torch.zeros_like(tensor)), tensor
    for name, (ours, theirs) in pairs.items():
        size = np.abs(theirs.detach().numpy()).max(initial=1.0)
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(
            ours.double().numpy(),
            theirs.detach().numpy(),
            rtol=0,
            atol=relative[precision.dtype] * size,
            err_msg=name,
        )
