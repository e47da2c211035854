"""How a model family takes part: an adapter is a list of stages.

The energy of every supported model is a function of edge vectors and atom types. An adapter cuts the
model's own forward pass into *stages* at the places where a partition needs rows that another partition
computed. A stage is a function of one partition; the executor runs it for every partition, moves the
tensors named in ``before`` across partitions, runs the next one, and sweeps backwards the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from distmlip.errors import InvalidInputError, NotNativeError
from distmlip.models.exchanges import Add, AllSum, Exchange, Fold, Halo, Swap
from distmlip.models.local_graph import BondGraph, LocalGraph
from distmlip.models.native import NativeChoice
from distmlip.models.replicate import replicate
from distmlip.models.stages import EagerStage, Stage, Tensors, with_derived

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

__all__ = [
    "PROPERTIES",
    "Adapter",
    "Add",
    "AllSum",
    "BondGraph",
    "EagerStage",
    "Evaluation",
    "Exchange",
    "Fold",
    "Halo",
    "LocalGraph",
    "ModelLike",
    "NativeChoice",
    "Results",
    "Stage",
    "Swap",
    "Tensors",
    "with_derived",
]


ModelLike: TypeAlias = "torch.nn.Module | Sequence[torch.nn.Module] | Calculator"
"""What a user gives: a model object, a list of them (a committee), or the family's own calculator."""
Results: TypeAlias = "dict[str, float | np.ndarray]"
"""ASE results by property, in ASE's units."""


@dataclass(frozen=True)
class Evaluation:
    """What one sweep of one model over all partitions gave, in the order of the user's atoms."""

    atoms: Mapping[str, np.ndarray]
    """The stages' ``results``: (n_atoms, ...); ``"energy"`` is (n_atoms,) float64 in eV."""
    system: Mapping[str, np.ndarray]
    """The stages' ``system_results``, summed over partitions."""
    forces: np.ndarray
    """(n_atoms, 3) float64, eV/Å: minus the gradient of the energy; zeros if the adapter is not
    ``conservative``, as are the virials."""
    virial: np.ndarray
    """(3, 3) float64, eV: ``-dE/dstrain``, symmetric; ``stress = -virial / volume``."""
    virials: np.ndarray | None
    """(n_atoms, 3, 3) float64, eV: each atom's share of it, half of each edge's to either end; None if nobody
    asked for it."""
    share: float = 1.0
    """Of all atoms of the system, those that this is of; the energy of :meth:`Adapter.results` is theirs."""


PROPERTIES = ("energy", "free_energy", "energies", "forces", "stress", "stresses")
"""What every conservative model has."""


class Adapter(ABC):
    """One model object (or committee of model objects) of one family."""

    family: ClassVar[str]
    models: Sequence[torch.nn.Module]
    """The user's own objects; never modified."""
    has_radial_tables: bool = True
    """Whether native stages have radial functions that tables may replace."""
    cutoff: float
    """Å; edges are the pairs with distance ``< cutoff``."""
    bond_cutoff: float | None = None
    """Å; for models with angles."""
    dtype: torch.dtype
    """In which the model is evaluated."""
    conservative: bool = True
    """Whether forces are the gradient of the energy. If not, there is no backward sweep and no stress from
    virials: :meth:`results` takes forces (and stress, if the model has one) from outputs of the stages."""
    untrainable: str | None = None
    """Why :class:`distmlip.DistModel` cannot train such models, as a part of a sentence; None: it can."""
    supported_numbers: frozenset[int]
    """Atomic numbers that the model knows."""
    implemented_properties: Sequence[str] = PROPERTIES
    """Keys of :meth:`results`; the original calculator's and ``free_energy``, ``energies``, ``stresses``."""

    def replicate(self, index: int, device: torch.device) -> torch.nn.Module:
        """An evaluation copy of ``models[index]`` on ``device`` in :attr:`dtype`: frozen, in eval mode,
        independent of the user's object except for shared storage."""
        return replicate(self.models[index], device, self.dtype)

    @abstractmethod
    def stages(self, module: torch.nn.Module, recompute: bool) -> Sequence[Stage]:
        """The stages that evaluate a replica."""

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """The same in the core, for evaluation on a CPU: built from the values of the tensors of
        ``models[index]``. As many rows cross partitions before them as before the others.

        Raises:
            NotNativeError: native stages do not know a part of the model, which it names.
        """
        raise NotNativeError(f"there are no native stages for {self.family}")

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:  # noqa: ARG002
        """ASE results from one evaluation per model: every key of the original calculator, in ASE's units.

        If the adapter is conservative, the calculator adds ``stress`` and ``stresses`` (Voigt-6, eV/Å^3) from
        the virials. This one is for a single model whose energy is the sum of its stages' ``"energy"``.
        """
        if len(evaluations) != 1:
            raise InvalidInputError(
                f"an adapter with {len(evaluations)} models needs a results() of its own, which combines them"
            )
        (evaluation,) = evaluations
        energies = evaluation.atoms["energy"]
        energy = float(energies.sum())
        return {"energy": energy, "free_energy": energy, "energies": energies, "forces": evaluation.forces}

    def total_energy(self, atoms: Atoms, sums: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        """The energy of :meth:`results` in eV: a float64 scalar that can be differentiated, for training.

        ``sums`` are the stages' ``results`` summed over all atoms, and their ``system_results`` summed over
        partitions. This one fits the :meth:`results` above.
        """
        return sums["energy"]

    @abstractmethod
    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """The family's own calculator on an independent copy of the models: the undivided original."""

    def portable(self, model: ModelLike) -> ModelLike:
        """What copies of a calculator and other processes get in the place of ``model``, which the adapter
        was made for: the same in a form that can be pickled."""
        return model

    def system(self, atoms: Atoms) -> dict[str, Tensor]:  # noqa: ARG002  families without such quantities
        """Quantities besides positions and types that the model reads (charge, spin, …).

        They are computed from the whole system and given to every partition as ``graph.system``; one with a
        row per atom is to be indexed with ``graph.atoms``. The calculator recomputes when they change.
        """
        return {}
