"""The convolution and the symmetric contraction of MACE medium's second layer (bench_operators.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from models import mace_medium
from operator_contests import Contest, Contestant, Tensors, with_gradients
from structures import copper
from torch import Tensor

from distmlip import neighbor_list
from distmlip._native import core
from distmlip.models import e3nn_native
from distmlip.models.mace.contractions import contraction_of

LAYER = 1
"""The first one whose senders are no scalars."""
CUTOFF = 6.0
ELEMENTS = (0, 1, 2)


def places(parts: Iterable[tuple[int, int, Any]]) -> Tensor:
    """Where the numbers of e3nn's rows, [channels][2l+1] of each irrep, stand in ours, [2l+1][channels].

    Of each irrep: where it begins in ours, from component to component there, and e3nn's.
    """
    of_irreps = [
        (begin + torch.arange(irrep.mul)[:, None] + stride * torch.arange(irrep.ir.dim)).flatten()
        for begin, stride, irrep in parts
    ]
    return torch.cat(of_irreps)


def moved(rows: Tensor, places: Tensor, width: int) -> Tensor:
    """Numbers in these places of rows of zeros."""
    found = torch.zeros(len(rows), width, device=rows.device)
    found[:, places] = rows
    return found


def convolutions(size: int, device: str) -> Contest:
    """Messages of all edges summed at receivers, and gradients of senders, harmonics and weights."""
    atoms = copper(size)
    receivers, senders = (torch.tensor(of, device=device) for of in neighbor_list("ij", atoms, CUTOFF))
    n_atoms, n_edges = len(atoms), len(senders)
    product = mace_medium().interactions[LAYER].conv_tp
    random = torch.Generator().manual_seed(0)
    widths = (product.irreps_in1.dim, product.irreps_in2.dim, product.weight_numel)
    inputs = tuple(
        torch.randn(n, width, generator=random).to(device)
        for n, width in zip((n_atoms, n_edges, n_edges), widths, strict=True)
    )
    seed = torch.randn(n_atoms, product.irreps_out.dim, generator=random).to(device)

    def original(module: torch.nn.Module) -> Callable[..., Tensor]:
        def convolve(rows: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
            messages = module(rows[senders], harmonics, weights)
            return torch.zeros_like(seed, dtype=rows.dtype).index_add(0, receivers, messages)

        return convolve

    exact_product = mace_medium().double().interactions[LAYER].conv_tp
    known = e3nn_native.convolved(exact_product, "conv_tp")
    exact_product.to(device)
    exact = with_gradients(original(exact_product), tuple(of.double() for of in inputs), seed.double())
    theirs = original(product.to(device))
    contestants: dict[str, Contestant] = {
        "original": Contestant(lambda: with_gradients(theirs, inputs, seed)),
        "distmlip": our_convolution(product, known, (senders, receivers), inputs, seed),
    }
    if device != "cpu" and (fused := fused_convolution()) is not None:
        edges = torch.stack([senders, receivers])
        contestants["cuequivariance"] = Contestant(
            lambda: with_gradients(lambda *of: fused(*of, edges), inputs, seed)
        )
    return Contest(n_atoms, exact, contestants)


def our_convolution(
    product: Any,
    known: e3nn_native.Convolved,
    ends: tuple[Tensor, Tensor],
    inputs: Tensors,
    seed: Tensor,
) -> Contestant:
    """By our operators; couplings and their gradients by torch. ``known``: the product, taken apart."""
    device, n_atoms = seed.device, len(seed)
    paths = []
    for instruction in product.instructions:
        segment, first_channel, _ = known.places[instruction.i_out]
        paths.append((instruction.i_in1, segment, first_channel))
    source = [(irrep.ir.l, irrep.mul) for irrep in product.irreps_in1]
    convolution = core.DeviceConvolution(source, known.message, paths, device)
    edges = core.DeviceEdges(n_atoms, n_atoms, *ends)
    n_harmonics = product.irreps_in2.dim
    matrices = [torch.tensor(of[:n_harmonics]) for of in known.couplings]
    to_couplings = torch.cat(matrices, dim=1).to(seed)
    rows, harmonics, weights = inputs
    begins = [0]
    for degree, channels in known.message:
        begins.append(begins[-1] + channels * (2 * degree + 1))
    of_rows = places(
        (of.start, irrep.mul, irrep)
        for of, irrep in zip(product.irreps_in1.slices(), product.irreps_in1, strict=True)
    )
    of_messages = places(
        (begins[segment] + first, known.message[segment][1], irrep)
        for (segment, first, _), irrep in zip(known.places, product.irreps_out, strict=True)
    )
    own_rows = moved(rows, of_rows, rows.shape[1])
    own_seed = moved(seed, of_messages, begins[-1])

    def compute() -> Tensors:
        couplings = harmonics @ to_couplings
        messages = convolution.forward(edges, own_rows, weights, couplings)
        back = convolution.backward(edges, own_rows, weights, couplings, own_seed)
        return messages, back[0], back[2] @ to_couplings.T, back[1]

    def in_their_layout(messages: Tensor, rows: Tensor, harmonics: Tensor, weights: Tensor) -> Tensors:
        return messages[:, of_messages], rows[:, of_rows], harmonics, weights

    return Contestant(compute, in_their_layout)


def fused_convolution() -> Any:
    """cuEquivariance's, which gathers and sums by itself; None where it is not installed."""
    try:
        import cuequivariance_ops_torch  # noqa: F401
        from mace.cli.convert_e3nn_cueq import run
    except ImportError:
        return None
    return run(mace_medium(), device="cuda").interactions[LAYER].conv_tp


