"""What TensorNet's native stages are made of, against plain torch, with gradients, on every instruction set:
tensors of rank two, norms of layers, scaled senders, radial networks with biases."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.operators import (
    CHANNELS,
    CUTOFF,
    NUMBERS,
    SMALL,
    Graph,
    Irreps,
    Precision,
    Tensors,
    assert_agrees,
    graph,
    uniform,
)
from support.tensors import DEGREE_OF, N_NUMBERS, ONE, TWO, flat, normalised, squares
from torch import Tensor

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.models.native import padded


def tensors_of(channels: int) -> Irreps:
    return [(degree, channels) for degree in range(3)]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", ONE)
def test_functions_of_tensors(name: str, channels: int, precision: Precision) -> None:
    function, n_scalars = ONE[name]
    builder = precision.builder()
    x = builder.input("x", tensors_of(channels), of_senders=False, by_component=True)
    irreps = [(0, channels)] * n_scalars or tensors_of(channels)
    builder.output("y", builder.of_tensors(name, x, irreps), by_component=True)
    inputs = {"x": uniform(SMALL.n_owned, N_NUMBERS * channels)}
    assert_agrees(
        builder.stage(), precision, SMALL, inputs, lambda _, given: {"y": function(squares(given["x"]))}
    )


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("name", TWO)
def test_functions_of_two_tensors(name: str, channels: int, precision: Precision) -> None:
    builder = precision.builder()
    a, b = (builder.input(k, tensors_of(channels), of_senders=False, by_component=True) for k in "ab")
    builder.output("y", builder.of_two_tensors(name, a, b), by_component=True)

    def reference(_: Tensor, given: Tensors) -> Tensors:
        return {"y": flat(TWO[name](squares(given["a"]), squares(given["b"])))}

    inputs = {name: uniform(SMALL.n_owned, N_NUMBERS * channels, seed=3 + k) for k, name in enumerate("ab")}
    assert_agrees(builder.stage(), precision, SMALL, inputs, reference)


@pytest.mark.parametrize("channels", [1, 24])
def test_tensors_of_harmonics_are_those_of_vectors(channels: int, precision: Precision) -> None:
    """1, [v] and v v - 1/3 from sums of harmonics over edges."""
    width = padded(channels)
    pick = np.eye(len(NUMBERS) * width)[:, :channels]  # of the first species
    builder = precision.builder()
    functions = builder.hidden(
        core.RadialBasis([], 1.0, CUTOFF, envelope="cosine", with_envelope=True),
        [np.ones((1, channels))],
        1.0,
    )
    sums = builder.expansion(functions, tensors_of(len(NUMBERS) * width), [0, 0, 0])
    of_edges = builder.linear(sums, tensors_of(channels), [core.LinearMap(k, k, [pick]) for k in range(3)])
    builder.output("y", builder.of_tensors("of_harmonics", of_edges, tensors_of(channels)), by_component=True)
    first = SMALL.species[SMALL.senders] == 0

    def reference(vectors: Tensor, _: Tensors) -> Tensors:
        lengths = vectors.norm(dim=1)
        x, y, z = (vectors / lengths[:, None]).unbind(1)
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
        direction = torch.stack([x, y, z], dim=1)
        outer = direction[:, :, None] * direction[:, None, :]
        identity = torch.eye(3, dtype=torch.float64)
        cutoff = (torch.cos(math.pi * lengths / CUTOFF) + 1) / 2
        weights = torch.nn.functional.silu(cutoff)
        of_edge = (identity + skew + outer - identity / 3) * (weights * first)[:, None, None]
        tensors = torch.zeros(SMALL.n_owned, 3, 3, dtype=torch.float64).index_add(0, SMALL.receivers, of_edge)
        return {"y": flat(tensors[:, None].expand(-1, channels, 3, 3))}

    assert_agrees(builder.stage(), precision, SMALL, {}, reference)


@pytest.mark.parametrize("widths", [[1], [12], [40, 3, 17]], ids=str)
def test_norms_of_layers(widths: list[int], precision: Precision) -> None:
    n = sum(widths)
    scales, shifts = uniform(n, seed=2), uniform(n, seed=3)
    irreps = [(0, width) for width in widths]
    builder = precision.builder()
    x = builder.input("x", irreps, of_senders=False)
    builder.output("y", builder.layer_norm(x, scales.tolist(), shifts.tolist(), 0.1))

    def reference(_: Tensor, given: Tensors) -> Tensors:
        return {"y": torch.nn.functional.layer_norm(given["x"], (n,), scales, shifts, 0.1)}

    assert_agrees(builder.stage(), precision, SMALL, {"x": uniform(SMALL.n_owned, n)}, reference)


def test_scalars_through_sigmoids(precision: Precision) -> None:
    builder = precision.builder()
    x = builder.input("x", [(0, 20), (0, 20)], of_senders=False)
    builder.output("y", builder.gate(x, [(0, 20)], [core.Gated(0, 0, 1, "sigmoid", 1.3)]))

    def reference(_: Tensor, given: Tensors) -> Tensors:
        values, gates = given["x"].split(20, dim=1)
        return {"y": 1.3 * torch.sigmoid(gates) * values}

    x_values = 6 * uniform(SMALL.n_owned, 40)
    x_values[0] *= 20  # where exponentials are very large and very small
    assert_agrees(builder.stage(), precision, SMALL, {"x": x_values}, reference)


# ---- senders' rows times functions of the length


def network(channels: int, n_parts: int) -> tuple[list[np.ndarray], Callable[[Tensor], Tensor]]:
    """Layers with biases, silu behind all of them, and the values of the functions under a cosine."""
    width, frequencies = padded(channels), [math.pi / CUTOFF, 2 * math.pi / CUTOFF]
    hidden = uniform(3, 5, seed=11)
    last = torch.zeros(6, n_parts, width, dtype=torch.float64)
    last[:, :, :channels] = uniform(6, n_parts, channels, seed=12)

    def values(lengths: Tensor) -> Tensor:
        sines = (
            torch.sin(lengths[:, None] * torch.tensor(frequencies, dtype=torch.float64)) / lengths[:, None]
        )
        numbers = torch.nn.functional.silu(sines @ hidden[:2] + hidden[2])
        numbers = torch.nn.functional.silu(torch.einsum("eh,hpc->epc", numbers, last[:5]) + last[5])
        return numbers[..., :channels] * ((torch.cos(math.pi * lengths / CUTOFF) + 1) / 2)[:, None, None]

    return [hidden.numpy(), last.reshape(6, -1).numpy()], values


def scaled(
    precision: Precision, channels: int, with_own: bool
) -> tuple[core.NativeStage, Callable[[Graph], object]]:
    layers, values = network(channels, 3)
    frequencies = [math.pi / CUTOFF, 2 * math.pi / CUTOFF]
    builder = precision.builder()
    basis = core.RadialBasis(frequencies, 1.0, CUTOFF, envelope="none")
    functions = builder.hidden(basis, layers, 1.0, [padded(channels)] * 3, CUTOFF)
    sent = builder.input("sent", tensors_of(channels), of_senders=True, by_component=True)
    builder.output("y", builder.scaling(sent, functions, [0, 1, 2]), by_component=True)
    if with_own:
        builder.output("own", builder.of_tensors("normalised", builder.own_rows(sent), tensors_of(channels)))

    def reference_on(of: Graph) -> Callable[[Tensor, Tensors], Tensors]:
        def reference(vectors: Tensor, given: Tensors) -> Tensors:
            rows = given["sent"].view(-1, N_NUMBERS, channels)
            of_edges = rows[of.senders] * values(vectors.norm(dim=1))[:, DEGREE_OF]
            sums = torch.zeros(of.n_owned, N_NUMBERS, channels, dtype=torch.float64)
            outputs = {"y": sums.index_add(0, of.receivers, of_edges).flatten(1)}
            if with_own:
                own = flat(normalised(squares(given["sent"][: of.n_owned]))).view(-1, N_NUMBERS, channels)
                parts = [own[:, :1], own[:, 1:4], own[:, 4:]]
                outputs["own"] = torch.cat([part.mT.flatten(1) for part in parts], dim=1)
            return outputs

        return reference

    return builder.stage(), reference_on


@pytest.mark.parametrize("with_own", [False, True])
@pytest.mark.parametrize("channels", CHANNELS)
def test_scaled_senders(channels: int, with_own: bool, precision: Precision) -> None:
    stage, reference_on = scaled(precision, channels, with_own)
    n_local = int(SMALL.senders.max()) + 3  # of which the last ones send nothing
    of = Graph(
        SMALL.n_owned, torch.zeros(n_local, dtype=torch.int64), SMALL.senders, SMALL.receivers, SMALL.vectors
    )
    inputs = {"sent": uniform(n_local, N_NUMBERS * channels)}
    assert_agrees(stage, precision, of, inputs, reference_on(of))


def test_many_scaled_senders(precision: Precision) -> None:
    """More atoms than are computed together, one of which sends more edges than go through at once."""
    of = graph([300, *([0, 1, 4] * 40), 129, 128], n_local=200)
    senders = of.senders.clone()
    senders[::2] = 7
    of = Graph(of.n_owned, of.species, senders, of.receivers, of.vectors)
    stage, reference_on = scaled(precision, 3, True)
    inputs = {"sent": uniform(200, N_NUMBERS * 3)}
    assert_agrees(stage, precision, of, inputs, reference_on(of))


MISTAKES: dict[str, tuple[str, Callable[[core.StageBuilder64], object]]] = {
    "function": (
        "no function of tensors is called 'root'",
        lambda b: b.of_tensors("root", with_tensors(b), [(0, 2)]),
    ),
    "function of two": (
        "no function of two tensors is called 'sum'",
        lambda b: b.of_two_tensors("sum", with_tensors(b), with_tensors(b)),
    ),
    "no tensors": (
        "tensors are scalars, vectors and a degree 2",
        lambda b: b.of_tensors("norm", b.input("x", [(0, 2), (1, 2)], False), [(0, 2)]),
    ),
    "one tensor twice": (
        "whose registers do not fit",
        lambda b: b.of_two_tensors("plus_square", with_tensors(b), 0),
    ),
    "layers of vectors": (
        "they must be scalars",
        lambda b: b.layer_norm(b.input("x", [(1, 2)], False), [1.0] * 6, [0.0] * 6, 1e-5),
    ),
    "scales": (
        "1 scales and 2 shifts of 2 numbers",
        lambda b: b.layer_norm(b.input("x", [(0, 2)], False), [1.0], [0.0] * 2, 1e-5),
    ),
    "envelope": ("envelope is 'step'", lambda b: core.RadialBasis([1.0], 1.0, CUTOFF, envelope="step")),
    "rows of no senders": ("is no input of senders", lambda b: b.own_rows(with_tensors(b))),
    "columns": (
        "a group of 3 hidden numbers, which is not padded",
        lambda b: b.hidden(core.RadialBasis([1.0], 1.0, CUTOFF, 6), [np.zeros((1, 3))], 1.0, [3]),
    ),
}


def with_tensors(builder: core.StageBuilder64) -> int:
    return builder.input("x", tensors_of(2), False)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_fit_together_is_refused(mistake: str) -> None:
    words, build = MISTAKES[mistake]
    with pytest.raises(InvalidInputError, match=words):
        build(Precision(torch.float64).builder())
