"""MACE of the ``mace-torch`` package: the adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from mace.modules import MACE
from torch import Tensor, nn

from distmlip.cell import volume_of
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.interface import Adapter, Evaluation, ModelLike, Results, Stage, with_derived
from distmlip.models.mace.native import native_stages
from distmlip.models.mace.original import original_of
from distmlip.models.mace.stages import Layers, prepare
from distmlip.models.mace.support import (
    Options,
    atom_values,
    head_index,
    own_dtype,
    read_models,
    read_options,
    system_value,
)
from distmlip.models.native import NativeChoice
from distmlip.models.options import chosen_dtype
from distmlip.models.replicate import replicate


def named(path: str) -> nn.Module:
    """The model in a file that mace has written.

    Raises:
        InvalidInputError: there is no such file, or no model in it.
    """
    try:
        model: nn.Module = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # unpickling raises whatever it likes
        raise InvalidInputError(f"mace:{path}: no model can be read from it: {error}") from error
    return model


def adapt(model: ModelLike, dtype: torch.dtype | None = None, **family_options: Any) -> MACEAdapter:
    """The adapter of a ``MACE`` or ``ScaleShiftMACE``, a list of them (a committee), or a ``MACECalculator``.

    ``family_options``: ``head``, ``info_keys``, ``arrays_keys``, ``energy_units_to_eV`` and
    ``compute_atomic_stresses``, as in ``MACECalculator``. Where one is given, its own are the defaults.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that MACE does not have, a head that the model does not have, or a
            committee whose members do not fit together.
    """
    return MACEAdapter(read_models(model), dtype, read_options(model, family_options))


COMMITTEE = ("energy", "forces", "stress")
"""Results of which a committee also has each member's (``_comm``) and the variance (``_var``)."""


class MACEAdapter(Adapter):
    """One MACE model or a committee; see :func:`adapt`."""

    family: ClassVar[str] = "MACE"

    def __init__(self, models: Sequence[MACE], dtype: torch.dtype | None, options: Options) -> None:
        first = models[0]
        self.models = models
        self.dtype = chosen_dtype(dtype, own_dtype(first), "MACE")
        if options.energy_units_to_eV != 1.0 and len(models) > 1:
            raise UnsupportedModelError(
                f"energy_units_to_eV={options.energy_units_to_eV} together with a committee: MACECalculator "
                "scales its variances inconsistently; leave it at 1 and convert the results"
            )
        self.cutoff = float(first.r_max)
        self.supported_numbers = frozenset(first.atomic_numbers.tolist())
        self._options = options
        self._head = head_index(first, options.head)
        properties = ["energy", "free_energy", "energies", "node_energy", "forces", "stress", "stresses"]
        if options.compute_atomic_stresses:
            properties.append("virials")
        if len(models) > 1:
            properties += [f"{name}_comm" for name in COMMITTEE] + [f"{name}_var" for name in COMMITTEE]
        self.implemented_properties = properties

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`; a stage runs one partition at a time on a replica."""
        replica = replicate(self.models[index], device, self.dtype)
        prepare(replica, self.dtype)
        return replica

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one stage per interaction layer."""
        layers = Layers(module, self._head, self._options.energy_units_to_eV)
        return with_derived(layers.derive, layers.stages(), memoise=not recompute)

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Adapter`."""
        return native_stages(
            self.models[index], self.dtype, choice, self._head, self._options.energy_units_to_eV
        )

    def system(self, atoms: Atoms) -> dict[str, Tensor]:
        """See :class:`Adapter`; what the model embeds of ``atoms.info`` and ``atoms.arrays``."""
        specs = {name: spec for model in self.models for name, spec in _embedding_specs(model).items()}
        return {name: self._embedded(name, spec["per"], atoms) for name, spec in specs.items()}

    def _embedded(self, name: str, per: str, atoms: Atoms) -> Tensor:
        if per == "graph":
            value = system_value(name, self._options.info_keys, atoms.info)
            return torch.tensor([value], dtype=self.dtype)
        values = torch.as_tensor(atom_values(name, self._options.arrays_keys, atoms.arrays))
        return values.to(self.dtype) if values.is_floating_point() else values

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:
        """See :class:`Adapter`; ``node_energy`` is ``energies`` without the reference energies, in eV.

        A committee gives means, and for energy (eV), forces (eV/Å) and stress (3 x 3, eV/Å^3) the members'
        values with a leading axis (``_comm``) and their variance (``_var``).
        """
        unit = self._options.energy_units_to_eV
        references = np.array([evaluation.atoms["reference_energy"] for evaluation in evaluations]) * unit
        site_energies = references + [evaluation.atoms["energy"] for evaluation in evaluations]
        energies = site_energies.sum(axis=1) + [
            _embedding_energy(evaluation) * unit for evaluation in evaluations
        ]
        forces = np.array([evaluation.forces for evaluation in evaluations])
        energy = float(energies.mean())
        results: Results = {
            "energy": energy,
            "free_energy": energy,
            "energies": site_energies.mean(axis=0),
            # As in MACECalculator: without the reference energies, of a committee those of its first member.
            "node_energy": site_energies.mean(axis=0) - references[0],
            "forces": forces.mean(axis=0),
        }
        virials = [evaluation.virials for evaluation in evaluations if evaluation.virials is not None]
        if self._options.compute_atomic_stresses and virials:
            results["virials"] = np.mean(virials, axis=0)
        if len(evaluations) > 1:
            results |= _committee_results("energy", energies) | _committee_results("forces", forces)
            volume = volume_of(atoms)
            if volume > 0:
                stresses = [-evaluation.virial / volume for evaluation in evaluations]
                results |= _committee_results("stress", np.array(stresses))
        return results

    def total_energy(self, atoms: Atoms, sums: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002
        """See :class:`Adapter`; that of the only model."""
        read_out = [sums[name] for name in ("reference_energy", "embedding_energy") if name in sums]
        return sums["energy"] + torch.stack(read_out).sum() * self._options.energy_units_to_eV

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`."""
        return original_of(self.models, self._options, dtype or self.dtype)


def _embedding_specs(model: MACE) -> dict[str, dict[str, str]]:
    specs: dict[str, dict[str, str]] = getattr(model, "embedding_specs", {})
    return specs


def _embedding_energy(evaluation: Evaluation) -> float:
    """What the model reads from embeddings directly: in MACE part of the total, but of no atom's energy."""
    energies = evaluation.atoms.get("embedding_energy")
    return 0.0 if energies is None else float(energies.sum())


def _committee_results(name: str, values: np.ndarray) -> Results:
    variance = values.var(axis=0)
    return {f"{name}_comm": values, f"{name}_var": variance if variance.ndim else float(variance)}
