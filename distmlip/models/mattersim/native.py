"""MatterSim's blocks as native stages. What crosses them is that of the eager ones (stages.py).

Functions of the angle are Legendre polynomials, so that the sum over angles is made of sums over edges. All
that depends on a length alone is a table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mattersim.forcefield.m3gnet.modules.layers import GatedMLP, SigmoidLayer, SwishLayer
from mattersim.forcefield.m3gnet.modules.message_passing import polynomial
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.machine.devices import in_float64
from distmlip.models.directed_layers import by_number, end_atoms, gated_layer, legendre, require_padded
from distmlip.models.exchanges import Halo
from distmlip.models.length_tables import Function, length_tables
from distmlip.models.local_graph import LocalGraph
from distmlip.models.mattersim.stages import ROUNDING
from distmlip.models.native import NativeStage
from distmlip.models.stages import EagerStage, Stage, Tensors

FUNCTIONS, EDGE_WEIGHTS, ATOM_WEIGHTS, EMBEDDING = range(4)
"""Groups of functions of the length; the embedding is the first block's."""


class NativeBlocks:
    """The native stages of a model."""

    def __init__(self, model: Any, replica: Any, dtype: torch.dtype) -> None:
        """``model``: an ``M3Gnet`` in float64, of which all is made; ``replica``: in the stages' dtype,
        for what is left behind the blocks.

        Raises:
            NotNativeError: a part of the model is of a kind that native stages do not know; so do methods.
        """
        self._model = model
        self._replica = replica
        self._dtype = dtype
        self._sizes = model.model_args
        self._width = int(self._sizes["units"])
        self._last = len(model.graph_conv) - 1
        require_padded(atoms=self._width)

    @torch.no_grad()
    def stages(self) -> list[Stage]:
        """One per block, then the readout."""
        blocks = [self._block(k) for k in range(self._last + 1)]
        readout = EagerStage(
            name="readout",
            function=self._read_out,
            reads=("atoms",),
            results=("energy",),
            computes=("atoms",),
        )
        return [*blocks, readout]

    def _read_out(self, graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
        energies = self._replica.final(inputs["atoms"]).view(-1)
        scaled = self._replica.normalizer(energies, graph.numbers[: graph.n_owned])
        return {"energy": in_float64(scaled)}

    def _block(self, k: int) -> NativeStage:
        first, last = k == 0, k == self._last
        names = ("atoms", "edges", "end_atoms")
        return NativeStage(
            name=f"block {k}",
            before=() if first else (Halo("atoms", (self._width,)),),
            reads=() if first else names,
            writes=("atoms",) if last else names,
            computes=("atoms", "edges", "angles"),
            compiled=self._compiled(k),
        )

    def _compiled(self, k: int) -> core.NativeStage:
        model, block = self._model, self._model.graph_conv[k]
        first, last = k == 0, k == self._last
        groups: list[Function] = [
            self._functions_of_length,
            lambda lengths: block.edge_layer_edge(model.rbf(lengths)),
            lambda lengths: block.edge_layer_atom(model.rbf(lengths)),
        ]
        species, ends = None, None
        if first:
            groups.append(lambda lengths: model.edge_encoder(model.rbf(lengths)))
            embedded = model.atom_embedding(torch.eye(model.max_z + 1, dtype=torch.float64))
            numbers = torch.arange(model.max_z + 1)
            species = by_number(numbers, embedded)
            ends = by_number(numbers, block.three_body.atom_mlp(embedded))
        cutoffs = float(self._sizes["cutoff"]), float(self._sizes["threebody_cutoff"])
        return core.directed_block(
            is_double=self._dtype == torch.float64,
            atoms=self._width,
            edges=self._width,
            tables=length_tables(groups, cutoffs[0], [cutoffs[1]], self._dtype),
            embedding=EMBEDDING if first else -1,
            species=species,
            end_species=ends,
            three_body=self._three_body(block.three_body),
            edge_update=core.WeightedLayer(self._layer(block.gated_mlp_edge), EDGE_WEIGHTS),
            messages=core.WeightedLayer(self._layer(block.gated_mlp_atom), ATOM_WEIGHTS),
            end_atoms=None if last else self._end_atoms(k + 1),
            gives_edges=not last,
        )

    def _layer(self, mlp: Any) -> core.GatedLayer:
        """Of receivers, senders and edges, side by side."""
        return gated_layer(_both(mlp), (0, 1, 2), [self._width] * 3)

    def _end_atoms(self, k: int) -> core.EndAtoms:
        layer = self._model.graph_conv[k].three_body.atom_mlp
        if type(layer) is not SigmoidLayer:
            raise NotNativeError(f"three-body sums read a {type_name(layer)} of atoms")
        return end_atoms(layer.linear)

    def _three_body(self, part: Any) -> core.ThreeBodySums:
        max_n, degrees = int(self._sizes["max_n"]), list(range(int(self._sizes["max_l"])))
        return core.ThreeBodySums(
            functions=[legendre(degree) for degree in degrees],
            of_column=np.repeat(degrees, max_n).tolist(),
            degrees=degrees,
            margin=ROUNDING,
            functions_of_length=FUNCTIONS,
            reads_centres=True,
            layer=gated_layer(_both(part.edge_gate_mlp), (0,), (max_n * len(degrees),)),
        )

    def _functions_of_length(self, lengths: Tensor) -> Tensor:
        """(n, columns + 1): what is multiplied with 2 l + 1 times Legendre polynomials, then the cutoff."""
        max_n, max_l = int(self._sizes["max_n"]), int(self._sizes["max_l"])
        straight = self._model.sbf(lengths, torch.zeros_like(lengths))  # where the polynomials are 1
        cutoff = polynomial(lengths, float(self._sizes["threebody_cutoff"]))[:, None]
        orders = torch.as_tensor(np.repeat(2 * np.arange(max_l) + 1, max_n))
        return torch.cat([straight / orders * cutoff, cutoff], dim=1)


def _both(mlp: Any) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """The linear layers of a gated perceptron: of core and of gate."""
    if type(mlp) is not GatedMLP:
        raise NotNativeError(f"a {type_name(mlp)}; native stages know MatterSim's GatedMLP")
    core_layers, gate_layers = list(mlp.g), list(mlp.sigma)
    kinds = [type(layer) for layer in (*core_layers, *gate_layers)]
    if kinds != [SwishLayer] * (2 * len(core_layers) - 1) + [SigmoidLayer]:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise NotNativeError(f"a gated perceptron of {names}; native stages know swish, and a sigmoid behind")
    return [layer.linear for layer in core_layers], [layer.linear for layer in gate_layers]
