"""The stages of matgl's M3GNet: one per block.

In a block the three-body interaction adds to every edge what the angles at its receiver say, then the graph
layer updates the edges and their receivers. Of the atoms at the far ends of edges the interaction reads the
output of a network of its own, the graph layer their features: the stage before computes both, and a halo
exchange completes their rows. M3GNet's edges run from receiver to sender, so its bond vectors are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from matgl.graph._compute import compute_theta_and_phi
from matgl.utils.cutoff import polynomial_cutoff
from torch import Tensor, nn

from distmlip.errors import UnsupportedModelError
from distmlip.models.interface import EagerStage, Halo, LocalGraph, NativeChoice, Stage, Tensors
from distmlip.models.matgl.architecture import Architecture
from distmlip.models.matgl.native_m3gnet import NativeM3GNet

if TYPE_CHECKING:
    from matgl.apps.pes import Potential
    from matgl.models import M3GNet

DERIVED = frozenset({"radial", "angular", "three_body_cutoff"})


class M3GNetArchitecture(Architecture):
    """M3GNet.

    Between stages: ``atoms`` (n_owned, width), ``edges`` (n_edges, width), and ``end_atoms`` (n_owned,
    degree), what the next three-body interaction reads of the atoms at the far ends of edges. Derived:
    ``radial`` (n_edges, degree), ``angular`` (n_angles, degree) and ``three_body_cutoff`` (n_edges,).
    """

    name: ClassVar[str] = "M3GNet"
    has_radial_tables: ClassVar[bool] = False
    network: M3GNet

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        self.last = self.network.n_blocks - 1
        self.bond_cutoff = float(min(self.network.threebody_cutoff, self.cutoff))

    def require_supported(self) -> None:
        """See :class:`Architecture`."""
        network = self.network
        if network.is_intensive:
            raise UnsupportedModelError(
                "M3GNet with is_intensive=True: its energy is not a sum over atoms, so it cannot be "
                "distributed; only models with is_intensive=False can"
            )
        if network.include_state:
            raise UnsupportedModelError(
                "M3GNet with include_state=True updates a state of the whole system in every block, which "
                "cannot be distributed; only models with include_state=False can"
            )
        if network.final_layer.dims[-1] != 1:
            raise UnsupportedModelError(
                f"M3GNet with ntargets={network.final_layer.dims[-1]} is not a potential; only ntargets=1 is"
            )
        if network.threebody_cutoff <= 0:
            raise UnsupportedModelError(
                f"M3GNet with threebody_cutoff={network.threebody_cutoff} has forces that are not numbers; "
                "it must be larger than 0"
            )

    def prepare(self) -> None:
        """See :class:`Architecture`."""
        for interaction in self.network.three_body_interactions:
            interaction.end_atom_network = interaction.update_network_atom
            interaction.update_network_atom = nn.Identity()  # it will be given the network's output

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """See :class:`Architecture`; one stage per block."""
        return [(self._stage(k), DERIVED) for k in range(self.last + 1)]

    def native_stages(self, dtype: torch.dtype, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Architecture`."""
        return NativeM3GNet(self, dtype).stages()

    def _stage(self, k: int) -> EagerStage:
        first, last = k == 0, k == self.last
        before = () if first else (Halo("atoms", (self._atom_width,)), Halo("end_atoms", (self._degree,)))
        return EagerStage(
            name=f"block {k}",
            function=partial(self._run, k),
            before=before,
            reads=() if first else ("atoms", "end_atoms", "edges"),
            writes=() if last else ("atoms", "end_atoms", "edges"),
            results=("energy",) if last else (),
            computes=("atoms", "edges", "angles"),
        )

    @property
    def _atom_width(self) -> int:
        return int(self.network.embedding.dim_node_embedding)

    @property
    def _degree(self) -> int:
        return int(self.network.three_body_interactions[0].end_atom_network.out_features)

    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """See :class:`Architecture`."""
        network = self.network
        lengths = torch.linalg.norm(vectors, dim=1)
        every = {
            "radial": network.bond_expansion(lengths),
            "angular": self._angular(vectors, lengths, graph.require_bonds().angles.T),
            "three_body_cutoff": polynomial_cutoff(lengths, network.threebody_cutoff),
        }
        return {name: every[name] for name in names}

    def _angular(self, vectors: Tensor, lengths: Tensor, angles: Tensor) -> Tensor:
        if angles.shape[1] == 0:
            return vectors.new_zeros(0, self._degree)  # the model's own has another width with use_phi
        geometry = compute_theta_and_phi(vectors, lengths, angles)
        basis: Tensor = self.network.basis_expansion(
            geometry["triple_bond_lengths"], geometry["cos_theta"], geometry["phi"]
        )
        return basis.real if basis.is_complex() else basis  # complex with use_phi, the imaginary part 0

    def _run(self, k: int, graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
        network = self.network
        if k == 0:
            # On halo rows, too: both depend on species only.
            atoms, edges, _ = network.embedding(self.elements(graph), inputs["radial"], None)
            end_atoms = self._end_atoms(0, atoms)
        else:
            atoms, edges, end_atoms = inputs["atoms"], inputs["edges"], inputs["end_atoms"]
        edges = network.three_body_interactions[k](
            graph.senders,
            graph.require_bonds().angles.T,
            None,  # the number of angles of each edge, which the layer does not read
            graph.n_edges,
            inputs["angular"],
            inputs["three_body_cutoff"],
            end_atoms,
            edges,
        )
        edges, atoms, _ = network.graph_layers[k](
            graph.reversed_edge_index(), edges, atoms, None, inputs["radial"], None, None, graph.n_local, 1
        )
        atoms = atoms[: graph.n_owned]
        if k == self.last:
            return {"energy": self.scaled(network.final_layer(atoms).view(-1))}
        return {"atoms": atoms, "edges": edges, "end_atoms": self._end_atoms(k + 1, atoms)}

    def _end_atoms(self, k: int, atoms: Tensor) -> Tensor:
        end_atoms: Tensor = self.network.three_body_interactions[k].end_atom_network(atoms)
        return end_atoms
