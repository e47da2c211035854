"""The stages of matgl's QET: those of TensorNet, then charge equilibration and the readout.

The charges minimise an energy under the condition that they add up to the total charge. The minimum is a
closed form with two sums over all atoms. So each partition can tell what its own charges add up to, and with
that as total charge the model's own solver gives them.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from ase import Atoms
from numpy.typing import ArrayLike
from torch import Tensor

from distmlip.errors import InvalidInputError
from distmlip.models.interface import AllSum, EagerStage, Halo, LocalGraph, Tensors
from distmlip.models.matgl.architecture import Options
from distmlip.models.matgl.tensornet import TensorNetArchitecture

if TYPE_CHECKING:
    from matgl.apps.pes import Potential
    from matgl.models import QET


class QETArchitecture(TensorNetArchitecture):
    """QET.

    Between its further stages: ``features`` (n_owned, units), ``electronegativity`` and ``hardness``
    (n_owned,), ``stiffness`` (2,), the sums of 1 / hardness and of electronegativity / hardness, and
    ``charge`` (n_owned, 1) in e.
    """

    name: ClassVar[str] = "QET"
    network: QET
    last_writes: ClassVar[tuple[str, ...]] = ("features", "electronegativity", "hardness", "stiffness")
    last_results: ClassVar[tuple[str, ...]] = ()

    def __init__(self, potential: Potential) -> None:
        super().__init__(potential)
        if potential.calc_charge:  # else the potential gives the network no total charge, and reports none
            self.options = ("total_charge", "ext_pot")
            self.site_properties = ("charges",)

    def stages(self) -> list[tuple[EagerStage, frozenset[str]]]:
        """See :class:`Architecture`."""
        equilibration = EagerStage(
            name="charges",
            function=self._equilibrate,
            before=(AllSum("stiffness", (2,)),),
            reads=("stiffness", "electronegativity", "hardness"),
            writes=("charge",),
            results=self.site_properties,
            computes=("atoms",),
        )
        readout = EagerStage(
            name="readout",
            function=self._read_out_charged,
            before=(Halo("charge", (1,)),),
            reads=("charge", "features"),
            results=("energy",),
            computes=("atoms", "edges"),
        )
        return [*super().stages(), (equilibration, frozenset()), (readout, frozenset())]

    def system(self, atoms: Atoms, options: Options) -> Tensors:
        """See :class:`Architecture`; ``total_charge`` () in e and ``ext_pot`` (n_atoms,)."""
        if not self.options:
            return {"total_charge": torch.zeros((), dtype=torch.float64)}
        charge, external = options.get("total_charge"), options.get("ext_pot")
        if charge is None:
            charge = atoms.get_initial_charges().sum()
        system = {"total_charge": _numbers("total_charge", charge, ())}
        if external is not None:
            system["ext_pot"] = _numbers("ext_pot", external, (len(atoms),))
        return system

    def read_out(self, graph: LocalGraph, features: Tensor) -> Tensors:
        """See :class:`TensorNetArchitecture`; what decides about the charges."""
        network = self.network
        electronegativity = network.chi_readout(features).view(-1)
        if "ext_pot" in graph.system:
            external = graph.system["ext_pot"][graph.atoms[: graph.n_owned]]
            electronegativity = electronegativity + external.to(features.dtype)
        if network.is_hardness_envs:
            hardness = network.hardness_readout(features).view(-1)
        else:
            hardness = network.hardness_readout[self.elements(graph)[: graph.n_owned]]
        return {
            "features": features,
            "electronegativity": electronegativity,
            "hardness": hardness,
            "stiffness": _stiffness(electronegativity, hardness),
        }

    def _equilibrate(self, graph: LocalGraph, _vectors: Tensor, inputs: Tensors) -> Tensors:
        electronegativity, hardness = inputs["electronegativity"], inputs["hardness"]
        softness, pull = inputs["stiffness"]
        own_softness, own_pull = _stiffness(electronegativity, hardness)
        total = graph.system["total_charge"].to(softness.dtype)
        own_charge = (total + pull) * (own_softness / softness) - own_pull
        charge = self.network.qeq(SimpleNamespace(), own_charge, electronegativity, hardness)
        return {"charge": charge[:, None], "charges": charge}

    def _read_out_charged(self, graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        network, charge, features = self.network, inputs["charge"], inputs["features"]
        edges = SimpleNamespace(
            edge_index=graph.reversed_edge_index(),
            pos=vectors.new_zeros(graph.n_local, 3),
            pbc_offshift=vectors,
        )
        widths = network.sigma[self.elements(graph)]
        potential = network.elec_pot(edges, charge.view(-1), widths)[: graph.n_owned, None]
        parts = [features, charge[: graph.n_owned], potential]
        if network.include_magmom:
            parts.append(network.magmom_readout(features))
        energies = network.final_layer(network.norm(torch.hstack(parts)))
        return {"energy": self.scaled(energies.view(-1))}


def _stiffness(electronegativity: Tensor, hardness: Tensor) -> Tensor:
    """(2,): sums of 1 / hardness and of electronegativity / hardness."""
    return torch.stack([hardness.reciprocal().sum(), (electronegativity / hardness).sum()])


def _numbers(name: str, value: ArrayLike | Tensor, shape: tuple[int, ...]) -> Tensor:
    """Float64 numbers of this shape; one number stands for as many as are needed."""
    array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    array = array.squeeze()
    if array.shape not in ((), shape) or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise InvalidInputError(f"{name}={value!r}; it must be finite numbers of shape {shape}")
    return torch.tensor(np.broadcast_to(array, shape).astype(np.float64))
