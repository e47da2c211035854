"""The stages of a MACE model: one per interaction layer, made of the model's own submodules.

MACE's vectors point from the sender to the receiver, so they are minus ours. A block's linear maps whose
output is read at the senders (``linear_up``) are applied by the stage before, to owned rows only; a halo
exchange completes their rows, and the block finds them in a :class:`Given` that stands in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import torch
from mace.modules import RealAgnosticResidualNonLinearInteractionBlock
from torch import Tensor, nn

from distmlip.machine.devices import in_float64
from distmlip.models.interface import EagerStage, Halo, LocalGraph, Tensors
from distmlip.models.replicate import cast_inputs

if TYPE_CHECKING:
    from e3nn.o3 import Linear
    from mace.modules import MACE, InteractionBlock

SENDER_MAPS = ("linear_up", "linear_down")
"""Maps in a block whose output is read at the senders of edges; ``linear_down`` is AttResidual's."""
OWNED_MAPS = ("linear_res",)
"""Maps in a block that it applies to the output of ``linear_up``, but that only owned rows need."""


class Given(nn.Module):
    """Stands in a block for one of its linear maps and hands out rows that were computed elsewhere."""

    def __init__(self, replaced: Linear) -> None:
        super().__init__()
        self.replaced = replaced
        self.rows: Tensor | None = None

    @property
    def width(self) -> int:
        """Of a row."""
        return int(self.replaced.irreps_out.dim)

    def forward(self, _: Tensor) -> Tensor | None:
        """Hand out the rows, whatever the block gives."""
        return self.rows


def prepare(module: MACE, dtype: torch.dtype) -> None:
    """Make a replica ready to be run in stages."""
    for block in module.interactions:
        for name in (*SENDER_MAPS, *OWNED_MAPS):
            if hasattr(block, name):
                setattr(block, name, Given(getattr(block, name)))
    for readout in module.readouts:
        for name in ("linear_mid", "linear_2"):
            if hasattr(readout, name):
                # mask_head() between them multiplies by a mask of torch's default dtype.
                cast_inputs(getattr(readout, name), dtype)


