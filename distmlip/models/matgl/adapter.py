"""Potentials of the ``matgl`` package: the adapter, and the undivided original that it is compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers
from matgl.apps.pes import Potential
from matgl.ext.ase import Atoms2Graph, PESCalculator, find_points_in_spheres
from matgl.models import QET, CHGNet, M3GNet, TensorNet
from torch import Tensor, nn
from torch_geometric.data import Data

from distmlip.cell import volume_of, with_vacuum
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.interface import PROPERTIES, Adapter, Evaluation, Stage, Tensors, with_derived
from distmlip.models.matgl.architecture import Architecture, network_of
from distmlip.models.matgl.chgnet import CHGNetArchitecture
from distmlip.models.matgl.m3gnet import M3GNetArchitecture
from distmlip.models.matgl.qet import QETArchitecture
from distmlip.models.matgl.tensornet import TensorNetArchitecture
from distmlip.models.replicate import replicate

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


def adapt(model: Any, dtype: torch.dtype | None = None, **options: Any) -> MatglAdapter:
    """The adapter of a ``Potential`` or a ``PESCalculator`` of matgl.

    ``options``: arguments of ``PESCalculator`` that the network reads; where one is given, its own are the
    defaults. Its unit of stress plays no role: ours is eV/Å^3.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that the network does not read, or a value out of its range.
    """
    potential = model.potential if isinstance(model, PESCalculator) else model
    architecture = _architecture_of(potential)
    unknown = sorted(options.keys() - set(architecture.options))
    if unknown:
        known = ", ".join(architecture.options) or "none"
        raise InvalidInputError(f"options {unknown} are unknown; {architecture.name} of matgl has {known}")
    own = {name: getattr(model, name) for name in architecture.options if isinstance(model, PESCalculator)}
    return MatglAdapter(potential, architecture, dtype, {**own, **options})


class MatglAdapter(Adapter):
    """One matgl potential; see :func:`adapt`."""

    family: ClassVar[str] = "matgl"

    def __init__(
        self,
        potential: Any,
        architecture: Architecture,
        dtype: torch.dtype | None,
        options: Mapping[str, Any],
    ) -> None:
        self.models = [potential]
        self.dtype = dtype or potential.data_std.dtype
        if self.dtype not in architecture.dtypes:
            raise InvalidInputError(
                f"dtype={self.dtype}: this {architecture.name} of matgl is evaluated in "
                f"{' or '.join(map(str, architecture.dtypes))}"
            )
        self.cutoff = architecture.cutoff
        self.bond_cutoff = architecture.bond_cutoff
        self._architecture = architecture
        self._options = options
        self._mean, offsets = _offsets(potential)
        self.supported_numbers = frozenset(offsets)
        self._reference_energies = np.zeros(max(offsets) + 1)  # by atomic number
        self._reference_energies[list(offsets)] = list(offsets.values())
        self.implemented_properties = (*PROPERTIES, *architecture.site_properties)

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`."""
        replica: nn.Module = _replica(self.models[index], device, self.dtype)
        type(self._architecture)(replica).prepare()
        return replica

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`."""
        architecture = type(self._architecture)(module)
        return with_derived(architecture.derive, architecture.stages(), memoise=not recompute)

    def system(self, atoms: Atoms) -> dict[str, Tensor]:
        """See :class:`Adapter`; what the network reads of its options and of ``atoms``."""
        return self._architecture.system(atoms, self._options)

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        """See :class:`Adapter`; ``energies`` share the mean of the potential's data evenly."""
        (evaluation,) = evaluations
        references = self._reference_energies[atoms.numbers]
        energy = float(evaluation.atoms["energy"].sum() + references.sum() + self._mean)
        results = {
            "energy": energy,
            "free_energy": energy,
            "energies": evaluation.atoms["energy"] + references + self._mean / len(atoms),
            "forces": evaluation.forces,
        }
        return results | {name: evaluation.atoms[name] for name in self._architecture.site_properties}

    def total_energy(self, atoms: Atoms, sums: Mapping[str, Tensor]) -> Tensor:
        """See :class:`Adapter`; mean and reference energies are no parameters."""
        return sums["energy"] + float(self._reference_energies[atoms.numbers].sum() + self._mean)

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`; its stress is in eV/Å^3."""
        device = next(self.models[0].parameters()).device
        replica = _replica(self.models[0], device, dtype or self.dtype)
        return _Original(replica, self.system)


def _architecture_of(potential: Any) -> Architecture:
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


def _offsets(potential: Any) -> tuple[float, dict[int, float]]:
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


def _replica(potential: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """An evaluation copy. What the network remembers of its last call cannot be copied, and is left out."""
    network = copy.copy(network_of(potential))
    network.feature_dict = {}
    shallow = copy.copy(potential)
    shallow._modules = {**potential._modules, "model": network}
    return replicate(shallow, device, dtype)


class _Original(PESCalculator):
    """The undivided original; in float64 without rounding anything to float32.

    It would treat atoms that are not periodic in all directions as not periodic in any: open directions get
    vacuum instead, in a cell that is periodic.
    """

    atoms: Atoms

    def __init__(self, replica: Any, system: Callable[[Atoms], Tensors]) -> None:
        replica.calc_forces = replica.calc_stresses = True
        super().__init__(replica, stress_unit="eV/A3", use_voigt=True)
        self._system = system
        if replica.data_std.dtype == torch.float64:
            self._atoms2graph = _GraphInDouble(self.element_types, self.cutoff)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] | None = None,
    ) -> None:
        atoms = self.atoms if atoms is None else atoms
        periodic = _periodic(atoms, self.cutoff)
        for name, value in self._system(atoms).items():
            setattr(self, name, value)  # an attribute for each option; the original's own would be rounded
        super().calculate(periodic, properties, system_changes)
        self.atoms = atoms.copy()  # what the results belong to, for ASE's caching
        if np.shape(self.results.get("magmoms"))[1:] == (1,):
            self.results["magmoms"] = self.results["magmoms"].squeeze(1)  # as in ASE
        volume = volume_of(atoms)
        if volume == 0:
            del self.results["stress"]
        else:
            self.results["stress"] *= volume_of(periodic) / volume


class _GraphInDouble(Atoms2Graph):
    """matgl's graph without rounding: its faster neighbour list rounds positions and cell."""

    def get_graph(self, atoms: Atoms) -> tuple[Data, Tensor, Any]:
        lattice = np.array(atoms.cell.array, np.float64)
        positions = np.array(atoms.positions, np.float64)
        sources, targets, images, distances = find_points_in_spheres(
            positions, positions, r=self.cutoff, pbc=np.ones(3, np.int64), lattice=lattice
        )
        edges = (sources != targets) | (distances > 1e-8)
        fractional = atoms.get_scaled_positions(wrap=False)
        graph, _, state = self.get_graph_from_processed_structure(
            atoms,
            sources[edges],
            targets[edges],
            images[edges],
            [lattice],
            self.element_types,
            fractional,
            is_atoms=True,
        )
        graph.frac_coords = torch.tensor(fractional, dtype=torch.float64)
        graph.pbc_offset = graph.pbc_offset.double()
        return graph, torch.tensor(lattice[None], dtype=torch.float64), state


def _periodic(atoms: Atoms, cutoff: float) -> Atoms:
    """The same atoms in a fully periodic cell, with vacuum where they are not periodic."""
    if atoms.pbc.all():
        return atoms
    boxed = with_vacuum(atoms, ~atoms.pbc, 2 * cutoff)
    boxed.pbc = True
    return boxed
