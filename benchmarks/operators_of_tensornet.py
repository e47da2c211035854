"""What TensorNet's second layer makes of senders' tensors and radial functions: messages, their
anticommutators with the receivers' own, normalised (bench_operators.py)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from matgl.layers import TensorNetInteraction
from models import tensornet, tensornet_torch
from operator_contests import Contest, Contestant, Tensors, with_gradients
from structures import copper
from torch import Tensor

from distmlip import neighbor_list
from distmlip._native import core
from distmlip.models.interface import LocalGraph
from distmlip.models.matgl.tensors import N_NUMBERS, Algebra, TorchAlgebra, WarpAlgebra

LAYER = 1
CUTOFF = 5.0


def interactions(size: int, device: str) -> Contest:
    """Gradients of the tensors of senders, and of radial functions (n_edges, channels, 3)."""
    atoms = copper(size)
    receivers, senders = (torch.tensor(of, device=device) for of in neighbor_list("ij", atoms, CUTOFF))
    graph = LocalGraph(
        partition=0,
        n_owned=len(atoms),
        atoms=torch.arange(len(atoms), device=device),
        numbers=torch.tensor(atoms.numbers, device=device),
        senders=senders,
        receivers=receivers,
        vectors=torch.zeros(len(senders), 3, device=device),
    )
    layer = tensornet_torch().model.layers[LAYER].to(device)
    random = torch.Generator().manual_seed(0)
    channels = layer.units
    sent, seed = (torch.randn(2, len(atoms), N_NUMBERS * channels, generator=random) / 4).to(device)
    radial = torch.randn(len(senders), channels, 3, generator=random).to(device)
    exact = with_gradients(
        original(TorchAlgebra(), layer, graph), (sent.double(), radial.double()), seed.double()
    )
    contestants = {
        "original": Contestant(
            lambda: with_gradients(original(TorchAlgebra(), layer, graph), (sent, radial), seed)
        ),
        "distmlip": ours(graph, sent, radial, seed),
    }
    warped = tensornet().model
    if warped._use_warp:
        with_kernels = original(WarpAlgebra(), warped.layers[LAYER].to(device), graph)
        contestants["warp"] = Contestant(lambda: with_gradients(with_kernels, (sent, radial), seed))
    return Contest(len(atoms), exact, contestants)


def original(
    algebra: Algebra, layer: TensorNetInteraction, graph: LocalGraph
) -> Callable[[Tensor, Tensor], Tensor]:
    """By the model's own functions."""
    compressed = algebra.graph_of(graph)

    def interact(sent: Tensor, radial: Tensor) -> Tensor:
        tensors = algebra.from_flat(sent)
        messages = algebra.messages(layer, graph, algebra.split(tensors), radial.flatten(1), compressed)
        return algebra.flat(algebra.normalised(algebra.anticommutator(tensors, messages)))

    return interact


def ours(graph: LocalGraph, sent: Tensor, radial: Tensor, seed: Tensor) -> Contestant:
    """By our operators, whose radial functions are (n_edges, 3, channels)."""
    edges = core.DeviceEdges(graph.n_owned, graph.n_local, graph.senders, graph.receivers)
    product = core.DeviceTensorFunction("anticommutator")
    rows, gradients = (of.view(len(of), N_NUMBERS, -1) for of in (sent, seed))
    weights = radial.mT.contiguous()

    def compute() -> Tensors:
        messages = core.scale_on_device(edges, rows, weights)
        output = product.forward([rows, messages])
        of_own, of_messages = product.backward([rows, messages], gradients)
        of_rows, of_weights = core.scale_back_on_device(edges, rows, weights, of_messages)
        return output, of_rows.add_(of_own), of_weights

    def in_their_layout(output: Tensor, of_rows: Tensor, of_weights: Tensor) -> Tensors:
        return output.flatten(1), of_rows.flatten(1), of_weights.mT

    return Contestant(compute, in_their_layout)
