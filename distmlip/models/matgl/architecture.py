"""What all kinds of matgl networks have in common as parts of the adapter."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self, TypeAlias

import torch
from ase import Atoms
from ase.data import atomic_numbers
from numpy.typing import ArrayLike
from torch import Tensor

from distmlip.errors import NotNativeError
from distmlip.machine.devices import in_float64
from distmlip.models.interface import EagerStage, LocalGraph, Stage, Tensors
from distmlip.models.native import NativeChoice
from distmlip.models.replicate import replicate

if TYPE_CHECKING:
    from matgl.apps.pes import Potential
    from matgl.models._core import MatGLModel

Options: TypeAlias = Mapping[str, ArrayLike | Tensor | None]
"""Arguments of ``PESCalculator`` that networks read, by name."""

AT_CUTOFF = 1e-10
"""Å; atoms at the cutoff itself are neighbours, too: not every network is smooth there."""
MARGIN = 1e-7
"""How far matgl keeps cosines of angles from 1 and -1."""


class Architecture(ABC):
    """One kind of network inside a ``Potential``: what it is, and its stages.

    It is made of the user's potential to be asked what it is, and of every replica to be run.
    """

    name: ClassVar[str]
    """What the network is called in messages."""
    bond_cutoff: float | None = None
    """Å; for networks with three-body terms."""
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.float64)
    """In which it can be evaluated."""
    options: tuple[str, ...] = ()
    """What it reads besides the structure: arguments of ``PESCalculator``."""
    has_radial_tables: ClassVar[bool] = True
    """See :class:`Adapter`."""
    site_properties: tuple[str, ...] = ()
    """ASE results per atom, besides energies, that its stages give as ``results``."""

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self.network = network_of(potential)
        self.cutoff = float(self.network.cutoff) + AT_CUTOFF
        numbers = [atomic_numbers[symbol] for symbol in self.network.element_types]
        device = potential.data_std.device
        self.numbers = torch.tensor(numbers)  # of its elements, in their order
        self._element_of_number = torch.full((max(numbers) + 1,), -1, device=device)
        self._element_of_number[numbers] = torch.arange(len(numbers), device=device)

    def of_replica(self, replica: Potential) -> Self:
        """The same, to be run."""
        return type(self)(replica)

    def copy(self, dtype: torch.dtype) -> Self:
        """Of a replica on the host, prepared."""
        replica = self.of_replica(copy_of(self.potential, torch.device("cpu"), dtype))
        replica.prepare()
        return replica

    @abstractmethod
    def require_supported(self) -> None:
        """Raise UnsupportedModelError if the network has a part that cannot be distributed, naming it."""

    def prepare(self) -> None:  # noqa: B027  not every network has to be
        """Change the network, that of a new replica, so that it can be run in stages."""

    @abstractmethod
    def stages(self) -> Sequence[tuple[EagerStage, frozenset[str]]]:
        """The stages with the names of the derived tensors that they read (see ``with_derived``)."""

    def native_stages(self, dtype: torch.dtype, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """The same in the core; see :class:`Adapter`."""
        raise NotNativeError(f"there are no native stages for {self.name} of matgl")

    @abstractmethod
    def derive(self, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
        """The named functions of edge vectors and types."""

    def system(self, atoms: Atoms, options: Options) -> Tensors:  # noqa: ARG002  read by some
        """What the stages find in ``graph.system``, each under its option's name; see :class:`Adapter`."""
        return {}

    def elements(self, graph: LocalGraph) -> Tensor:
        """(n_local,) int64: position of each atom's element in the network's ``element_types``."""
        return self._element_of_number[graph.numbers]

    def scaled(self, site_energies: Tensor) -> Tensor:
        """(n_owned,) float64 in eV, of what the network gives, without reference energies."""
        return in_float64(site_energies) * in_float64(self.potential.data_std)


def network_of(potential: Potential) -> MatGLModel:
    """The network of a potential, also of one with ``compile_model=True``: not compiled."""
    return getattr(potential.model, "_orig_mod", potential.model)


def copy_of(potential: Potential, device: torch.device, dtype: torch.dtype) -> Potential:
    """An evaluation copy. What the network remembers of its last call cannot be copied, and is left out."""
    network = copy.copy(network_of(potential))
    network.feature_dict = {}
    shallow = copy.copy(potential)
    shallow._modules = {**potential._modules, "model": network}
    return replicate(shallow, device, dtype)