def contractions(size: int, device: str) -> Contest:
    """Of atoms of three elements, and gradients of the features."""
    module = mace_medium().products[LAYER].symmetric_contractions
    exact_module = mace_medium().double().products[LAYER].symmetric_contractions
    known = contraction_of(exact_module, ELEMENTS, "products")
    exact_module.to(device)
    n_inputs, channels = (module.irreps_in.lmax + 1) ** 2, module.irreps_in[0].mul
    n_outputs = module.irreps_out.dim // channels
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(size, channels, n_inputs, generator=random).to(device)
    seed = torch.randn(size, channels * n_outputs, generator=random).to(device)
    species = (torch.arange(size) % len(ELEMENTS)).to(device)
    one_hot = torch.eye(89, device=device)[torch.tensor(ELEMENTS, device=device)[species]]
    exact = with_gradients(lambda x: exact_module(x, one_hot.double()), (rows.double(),), seed.double())
    theirs = module.to(device)
    coefficients = torch.tensor(np.stack(known.coefficients), dtype=torch.float32, device=device)
    inputs = [list(monomial) for monomial in known.inputs]
    ours = core.DeviceContraction(n_inputs, n_outputs, known.outputs, inputs, coefficients)
    irreps = module.irreps_out
    of_outputs = places(
        (of.start, irrep.mul, irrep) for of, irrep in zip(irreps.slices(), irreps, strict=True)
    )
    own_rows = rows.transpose(1, 2).contiguous()
    own_seed = moved(seed, of_outputs, channels * n_outputs).reshape(size, n_outputs, channels)

    def compute() -> Tensors:
        return ours.forward(own_rows, species), ours.backward(own_rows, species, own_seed)

    def in_their_layout(outputs: Tensor, of_rows: Tensor) -> Tensors:
        return outputs.flatten(1)[:, of_outputs], of_rows.transpose(1, 2)

    return Contest(
        size,
        exact,
        {
            "original": Contestant(lambda: with_gradients(lambda x: theirs(x, one_hot), (rows,), seed)),
            "distmlip": Contestant(compute, in_their_layout),
        },
    )
