"""The stages of a NequIP or Allegro model, made of the model's own submodules.

A model is a sequence of modules that read and write named tensors of one dictionary. Of NequIP's only
convolutions read other atoms, and in them only what comes behind their first linear map and their norm: there
the sequence is cut, so that no partition computes these for halo rows. What the first convolution reads
depends on types only and is computed on halo rows, too. An Allegro model reads other atoms' types, and is one
stage. Edge vectors have our sign, and ``edge_index`` is (receiver, sender).
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from nequip.data import AtomicDataDict
from torch import Tensor, nn

from distmlip.machine.devices import in_float64
from distmlip.models.interface import EagerStage, Halo, LocalGraph, Tensors
from distmlip.models.kinds import kind_of
from distmlip.models.nequip.support import (
    BESSEL,
    EMBEDDING,
    ENERGY,
    LAYER,
    NORMALIZER,
    OF_EDGES,
    PAIR_POTENTIAL,
    SCALE,
    TOTAL,
    energy_model,
)
from distmlip.models.replicate import replicate

FEATURES: str = AtomicDataDict.NODE_FEATURES_KEY
OWN, BEFORE = "self connection", "features before"
"""What a convolution keeps of an atom itself and adds; and the features that a layer adds its own to."""
IN_FLOAT64: dict[str, re.Pattern[str]] = {
    NORMALIZER: re.compile("_rmax_recip"),
    BESSEL: re.compile("bessel_weights"),
    SCALE: re.compile("scales|shifts"),
    PAIR_POTENTIAL: re.compile("_qqr2exesquare"),
    "allegro.nn.spline.PerClassSpline": re.compile(".*"),
}
"""Tensors that are in float64 in a model of whatever dtype, by the kind of part that has them."""


def prepared_copy(model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A frozen copy of a model that evaluates in this dtype; see :func:`replicate`. Lengths, their basis, and
    scales and shifts of energies are in float64, as NequIP has them."""
    replica = replicate(model, device, dtype)
    theirs = dict(model.named_modules())
    for path, part in replica.named_modules():
        for attribute in ("_output_dtype", "model_dtype"):
            if hasattr(part, attribute):
                setattr(part, attribute, dtype)
        exact = IN_FLOAT64.get(kind_of(part))
        if exact is None:
            continue
        original = theirs[path]
        tensors = {**dict(original.named_parameters()), **dict(original.named_buffers())}
        for name, tensor in tensors.items():
            if exact.fullmatch(name) and tensor.is_floating_point():
                _replace(part, name, tensor.detach().to(device, torch.float64))
    return replica


def _replace(part: nn.Module, name: str, values: Tensor) -> None:
    path, _, last = name.rpartition(".")
    owner = part.get_submodule(path)
    if last in owner._parameters:
        owner.get_parameter(last).data = values
    else:
        owner._buffers[last] = values


