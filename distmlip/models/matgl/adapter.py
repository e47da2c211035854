"""Potentials of the ``matgl`` package: the adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import matgl
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers
from matgl.apps.pes import Potential
from matgl.ext.ase import PESCalculator
from matgl.models import QET, CHGNet, M3GNet, TensorNet
from torch import Tensor, nn

from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.interface import PROPERTIES, Adapter, Evaluation, ModelLike, Results, Stage, with_derived
from distmlip.models.matgl.architecture import Architecture, Options, copy_of, network_of
from distmlip.models.matgl.chgnet import CHGNetArchitecture
from distmlip.models.matgl.m3gnet import M3GNetArchitecture
from distmlip.models.matgl.original import original_of
from distmlip.models.matgl.qet import QETArchitecture
from distmlip.models.matgl.tensornet import TensorNetArchitecture
from distmlip.models.native import NativeChoice
from distmlip.models.options import chosen_dtype, refuse_unknown


def named(path: str) -> Potential:
    """The potential in a folder that matgl has saved.

    Raises:
        InvalidInputError: there is none.
    """
    if not Path(path).is_dir():
        raise InvalidInputError(f"matgl:{path}: there is no such folder; matgl.load_model downloads models")
    try:
        potential: Potential = matgl.load_model(path)
    except Exception as error:  # whatever comes of loading
        raise InvalidInputError(f"matgl:{path}: no potential can be loaded from it: {error}") from error
    return potential


ARCHITECTURES: dict[type[nn.Module], type[Architecture]] = {
    TensorNet: TensorNetArchitecture,
    M3GNet: M3GNetArchitecture,
    CHGNet: CHGNetArchitecture,
    QET: QETArchitecture,
}
"""Type of ``potential.model`` -> how it is cut into stages."""

REFUSED_FLAGS = {
    "calc_repuls": "its repulsion needs distances that matgl's own graphs do not have, so that the original "
    "fails, too",
    "calc_hessian": "second derivatives are not distributed",
    "debug_mode": "it gives gradients in place of forces",
}
"""Flags of ``Potential`` that cannot be honoured -> why."""


def adapt(model: ModelLike, dtype: torch.dtype | None = None, **options: Any) -> MatglAdapter:
    """The adapter of a ``Potential`` or a ``PESCalculator`` of matgl.

    ``options``: arguments of ``PESCalculator`` that the network reads; where one is given, its own are the
    defaults. Its unit of stress plays no role: ours is eV/Å^3.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that the network does not read, or a value out of its range.
    """
    potential = model.potential if isinstance(model, PESCalculator) else model
    architecture = _architecture_of(potential)
    refuse_unknown(options, architecture.options, f"{architecture.name} of matgl")
    own = {name: getattr(model, name) for name in architecture.options if isinstance(model, PESCalculator)}
    return MatglAdapter(potential, architecture, dtype, {**own, **options})


class MatglAdapter(Adapter):
    """One matgl potential; see :func:`adapt`."""

    family: ClassVar[str] = "matgl"

    def __init__(
        self,
        potential: Potential,
        architecture: Architecture,
        dtype: torch.dtype | None,
        options: Options,
    ) -> None:
        self.models = [potential]
        kind = f"this {architecture.name} of matgl"
        self.dtype = chosen_dtype(dtype, potential.data_std.dtype, kind, architecture.dtypes)
        self.cutoff = architecture.cutoff
        self.bond_cutoff = architecture.bond_cutoff
        self.has_radial_tables = architecture.has_radial_tables
        self._architecture = architecture
        self._options = options
        self._mean, offsets = _offsets(potential)
        self.supported_numbers = frozenset(offsets)
        self._reference_energies = np.zeros(max(offsets) + 1)  # by atomic number
        self._reference_energies[list(offsets)] = list(offsets.values())
        self.implemented_properties = (*PROPERTIES, *architecture.site_properties)

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`."""
        replica: nn.Module = copy_of(self.models[index], device, self.dtype)
        self._architecture.of_replica(replica).prepare()
        return replica

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`."""
        architecture = self._architecture.of_replica(module)
        return with_derived(architecture.derive, architecture.stages(), memoise=not recompute)

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`."""
        assert index == 0
        return self._architecture.native_stages(self.dtype, choice, recompute)

    def system(self, atoms: Atoms) -> dict[str, Tensor]:
        """See :class:`Adapter`; what the network reads of its options and of ``atoms``."""
        return self._architecture.system(atoms, self._options)

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:
        """See :class:`Adapter`; ``energies`` share the mean of the potential's data evenly."""
        (evaluation,) = evaluations
        references, mean = self._reference_energies[atoms.numbers], self._mean * evaluation.share
        energy = float(evaluation.atoms["energy"].sum() + references.sum() + mean)
        results: Results = {
            "energy": energy,
            "free_energy": energy,
            "energies": evaluation.atoms["energy"] + references + mean / len(atoms),
            "forces": evaluation.forces,
        }
        return results | {name: evaluation.atoms[name] for name in self._architecture.site_properties}

    def total_energy(self, atoms: Atoms, sums: Mapping[str, Tensor]) -> Tensor:
        """See :class:`Adapter`; mean and reference energies are no parameters."""
        return sums["energy"] + float(self._reference_energies[atoms.numbers].sum() + self._mean)

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`; its stress is in eV/Å^3."""
        return original_of(self.models[0], self.system, dtype or self.dtype)


def _architecture_of(potential: ModelLike) -> Architecture:
    if isinstance(potential, list | tuple):
        raise UnsupportedModelError(
            f"a list of {len(potential)} matgl potentials: matgl has no committees; make a calculator of each"
        )
    if type(potential) is not Potential:
        raise UnsupportedModelError(
            f"{type(potential).__name__} is not a potential: give a matgl Potential, such as "
            "matgl.load_model() returns for an interatomic potential, or a PESCalculator"
        )
    for flag, reason in REFUSED_FLAGS.items():
        if getattr(potential, flag):
            raise UnsupportedModelError(f"Potential with {flag}=True: {reason}; set potential.{flag} = False")
    network = network_of(potential)
    if type(network) not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{type(network).__name__} of matgl cannot be distributed; supported are "
            f"{', '.join(kind.__name__ for kind in ARCHITECTURES)}"
        )
    architecture = ARCHITECTURES[type(network)](potential)
    architecture.require_supported()
    for flag, name in {"calc_magmom": "magmoms", "calc_charge": "charges"}.items():
        if getattr(potential, flag) and name not in architecture.site_properties:
            raise UnsupportedModelError(
                f"Potential with {flag}=True: {architecture.name} has no {name}; set potential.{flag} = False"
            )
    return architecture


def _offsets(potential: Potential) -> tuple[float, dict[int, float]]:
    """What the potential adds once per structure, and for every atom of an atomic number, in eV."""
    for name in ("data_mean", "data_std"):
        if getattr(potential, name).numel() != 1:
            raise UnsupportedModelError(
                f"{name} of the Potential has shape {tuple(getattr(potential, name).shape)}; one number is "
                "supported"
            )
    elements = network_of(potential).element_types
    offsets = torch.zeros(len(elements))
    if potential.element_refs is not None:
        offsets = potential.element_refs.property_offset
    if offsets.ndim != 1:
        raise UnsupportedModelError(
            f"element_refs of the Potential has shape {tuple(offsets.shape)}; one energy per element is "
            "supported, and not one per state"
        )
    numbers = [atomic_numbers[symbol] for symbol in elements]
    return float(potential.data_mean), dict(zip(numbers, offsets.double().tolist(), strict=False))
