"""TensorNet's and CHGNet's operators for devices against plain torch, with gradients: on the CPU everywhere,
and where there is one on a GPU."""

from __future__ import annotations

from typing import Any

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
from support.tensors import DEGREE_OF, N_NUMBERS, ONE, TWO, flat, squares
from torch import Tensor
from torch.nn.functional import silu

from distmlip._native import core
from distmlip.errors import InvalidInputError

on_every_device = pytest.mark.parametrize(
    "device", ["cpu", pytest.param(str(GPU), marks=pytest.mark.cuda, id="gpu")]
)

EDGE_CHANNELS = pytest.mark.parametrize("channels", [1, 40])


@on_every_device
@in_both_dtypes
@EDGE_CHANNELS
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_scaled_senders(graph: Graph, channels: int, dtype: torch.dtype, device: str) -> None:
    rows = uniform(graph.n_local, N_NUMBERS, channels, seed=1).requires_grad_()
    radial = uniform(sum(graph.edges_of), 3, channels, seed=2).requires_grad_()
    messages = radial[:, DEGREE_OF] * rows[graph.senders]
    nothing = torch.zeros(len(graph.edges_of), N_NUMBERS, channels, dtype=torch.float64)
    expected = nothing.index_add(0, graph.receivers, messages)
    seed = uniform(*expected.shape, seed=3)
    gradients = gradients_of(expected, seed, [rows, radial])
    edges = graph.on(device)
    given = [tensor.detach().to(device, dtype) for tensor in (rows, radial)]
    assert_close(core.scale_on_device(edges, *given), expected.detach(), dtype)
    back = [core.scale_back_on_device(edges, *given, seed.to(device, dtype)) for _ in range(2)]
    for ours, again, theirs in zip(*back, gradients, strict=True):
        assert_close(ours, theirs, dtype)
        assert torch.equal(ours, again)


@on_every_device
@in_both_dtypes
@EDGE_CHANNELS
@pytest.mark.parametrize("n_atoms", [0, 65])
@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_functions_of_tensors(
    name: str, n_atoms: int, channels: int, dtype: torch.dtype, device: str
) -> None:
    given = [uniform(n_atoms, N_NUMBERS, channels, seed=k).requires_grad_() for k in range(1 + (name in TWO))]
    tensors = [squares(tensor.flatten(1)) if n_atoms else torch.zeros(0, channels, 3, 3) for tensor in given]
    result = ONE[name][0](tensors[0]) if name in ONE else flat(TWO[name](*tensors))
    expected = result.double().reshape(
        n_atoms, ONE[name][1] or N_NUMBERS if name in ONE else N_NUMBERS, channels
    )
    assert_function(core.DeviceTensorFunction(name), given, expected, dtype, device)


@on_every_device
@in_both_dtypes
def test_tensors_of_harmonics(dtype: torch.dtype, device: str) -> None:
    """1, [v] and v v - 1/3 of unit vectors v; linear in the harmonics."""
    x, y, z = (vectors := torch.nn.functional.normalize(uniform(65, 3, seed=1))).unbind(1)
    root3, root5, root15 = 3**0.5, 5**0.5, 15**0.5
    of_degree_2 = [root15 * x * z, root15 * x * y, root5 * (y * y - (x * x + z * z) / 2)]
    of_degree_2 += [root15 * y * z, root15 * (z * z - x * x) / 2]
    harmonics = torch.stack([torch.ones_like(x), *(root3 * vectors.T), *of_degree_2], dim=1)[:, :, None]
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
    identity = torch.eye(3, dtype=torch.float64)
    tensors = identity + skew + vectors[:, :, None] * vectors[:, None, :] - identity / 3
    expected = flat(tensors[:, None]).view(65, N_NUMBERS, 1)
    function = core.DeviceTensorFunction("of_harmonics")
    given = harmonics.to(device, dtype)
    assert_close(function.forward([given]), expected, dtype)
    basis = torch.eye(N_NUMBERS, dtype=dtype, device=device)[:, :, None]
    matrix = function.forward([basis])[:, :, 0].cpu()
    (back,) = function.backward([basis], basis)
    assert torch.equal(back[:, :, 0].cpu(), matrix.T)