class Layers:
    """What each stage of one prepared replica computes."""

    def __init__(self, module: MACE, head: int, energy_unit: float) -> None:
        self.module = module
        self.head = head
        self.energy_unit = energy_unit
        self.n_layers = len(module.interactions)
        numbers: Tensor = module.atomic_numbers
        self.element_of_number = torch.full((int(numbers.max()) + 1,), -1, device=numbers.device)
        self.element_of_number[numbers] = torch.arange(len(numbers), device=numbers.device)
        self.derived = frozenset({"edge_attrs", "edge_feats"})
        if not getattr(module.radial_embedding, "apply_cutoff", True):
            self.derived |= {"cutoff"}

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read."""
        return [(self._stage(layer), self.derived) for layer in range(self.n_layers)]

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """Spherical harmonics and radial features of the edges."""
        with _torchscript_on(vectors.device):
            edge_feats, cutoff = self.module.radial_embedding(
                _lengths(vectors), self._attributes(graph), graph.edge_index(), self.module.atomic_numbers
            )
            edge_attrs = self.module.spherical_harmonics(-vectors)
        every = {"edge_attrs": edge_attrs, "edge_feats": edge_feats, "cutoff": cutoff}
        return {name: every[name] for name in names}

    def _stage(self, layer: int) -> EagerStage:
        first, last = layer == 0, layer == self.n_layers - 1
        received, sent = self._sender_maps(layer), {} if last else self._sender_maps(layer + 1)
        results = ("reference_energy", "embedding_energy")[: 1 + hasattr(self.module, "embedding_readout")]
        return EagerStage(
            name=f"layer {layer}",
            function=partial(self._run, layer),
            before=() if first else tuple(Halo(name, (given.width,)) for name, given in received.items()),
            reads=() if first else ("features", "site_energy", *received),
            writes=() if last else ("features", "site_energy", *sent),
            results=(*(results if first else ()), *(("energy",) if last else ())),
            computes=("atoms", "edges"),
        )

    def _run(self, layer: int, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        with _torchscript_on(vectors.device):
            attributes = self._attributes(graph)
            outputs = self._embed(graph, vectors, attributes) if layer == 0 else {}
            state = {**inputs, **outputs}
            features = self._interact(layer, graph, attributes, state)
            site_energy = state["site_energy"] + self._readout(layer, features)
            if layer == self.n_layers - 1:
                return {**outputs, "energy": self._scaled(site_energy)}
            sent = {name: given.replaced(features) for name, given in self._sender_maps(layer + 1).items()}
            return {**outputs, **sent, "features": features, "site_energy": site_energy}

    def _embed(self, graph: LocalGraph, vectors: Tensor, attributes: Tensor) -> Tensors:
        """What depends on species, the system and single edges only; on halo rows too, as edges read it."""
        module, owned = self.module, attributes[: graph.n_owned]
        features = module.node_embedding(attributes)
        if hasattr(module, "joint_embedding"):
            embedded = {
                name: graph.system[name] if spec["per"] == "graph" else graph.system[name][graph.atoms]
                for name, spec in module.embedding_specs.items()
            }
            same_system = torch.zeros(graph.n_local, dtype=torch.int64, device=attributes.device)
            features = features + module.joint_embedding(same_system, embedded)
        outputs = {name: given.replaced(features) for name, given in self._sender_maps(0).items()}
        outputs["features"] = features[: graph.n_owned]
        outputs["reference_energy"] = in_float64(self._of_head(module.atomic_energies_fn(owned)))
        if hasattr(module, "embedding_readout"):
            energies = module.embedding_readout(outputs["features"], self._heads(owned))
            outputs["embedding_energy"] = in_float64(self._of_head(energies))
        outputs["site_energy"] = vectors.new_zeros(graph.n_owned)
        if hasattr(module, "pair_repulsion"):
            outputs["site_energy"] = module.pair_repulsion_fn(
                _lengths(vectors), attributes, graph.edge_index(), module.atomic_numbers
            )[: graph.n_owned]
        return outputs

    def _interact(self, layer: int, graph: LocalGraph, attributes: Tensor, state: Tensors) -> Tensor:
        """The interaction and product of a layer: features of the owned atoms, all channels in one row."""
        block, product = self.module.interactions[layer], self.module.products[layer]
        owned = attributes[: graph.n_owned]
        # This block alone reads the species at the senders; to the others halo rows would be wasted work.
        reads_senders = isinstance(block, RealAgnosticResidualNonLinearInteractionBlock)
        with _given(block, graph.n_owned, {name: state[name] for name in self._sender_maps(layer)}):
            message, skip = block(
                node_attrs=attributes if reads_senders else owned,
                node_feats=state["features"],
                edge_attrs=state["edge_attrs"],
                edge_feats=state["edge_feats"],
                edge_index=graph.edge_index(),
                cutoff=state.get("cutoff"),
                # MACE's own way to return owned rows only; `first_layer` keeps it from communicating.
                first_layer=True,
                lammps_class=self,
                lammps_natoms=(graph.n_owned, graph.n_halo),
            )
        features: Tensor = product(node_feats=message, sc=skip, node_attrs=owned)
        return features

    def _readout(self, layer: int, features: Tensor) -> Tensor:
        """(n_owned,) contribution of a layer; a single readout reads the last layer."""
        readouts = self.module.readouts
        position = layer - (self.n_layers - 1) if len(readouts) == 1 else layer
        if position not in range(len(readouts)):
            return features.new_zeros(len(features))
        return self._of_head(readouts[position](features, self._heads(features)))

    def _scaled(self, site_energy: Tensor) -> Tensor:
        if hasattr(self.module, "scale_shift"):
            site_energy = self.module.scale_shift(site_energy, self._heads(site_energy))
        return in_float64(site_energy) * self.energy_unit

    def _sender_maps(self, layer: int) -> dict[str, Given]:
        block = self.module.interactions[layer]
        return {name: getattr(block, name) for name in SENDER_MAPS if hasattr(block, name)}

    def _attributes(self, graph: LocalGraph) -> Tensor:
        """(n_local, n_elements) one-hot species."""
        elements = self.element_of_number[graph.numbers]
        one_hot = torch.nn.functional.one_hot(elements, len(self.module.atomic_numbers))
        return one_hot.to(graph.vectors.dtype)

    def _heads(self, rows: Tensor) -> Tensor:
        return torch.full((len(rows),), self.head, dtype=torch.int64, device=rows.device)

    def _of_head(self, energies: Tensor) -> Tensor:
        """(n_owned, n_heads) -> (n_owned,)."""
        return energies[:, self.head]


@contextmanager
def _given(block: InteractionBlock, n_owned: int, rows: Tensors) -> Iterator[None]:
    """Let the block find these rows; a replica runs one partition at a time."""
    slots = {name: getattr(block, name) for name in (*rows, *OWNED_MAPS) if hasattr(block, name)}
    for name, given in slots.items():
        given.rows = rows[name] if name in rows else given.replaced(rows["linear_up"][:n_owned])
    try:
        yield
    finally:
        for given in slots.values():
            given.rows = None


@contextmanager
def _torchscript_on(device: torch.device) -> Iterator[None]:
    """Run e3nn's TorchScript operation by operation on a GPU.

    Its fuser would compile kernels for new numbers of edges there, again and again. A CPU has no fuser: there
    the optimiser costs 0.2 to 2 s in the first two calls of a replica and saves up to a tenth of all others.
    The switch belongs to the thread, so nobody else sees it.
    """
    before = torch._C._get_graph_executor_optimize()
    torch._C._set_graph_executor_optimize(before and device.type == "cpu")
    try:
        yield
    finally:
        torch._C._set_graph_executor_optimize(before)


def _lengths(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.norm(vectors, dim=-1, keepdim=True)
    return lengths
