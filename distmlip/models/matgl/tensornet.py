"""The stages of matgl's TensorNet: the embedding, then one per interaction layer.

A layer reads the tensors of the senders of edges after a normalisation and linear maps. The stage before
applies these to owned atoms, and a halo exchange completes their rows: so no part of a layer runs on halo
rows. TensorNet's edges run from receiver to sender, so its vectors are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from matgl.models import TensorNet as TensorNetNetwork
from matgl.utils.cutoff import cosine_cutoff
from torch import Tensor

from distmlip.errors import UnsupportedModelError
from distmlip.models.interface import EagerStage, Halo, LocalGraph, Stage, Tensors
from distmlip.models.matgl.architecture import Architecture, copy_of, network_of
from distmlip.models.matgl.native_tensornet import NativeTensorNet
from distmlip.models.matgl.tensors import N_NUMBERS, Algebra, TorchAlgebra, WarpAlgebra
from distmlip.models.native import NativeChoice

if TYPE_CHECKING:
    from matgl.apps.pes import Potential
    from matgl.layers import TensorNetInteraction
    from matgl.models import QET, TensorNet


class TensorNetArchitecture(Architecture):
    """TensorNet.

    Between stages, as :meth:`Algebra.flat` says: ``tensors`` (n_owned, 9 * units), normalised, and ``sent``
    (n_owned, 9 * units), what the next layer reads of senders. Derived: ``lengths`` (n_edges,), ``radial``
    (n_edges, num_rbf) and the algebra's ``graph_tensors``.
    """

    name: ClassVar[str] = "TensorNet"
    network: TensorNet | QET
    last_writes: ClassVar[tuple[str, ...]] = ()
    last_results: ClassVar[tuple[str, ...]] = ("energy",)
    """What the stage of the last layer leaves to the stages behind it, and to the caller."""

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        self.algebra: Algebra = WarpAlgebra() if self.network._use_warp else TorchAlgebra()
        self.n_layers = len(self.network.layers)

    def require_supported(self) -> None:
        """See :class:`Architecture`."""
        if self.network.is_intensive:
            raise UnsupportedModelError(
                f"{self.name} with is_intensive=True: its energy is not a sum over atoms, so it cannot be "
                "distributed; only models with is_intensive=False can"
            )
        n_targets = self.network.final_layer.dims[-1]
        if n_targets != 1:
            raise UnsupportedModelError(
                f"{self.name} with ntargets={n_targets} is not a potential; it must be 1"
            )

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """See :class:`Architecture`."""
        derived = frozenset({"lengths", "radial", *self.algebra.graph_tensors})
        return [(self._stage(layer), derived) for layer in range(-1, self.n_layers)]

    def native_stages(self, dtype: torch.dtype, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:
        """See :class:`Architecture`."""
        if type(self.network) is not TensorNetNetwork:
            return super().native_stages(dtype, choice, recompute)
        # Weights are folded in float64; those of a model in float32 are exact there.
        exact = copy_of(self.potential, torch.device("cpu"), torch.float64)
        elements = self._element_of_number.cpu()[torch.tensor(choice.numbers)]
        scale = float(exact.data_std)
        network = network_of(exact)
        return NativeTensorNet(network, self.algebra, scale, elements, dtype, choice, recompute).stages()

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """See :class:`Architecture`."""
        lengths = torch.linalg.norm(vectors, dim=1)
        every = {
            "lengths": lengths,
            "radial": self.network.bond_expansion(lengths),
            **self.algebra.graph_of(graph),
        }
        return {name: every[name] for name in names}

    def _stage(self, layer: int) -> EagerStage:
        """Of an interaction layer; -1 is the embedding."""
        first, last = layer == -1, layer == self.n_layers - 1
        return EagerStage(
            name="embedding" if first else f"layer {layer}",
            function=partial(self._run, layer),
            before=() if first else (Halo("sent", (N_NUMBERS * self.network.units,)),),
            reads=() if first else ("tensors", "sent"),
            writes=self.last_writes if last else ("tensors", "sent"),
            results=self.last_results if last else (),
            computes=("atoms", "edges"),
        )

    def _run(self, layer: int, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        network, algebra = self.network, self.algebra
        if layer == -1:
            edges = {**inputs, "vectors": vectors}
            tensors = algebra.embedding(network.tensor_embedding, graph, self.elements(graph), edges)
        else:
            tensors = self._interact(network.layers[layer], graph, inputs)
        if layer == self.n_layers - 1:
            return self.read_out(graph, self._features(tensors))
        tensors = algebra.normalised(tensors)
        sent = algebra.join(algebra.mix(network.layers[layer + 1].linears_tensor[:3], tensors))
        return {"tensors": algebra.flat(tensors), "sent": algebra.flat(sent)}

    def _interact(self, layer: TensorNetInteraction, graph: LocalGraph, inputs: Tensors) -> Tensor:
        """The tensors after a layer, of the owned atoms."""
        algebra = self.algebra
        tensors, sent = (algebra.from_flat(inputs[name]) for name in ("tensors", "sent"))
        weights = inputs["radial"]
        for linear in layer.linears_scalar:
            weights = layer.act(linear(weights))
        weights = weights * cosine_cutoff(inputs["lengths"], layer.cutoff)[:, None]
        messages = algebra.messages(layer, graph, algebra.split(sent), weights, inputs)
        if layer.equivariance_invariance_group == "O(3)":
            update = algebra.anticommutator(sent[: graph.n_owned], messages)
        else:
            update = 2 * algebra.product(sent[: graph.n_owned], messages)
        change = algebra.join(algebra.mix(layer.linears_tensor[3:], algebra.normalised(update)))
        return tensors + change + algebra.product(change, change)

    def read_out(self, _graph: LocalGraph, features: Tensor) -> Tensors:
        """What the last layer's stage gives, from the features (n_owned, units) of the owned atoms."""
        return {"energy": self.scaled(self.network.final_layer(features).view(-1))}

    def _features(self, tensors: Tensor) -> Tensor:
        features: Tensor = self.network.linear(self.network.out_norm(self.algebra.invariants(tensors)))
        return features
