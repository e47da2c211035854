"""The stages of a SevenNet model: one per convolution, made of the model's own submodules.

A model is a sequence of modules that read and write named tensors of one dictionary. Only convolutions read
other atoms, so the sequence is cut before each of them. What the first one reads depends on species only and
is computed on halo rows too; what the others read crosses partitions. SevenNet's edge vectors have our sign,
and its ``edge_index`` is (receiver, sender).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from sevenn import _keys as keys
from sevenn.nn.convolution import IrrepsConvolution
from sevenn.nn.edge_embedding import EdgeEmbedding
from sevenn.nn.force_output import ForceStressOutputFromEdge
from sevenn.nn.linear import AtomReduce
from sevenn.nn.node_embedding import OnehotEmbedding
from sevenn.nn.self_connection import SelfConnectionIntro, SelfConnectionLinearIntro
from torch import Tensor, nn

from distmlip.machine.devices import in_float64
from distmlip.models.interface import EagerStage, Halo, LocalGraph, Tensors
from distmlip.models.replicate import replicate

if TYPE_CHECKING:
    from sevenn.nn.sequential import AtomGraphSequential

SELF_CONNECTIONS = (SelfConnectionIntro, SelfConnectionLinearIntro)
"""What a layer keeps of an atom itself, and adds after the convolution."""
OUTSIDE = (EdgeEmbedding, AtomReduce, ForceStressOutputFromEdge)
"""What is derived from edge vectors for all stages, and what the executor does over all partitions."""
DERIVED = frozenset({keys.EDGE_EMBEDDING, keys.EDGE_ATTR})
"""Radial features and spherical harmonics of the edges."""
BETWEEN = (keys.NODE_FEATURE, keys.SELF_CONNECTION_TEMP)
"""What a stage hands to the next: features, and what its self-connection will add to them."""
PER_ATOM = (keys.NODE_FEATURE, keys.NODE_ATTR, keys.ATOM_TYPE)


def prepared_copy(
    model: AtomGraphSequential, device: torch.device, dtype: torch.dtype
) -> AtomGraphSequential:
    """A frozen copy of a model, ready for one structure without a batch index; see :func:`replicate`."""
    replica = replicate(model, device, dtype)
    replica.set_is_batch_data(False)
    for part in replica:
        if isinstance(part, OnehotEmbedding):
            # It gives float32, whatever the dtype of the weights.
            part.register_forward_hook(partial(_cast_output, dtype))
    return replica


def _cast_output(dtype: torch.dtype, part: OnehotEmbedding, _: tuple[Tensors, ...], data: Tensors) -> Tensors:
    for key in (part.key_output, part.key_additional_output):
        if key is not None:
            data[key] = data[key].to(dtype)
    return data


class Layers:
    """What each stage of one prepared replica computes; ``modality`` is an index, None without modalities."""

    def __init__(self, module: AtomGraphSequential, modality: int | None) -> None:
        device = next(module.parameters()).device
        self.type_of_number: Tensor = module.z_to_onehot_tensor.to(device)
        self.modality = None if modality is None else torch.tensor(modality, device=device)
        self.edge_embedding: nn.Module = module.edge_embedding
        self.one_hot: list[nn.Module] = []
        self.embedding: list[nn.Module] = []
        self.layers: list[tuple[IrrepsConvolution, list[nn.Module]]] = []
        """Each convolution with the modules between it and the next."""
        for part in module:
            if isinstance(part, OnehotEmbedding):
                self.one_hot.append(part)
            elif isinstance(part, IrrepsConvolution):
                self.layers.append((part, []))
            elif not isinstance(part, OUTSIDE):
                (self.layers[-1][1] if self.layers else self.embedding).append(part)

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read."""
        return [(self._stage(layer), DERIVED) for layer in range(len(self.layers))]

    def derive(self, _: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """Radial features and spherical harmonics of the edges."""
        embedded = self.edge_embedding({keys.EDGE_VEC: vectors})
        return {name: embedded[name] for name in names}

    def species_of(self, numbers: Tensor) -> Tensors:
        """One-hot species of atoms (n_atoms, n_species), and the one-hot modality."""
        data = {keys.NODE_FEATURE: self.type_of_number[numbers]}
        if self.modality is not None:
            data[keys.MODAL_TYPE] = self.modality
        for part in self.one_hot:
            data = part(data)
        return data

    def _stage(self, layer: int) -> EagerStage:
        first, last = layer == 0, layer == len(self.layers) - 1
        width = self.layers[layer][0].convolution_kwargs["irreps_in1"].dim
        return EagerStage(
            name=f"layer {layer}",
            function=partial(self._run, layer),
            before=() if first else (Halo(keys.NODE_FEATURE, (width,)),),
            reads=() if first else BETWEEN,
            writes=() if last else BETWEEN,
            results=("energy",) if last else (),
            system_results=("num_edges",) if last else (),
            computes=("atoms", "edges"),
        )

    def _run(self, layer: int, graph: LocalGraph, _: Tensor, inputs: Tensors) -> Tensors:
        convolution, rest = self.layers[layer]
        data = self._embed(graph) if layer == 0 else self.species_of(graph.numbers[: graph.n_owned])
        # Later layers find their features here.
        data |= inputs
        data[keys.EDGE_IDX] = graph.reversed_edge_index()
        data = convolution(data)
        data |= {key: data[key][: graph.n_owned] for key in PER_ATOM}
        for part in rest:
            data = part(data)
        if layer < len(self.layers) - 1:
            return {key: data[key] for key in BETWEEN}
        return {
            "energy": in_float64(data[keys.ATOMIC_ENERGY].view(-1)),
            "num_edges": torch.tensor(graph.n_edges, device=graph.senders.device),
        }

    def _embed(self, graph: LocalGraph) -> Tensors:
        """What depends on species only; on halo rows too where the first convolution reads it."""
        data = self.species_of(graph.numbers)
        for part in self.embedding:
            if isinstance(part, SELF_CONNECTIONS):
                owned = part({**data, **{key: data[key][: graph.n_owned] for key in PER_ATOM}})
                data[keys.SELF_CONNECTION_TEMP] = owned[keys.SELF_CONNECTION_TEMP]
            else:
                data = part(data)
        return data
