"""The operators of models for devices against plain torch, with gradients: on the CPU everywhere, and where
there is one on a GPU."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from support.device_operators import (
    GRAPHS,
    Graph,
    assert_close,
    gradients_of,
    in_both_dtypes,
    uniform,
)
from support.gpu import GPU
from torch import Tensor

from distmlip._native import core
from distmlip.errors import InvalidInputError

on_every_device = pytest.mark.parametrize(
    "device", ["cpu", pytest.param(str(GPU), marks=pytest.mark.cuda, id="gpu")]
)

Irreps = list[tuple[int, int]]
Path = tuple[int, int, int]


def parts(rows: Tensor, irreps: Irreps) -> list[Tensor]:
    """(n, 2l+1, channels) of each irrep."""
    found, first = [], 0
    for degree, channels in irreps:
        width = channels * (2 * degree + 1)
        found.append(rows[:, first : first + width].reshape(len(rows), 2 * degree + 1, channels))
        first += width
    return found


def width(irreps: Irreps) -> int:
    return sum(channels * (2 * degree + 1) for degree, channels in irreps)


@dataclass(frozen=True)
class Convolution:
    senders: Irreps
    message: Irreps
    paths: list[Path]

    def compiled(self, device: str) -> core.DeviceConvolution:
        return core.DeviceConvolution(self.senders, self.message, self.paths, torch.device(device))

    def reference(
        self, n_rows: int, edges: tuple[Tensor, Tensor], rows: Tensor, weights: Tensor, couplings: Tensor
    ) -> Tensor:
        senders, receivers = edges
        sums = [
            torch.zeros(n_rows, 2 * degree + 1, channels, dtype=torch.float64)
            for degree, channels in self.message
        ]
        weight = coupling = 0
        for source, target, first in self.paths:
            sent = parts(rows, self.senders)[source][senders]
            n_in, n_out, channels = sent.shape[1], sums[target].shape[1], sent.shape[2]
            matrix = couplings[:, coupling : coupling + n_in * n_out].reshape(-1, n_in, n_out)
            messages = torch.einsum("eic,eim,ec->emc", sent, matrix, weights[:, weight : weight + channels])
            place = torch.nn.functional.pad(messages, (first, sums[target].shape[2] - first - channels))
            sums[target] = sums[target].index_add(0, receivers, place)
            weight, coupling = weight + channels, coupling + n_in * n_out
        return torch.cat([of.flatten(1) for of in sums], dim=1)


CONVOLUTIONS = {
    "scalars": Convolution([(0, 1)], [(0, 1)], [(0, 0, 0)]),
    "all degrees": Convolution(
        [(degree, 3 + degree) for degree in range(4)],
        [(degree, 18) for degree in range(4)],
        [(i, o, sum(range(3, 3 + i))) for o in range(4) for i in range(4)],
    ),
    "more channels than lanes": Convolution(
        [(0, 128), (1, 40)], [(1, 168), (0, 33), (2, 40)], [(1, 0, 128), (0, 0, 0), (1, 2, 0)]
    ),
    "an irrep that nothing reads": Convolution([(2, 4), (0, 7), (1, 5)], [(0, 9)], [(1, 0, 2)]),
    "no paths": Convolution([(0, 4)], [(1, 4)], []),
}


@on_every_device
@in_both_dtypes
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("convolution", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolution(convolution: Convolution, graph: Graph, dtype: torch.dtype, device: str) -> None:
    n_rows, n_edges = len(graph.edges_of), len(graph.senders)
    compiled = convolution.compiled(device)
    given = (
        uniform(graph.n_local, width(convolution.senders), seed=1),
        uniform(n_edges, compiled.n_weights, seed=2),
        uniform(n_edges, compiled.n_couplings, seed=3),
    )
    leaves = [tensor.clone().requires_grad_() for tensor in given]
    expected = convolution.reference(n_rows, (graph.senders, graph.receivers), *leaves)
    seed = uniform(*expected.shape, seed=4)
    gradients = gradients_of(expected, seed, leaves)
    edges = graph.on(device)
    tensors = [tensor.to(device, dtype) for tensor in given]
    assert_close(compiled.forward(edges, *tensors), expected.detach(), dtype)
    back = [compiled.backward(edges, *tensors, seed.to(device, dtype)) for _ in range(2)]
    for ours, again, theirs in zip(*back, gradients, strict=True):
        assert_close(ours, theirs, dtype)
        assert torch.equal(ours, again)


N_SPECIES = 3


@on_every_device
@in_both_dtypes
@pytest.mark.parametrize("channels", [1, 40])
@pytest.mark.parametrize("n_atoms", [0, 1, 65])
def test_contraction(channels: int, n_atoms: int, dtype: torch.dtype, device: str) -> None:
    random = np.random.default_rng(0)
    possible = [
        (output, monomial)
        for output in (0, 1, 3)  # the third one is zero
        for degree in (1, 2, 3)
        for monomial in itertools.combinations_with_replacement(range(16), degree)
    ]
    terms = sorted(possible[k] for k in random.choice(len(possible), 60, replace=False))
    coefficients = uniform(N_SPECIES, len(terms), channels, seed=1)
    species = torch.arange(n_atoms) % N_SPECIES
    rows = uniform(n_atoms, 16, channels, seed=2).requires_grad_()
    outputs = [torch.zeros(n_atoms, channels, dtype=torch.float64) for _ in range(4)]
    for k, (output, monomial) in enumerate(terms):
        product = coefficients[species][:, k]
        for i in monomial:
            product = product * rows[:, i]
        outputs[output] = outputs[output] + product
    expected = torch.stack(outputs, dim=1)
    seed = uniform(*expected.shape, seed=3)
    (gradient,) = torch.autograd.grad((seed * expected).sum(), rows)
    compiled = core.DeviceContraction(
        16,
        4,
        [output for output, _ in terms],
        [list(monomial) for _, monomial in terms],
        coefficients.to(device, dtype),
    )
    given = rows.detach().to(device, dtype), species.to(device)
    assert_close(compiled.forward(*given), expected.detach(), dtype)
    assert_close(compiled.backward(*given, seed.to(device, dtype)), gradient, dtype)


BAD_CONVOLUTIONS = {
    "degree": ({"senders": [(4, 1)]}, "senders have 1 channels of degree 4.*up to 3"),
    "channels": ({"message": [(0, 0)]}, "the message have 0 channels"),
    "irrep": ({"paths": [(1, 0, 0)]}, "from irrep 1 of 1"),
    "channel": ({"paths": [(0, 0, 1)]}, "channels 1 to 5 of 4"),
    "twice": ({"paths": [(0, 0, 0), (0, 0, 0)]}, "two paths"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_CONVOLUTIONS.values(), ids=BAD_CONVOLUTIONS)
def test_bad_convolutions_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"senders": [(0, 4)], "message": [(0, 4)], "paths": [(0, 0, 0)], **arguments}
    with pytest.raises(InvalidInputError, match=message):
        core.DeviceConvolution(**call, device=torch.device("cpu"))


BAD_EDGES = {
    "more rows than there are": ({"n_rows": 4}, "4 of 3 rows"),
    "sender": ({"senders": torch.tensor([0, 3])}, "senders reach from 0 to 3, but there are 3"),
    "receiver": ({"receivers": torch.tensor([-1, 0])}, "receivers reach from -1"),
    "order": ({"receivers": torch.tensor([1, 0])}, "ascend"),
    "type": ({"senders": torch.tensor([0, 1], dtype=torch.int32)}, "int64"),
    "number": ({"senders": torch.tensor([0])}, r"receivers must have the shape \[1\], not \[2\]"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_EDGES.values(), ids=BAD_EDGES)
def test_bad_edges_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {
        "n_rows": 2,
        "n_local": 3,
        "senders": torch.tensor([0, 2]),
        "receivers": torch.tensor([0, 1]),
        **arguments,
    }
    with pytest.raises(InvalidInputError, match=message):
        core.DeviceEdges(**call)


BAD_TENSORS = {
    "rows": ({"rows": torch.zeros(3, 5)}, r"rows must have the shape \[3, 4\]"),
    "dtype": ({"weights": torch.zeros(2, 4).double()}, "weights is Double.*Float"),
    "layout": ({"rows": torch.zeros(4, 3).T}, "rows must be contiguous"),
    "whole numbers": (
        {
            name: torch.zeros(shape).int()
            for name, shape in {"rows": (3, 4), "weights": (2, 4), "couplings": (2, 1)}.items()
        },
        "Int; operators know float32 and float64",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_bad_tensors_are_refused(arguments: dict[str, Tensor], message: str) -> None:
    convolution = core.DeviceConvolution([(0, 4)], [(0, 4)], [(0, 0, 0)], torch.device("cpu"))
    edges = core.DeviceEdges(2, 3, torch.tensor([0, 2]), torch.tensor([0, 1]))
    call = {
        "rows": torch.zeros(3, 4),
        "weights": torch.zeros(2, 4),
        "couplings": torch.zeros(2, 1),
        **arguments,
    }
    with pytest.raises(InvalidInputError, match=message):
        convolution.forward(edges, **call)


BAD_CONTRACTIONS = {
    "rows": ({"rows": torch.zeros(2, 3, 5)}, r"rows must have the shape \[2, 2, 5\]"),
    "flat rows": ({"rows": torch.zeros(2, 10)}, r"\(n, 2, channels\)"),
    "species": ({"species": torch.tensor([0, 1])}, "species reach from 0 to 1, but there are 1"),
    "number": ({"species": torch.tensor([0])}, "1 species on cpu of 2 atoms"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_CONTRACTIONS.values(), ids=BAD_CONTRACTIONS)
def test_bad_rows_of_contractions_are_refused(arguments: dict[str, Tensor], message: str) -> None:
    contraction = core.DeviceContraction(2, 1, [0, 0], [[0], [0, 1]], torch.zeros(1, 2, 5))
    call = {"rows": torch.zeros(2, 2, 5), "species": torch.tensor([0, 0]), **arguments}
    with pytest.raises(InvalidInputError, match=message):
        contraction.forward(**call)


def test_coefficients_of_other_monomials_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(n_species, 2, channels\)"):
        core.DeviceContraction(2, 1, [0, 0], [[0], [0, 1]], torch.zeros(1, 3, 5))