def assert_function(
    function: core.DeviceTensorFunction,
    given: list[Tensor],
    expected: Tensor,
    dtype: torch.dtype,
    device: str,
) -> None:
    seed = uniform(*expected.shape, seed=7)
    gradients = gradients_of(expected, seed, given)
    tensors = [tensor.detach().to(device, dtype) for tensor in given]
    assert_close(function.forward(tensors), expected.detach(), dtype)
    for ours, theirs in zip(function.backward(tensors, seed.to(device, dtype)), gradients, strict=True):
        assert_close(ours, theirs, dtype)


N_TABLES, N_WEIGHTS = 3, 2


def gated(
    tables: list[Tensor], weights: list[Tensor], parameters: dict[str, Tensor], epsilon: float
) -> Tensor:
    """Messages of all rows from the rows of tables and weights that they read."""
    sums = torch.stack(tables).sum(0)
    halves = list(sums.chunk(2, dim=1))
    if "layers" in parameters:
        layers, bias = parameters["layers"], parameters["bias"]
        halves = [silu(x) @ layers[half] + bias[half] for half, x in enumerate(halves)]
    if "scales" in parameters:
        roots = [(x.square().mean(1, keepdim=True) + epsilon).rsqrt() for x in halves]
        halves = [
            x * root * parameters["scales"][half] + parameters["shifts"][half]
            for half, (x, root) in enumerate(zip(halves, roots, strict=True))
        ]
    message = silu(halves[0]) * torch.sigmoid(halves[1])
    for of in weights:
        message = message * of
    return message


@on_every_device
@in_both_dtypes
@pytest.mark.parametrize("n_weights", [0, 1, 2])
@pytest.mark.parametrize(("hidden", "channels"), [(None, 64), (None, 5), (64, 64), (48, 40), (1, 33)])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("n_rows", [0, 1, 83])
def test_gated_messages(
    n_rows: int,
    normalised: bool,
    hidden: int | None,
    channels: int,
    n_weights: int,
    dtype: torch.dtype,
    device: str,
) -> None:
    epsilon, n_receivers, sizes = 0.01, 6, [9, 4, 83]
    parameters = {}
    if hidden is not None:
        parameters["layers"] = uniform(2, hidden, channels, seed=1)
        parameters["bias"] = uniform(2, channels, seed=2)
    if normalised:
        parameters["scales"], parameters["shifts"] = uniform(2, 2, channels, seed=3)
    tables = [uniform(n, 2 * (hidden or channels), seed=10 + n).requires_grad_() for n in sizes]
    weights = [uniform(n, channels, seed=20 + n).requires_grad_() for n in sizes[:n_weights]]
    random = torch.Generator().manual_seed(4)
    index = [torch.randint(n, (n_rows,), generator=random) for n in sizes]
    receivers = torch.randint(n_receivers - 1, (n_rows,), generator=random)  # in no order; the last gets none
    messages = gated(
        [table[of] for table, of in zip(tables, index, strict=True)],
        [weight[of] for weight, of in zip(weights, index, strict=False)],
        parameters,
        epsilon,
    )
    expected = torch.zeros(n_receivers, channels, dtype=torch.float64).index_add(0, receivers, messages)
    seed = uniform(*expected.shape, seed=5)
    gradients = gradients_of(expected, seed, [*tables, *weights])

    def there(tensors: list[Tensor]) -> list[Tensor]:
        return [tensor.detach().to(device, dtype).contiguous() for tensor in tensors]

    on_device = dict(zip(parameters, there(list(parameters.values())), strict=True))
    gate = core.DeviceGate(
        channels=channels,
        hidden=(on_device["layers"], on_device["bias"]) if hidden is not None else None,
        norm=(on_device["scales"], on_device["shifts"]) if normalised else None,
        epsilon=epsilon,
    )
    places = [(n, of.to(device)) for n, of in zip(sizes, index, strict=True)]
    rows = core.DeviceMessages((n_receivers, receivers.to(device)), places, places[:n_weights])
    assert_close(gate.forward(rows, there(tables), there(weights)), expected.detach(), dtype)
    back = [gate.backward(rows, there(tables), there(weights), seed.to(device, dtype)) for _ in range(2)]
    (of_tables, of_weights), (again, _) = back
    for ours, theirs in zip([*of_tables, *of_weights], gradients, strict=True):
        assert_close(ours, theirs, dtype)
    assert all(torch.equal(*pair) for pair in zip(of_tables, again, strict=True))