class Layers:
    """What each stage of one prepared replica computes. ``types``: index of the type by atomic number."""

    def __init__(self, module: nn.Module, types: dict[int, int]) -> None:
        device = next(module.parameters()).device
        lookup = torch.full((max(types) + 1,), -1)
        for number, index in types.items():
            lookup[number] = index
        self._lookup = lookup.to(device)
        self.embedding: nn.Module | None = None
        self.of_edges: list[Any] = []
        self.layers: list[Any] = []
        self.rest: list[Any] = []
        """What follows the last layer; of a model without layers all of it."""
        parts = [part for part in energy_model(module).children() if kind_of(part) != TOTAL]
        has_layers = any(kind_of(part) == LAYER for part in parts)
        for part in parts:
            if kind_of(part) == LAYER:
                self.layers.append(part)
            elif has_layers and kind_of(part) == EMBEDDING:
                self.embedding = part
            elif has_layers and kind_of(part) in OF_EDGES:
                self.of_edges.append(part)
            else:
                self.rest.append(part)

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read."""
        if not self.layers:
            stage = EagerStage(
                name="energy", function=self._only, results=("energy",), computes=("atoms", "edges")
            )
            return [(stage, frozenset())]
        return [(self._stage(k), self._derived(k)) for k in range(len(self.layers))]

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """Radial features and spherical harmonics of the edges, and what a pair potential reads."""
        data = self._data(graph, vectors)
        for part in self.of_edges:
            data = part(data)
        return {name: data[name] for name in names}

    def _derived(self, k: int) -> frozenset[str]:
        names = {AtomicDataDict.EDGE_ATTRS_KEY, AtomicDataDict.EDGE_EMBEDDING_KEY}
        if k == len(self.layers) - 1 and any(kind_of(part) == PAIR_POTENTIAL for part in self.rest):
            names |= {AtomicDataDict.NORM_LENGTH_KEY, AtomicDataDict.EDGE_LENGTH_KEY}
        return frozenset(names)

    def _data(self, graph: LocalGraph, vectors: Tensor) -> Tensors:
        return {
            AtomicDataDict.ATOM_TYPE_KEY: self._lookup[graph.numbers],
            AtomicDataDict.EDGE_INDEX_KEY: graph.reversed_edge_index(),
            AtomicDataDict.EDGE_VECTORS_KEY: vectors,
        }

    def _stage(self, k: int) -> EagerStage:
        last = k == len(self.layers) - 1
        width = self.layers[k].conv.linear_1.irreps_out.dim
        return EagerStage(
            name=f"layer {k}",
            function=partial(self._run, k),
            before=() if k == 0 else (Halo(FEATURES, (width,)),),
            reads=() if k == 0 else self.between(k),
            writes=() if last else self.between(k + 1),
            results=("energy",) if last else (),
            computes=("atoms", "edges"),
        )

    def between(self, k: int) -> tuple[str, ...]:
        """What layer ``k`` reads."""
        layer = self.layers[k]
        return (FEATURES, *[OWN] * (layer.conv.sc is not None), *[BEFORE] * layer.resnet)

    def _run(self, k: int, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        data = self._data(graph, vectors) | inputs
        types = data[AtomicDataDict.ATOM_TYPE_KEY]
        if k == 0:
            data |= self.prepared(0, self.embedded(types), types, graph.n_owned)
        features = self._convolved(k, data, graph.n_owned)
        if k < len(self.layers) - 1:
            return self.prepared(k + 1, features, types[: graph.n_owned], graph.n_owned)
        return self._energies({**data, FEATURES: features}, graph.n_owned)

    def _only(self, graph: LocalGraph, vectors: Tensor, _: Tensors) -> Tensors:
        return self._energies(self._data(graph, vectors), graph.n_owned)

    def embedded(self, types: Tensor) -> Tensor:
        assert self.embedding is not None
        data = self.embedding({AtomicDataDict.ATOM_TYPE_KEY: types})
        embedded: Tensor = data[AtomicDataDict.NODE_ATTRS_KEY]
        return embedded

    def prepared(self, k: int, features: Tensor, types: Tensor, n_owned: int) -> Tensors:
        """What layer ``k`` reads, from features (of owned atoms, before the first layer of all)."""
        layer = self.layers[k]
        block, own = layer.conv, features[:n_owned]
        found = {BEFORE: own} if layer.resnet else {}
        if block.sc is not None:
            found[OWN] = block.sc(own, self.embedded(types[:n_owned]))
        linear = {FEATURES: block.linear_1(features), AtomicDataDict.ATOM_TYPE_KEY: types}
        return {**found, FEATURES: block.avg_num_neighbors_norm(linear)[FEATURES]}

    def _convolved(self, k: int, data: Tensors, n_owned: int) -> Tensor:
        """The features that layer ``k`` gives owned atoms."""
        layer = self.layers[k]
        block = layer.conv
        receivers, senders = data[AtomicDataDict.EDGE_INDEX_KEY]
        convolved = block.tp_scatter(
            x=data[FEATURES],
            edge_attr=data[AtomicDataDict.EDGE_ATTRS_KEY],
            edge_weight=block.edge_mlp(data[AtomicDataDict.EDGE_EMBEDDING_KEY]),
            edge_dst=receivers,
            edge_src=senders,
        )
        features = block.linear_2(convolved[:n_owned])
        if OWN in data:
            features = features + data[OWN]
        features = layer.equivariant_nonlin(features)
        result: Tensor = data[BEFORE] + features if layer.resnet else features
        return result

    def _energies(self, data: Tensors, n_owned: int) -> Tensors:
        for part in self.rest:
            of_network = data.pop(ENERGY, None) if kind_of(part) == PAIR_POTENTIAL else None
            data = part(data)
            if ENERGY in data:
                data[ENERGY] = data[ENERGY][:n_owned]
            if of_network is not None:
                data[ENERGY] = data[ENERGY] + of_network
        return {"energy": in_float64(data[ENERGY].view(-1))}