EDGES = 2, torch.tensor([0, 1])
TABLES = [torch.zeros(2, 8)]
BAD_GATES: dict[str, tuple[dict[str, Any], str]] = {
    "channels": ({"channels": 65}, "65 channels; one to 64"),
    "hidden": ({"hidden": (torch.zeros(2, 65, 4), torch.zeros(2, 4))}, "one to 64 hidden channels"),
    "bias": ({"hidden": (torch.zeros(2, 3, 4), torch.zeros(2, 3))}, r"bias must have the shape \[2, 4\]"),
    "norm": ({"norm": (torch.zeros(2, 3), torch.zeros(2, 4))}, r"scales must have the shape \[2, 4\]"),
    "dtype": (
        {"norm": (torch.zeros(2, 4), torch.zeros(2, 4).double())},
        "shifts is Double.*Float",
    ),
    "tables": ({"tables": [torch.zeros(2, 6)]}, r"tables must have the shape \[2, 8\]"),
    "number of tables": ({"tables": []}, "0 tables and 0 weights for indices of 1 and 0"),
    "rows": ({"sums": [(2, torch.tensor([0]))]}, r"rows of tables must have the shape \[2\]"),
    "index": ({"sums": [(1, torch.tensor([0, 1]))]}, "rows of sums reach from 0 to 1, but there are 1"),
    "no sums": ({"sums": []}, "0 tables of sums"),
    "size": ({"receivers": (-1, torch.tensor([0, 1]))}, "a table of -1 rows"),
}


@pytest.mark.parametrize(("arguments", "message"), BAD_GATES.values(), ids=BAD_GATES)
def test_bad_gates_are_refused(arguments: dict[str, Any], message: str) -> None:
    call = {"channels": 4, "hidden": None, "norm": None, "receivers": EDGES, "sums": [EDGES]}
    call |= {"tables": TABLES} | arguments
    with pytest.raises(InvalidInputError, match=message):
        messages_of(**call)


def messages_of(
    receivers: Any, sums: list[tuple[int, Tensor]], tables: list[Tensor], **parameters: Any
) -> Tensor:
    gate = core.DeviceGate(**parameters, epsilon=0.1)
    return gate.forward(core.DeviceMessages(receivers, sums, []), tables, [])


BAD_TENSORS: dict[str, tuple[str, list[Tensor], str]] = {
    "name": ("cube", [torch.zeros(2, 9, 4)], "no function of tensors is called 'cube'"),
    "number": ("norm", [torch.zeros(2, 9, 4)] * 2, "2 tensors for a function of 1"),
    "flat": ("norm", [torch.zeros(2, 36)], r"\(n, 9, channels\)"),
    "shapes": (
        "plus_square",
        [torch.zeros(2, 9, 4), torch.zeros(3, 9, 4)],
        r"tensors must have the shape \[2, 9, 4\]",
    ),
}


@pytest.mark.parametrize(("name", "tensors", "message"), BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_bad_tensors_are_refused(name: str, tensors: list[Tensor], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        core.DeviceTensorFunction(name).forward(tensors)


def test_edges_of_others_are_refused() -> None:
    edges = core.DeviceEdges(1, 2, torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(InvalidInputError, match=r"rows must have the shape \[2, 9, 4\]"):
        core.scale_on_device(edges, torch.zeros(3, 9, 4), torch.zeros(1, 3, 4))
    with pytest.raises(InvalidInputError, match=r"radial must have the shape \[1, 3, 4\]"):
        core.scale_on_device(edges, torch.zeros(2, 9, 4), torch.zeros(2, 3, 4))
