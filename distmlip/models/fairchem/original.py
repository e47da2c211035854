"""fairchem's models as they are: undivided, to compare with, or loaded again from their checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from fairchem.core.calculate.ase_calculator import FAIRChemCalculator
from fairchem.core.datasets.atomic_data import AtomicData
from fairchem.core.models.uma.outputs import compute_forces_and_stress
from fairchem.core.modules.normalization.normalizer import Normalizer
from fairchem.core.units.mlip_unit import InferenceSettings, MLIPPredictUnit
from torch import Tensor, nn

from distmlip.cell import volume_of
from distmlip.models.fairchem.experts import without_memory
from distmlip.models.fairchem.outputs import Potential, outputs_of
from distmlip.models.fairchem.plain import FixedRoll, make_plain
from distmlip.models.replicate import replicate

if TYPE_CHECKING:
    from fairchem.core.models.base import HydraModel

Outputs = dict[str, Tensor | dict[str, Tensor]]
"""What a model of fairchem returns: tensors by name, or by the names of head and output."""


def original_of(potential: Potential, dtype: torch.dtype) -> Calculator:
    """``FAIRChemCalculator`` on a copy of the model, in this dtype; without tasks what stands in for it."""
    device = next(potential.model.parameters()).device
    model = replicate(potential.model, device, dtype, stand_ins=without_memory(potential.model))
    make_plain(model.backbone, dtype)
    regress = model.backbone.regress_config
    if not potential.direct("forces"):
        regress.forces = regress.stress = True
        regress.direct_forces = regress.direct_stress = False
    if not model._tasks:
        model.backbone.otf_graph, model.backbone.always_use_pbc = True, False
        return _OriginalHeads(model, potential)
    if potential.unit is None:
        model.supports_single_atoms = True
    _give_forces_a_task(model, potential)
    unit = PlainUnit.with_model(model, potential.unit, dtype)
    return _OriginalTasks(unit, potential)


def _give_forces_a_task(model: HydraModel, potential: Potential) -> None:
    """Where only the energy has one, as fairchem does when it is asked to predict untrained forces."""
    energy = potential.outputs["energy"]
    task = model.tasks[energy.path[0]]
    for output in outputs_of(model):
        if output.property == "forces" and (output.head, output.dataset) == (energy.head, energy.dataset):
            normalizer = Normalizer(torch.tensor(0.0), task.normalizer.rmsd)
            forces = dataclasses.replace(
                task,
                name=output.path[0],
                level="atom",
                property="forces",
                normalizer=normalizer,
                element_references=None,
            )
            if forces.name not in model.tasks:
                model.add_tasks([forces])


class PlainUnit(MLIPPredictUnit):
    """A predict unit that changes nothing of the process when it is made, and uses no settings that change or
    replace its model, or lower its precision."""

    def __init__(self, unit: MLIPPredictUnit | None, dtype: torch.dtype | None = None) -> None:
        """Settings and energies of lone atoms are the unit's, but for ``dtype``; without one the defaults."""
        super(MLIPPredictUnit, self).__init__()
        settings = InferenceSettings() if unit is None else unit.inference_settings
        self.inference_settings = dataclasses.replace(
            settings,
            tf32=False,
            activation_checkpointing=False,
            merge_mole=False,
            compile=False,
            nitro=False,
            execution_mode="general",
            base_precision_dtype=dtype or settings.base_precision_dtype,
        )
        self.atom_refs = {} if unit is None else unit.atom_refs
        self.form_elem_refs = {} if unit is None else unit.form_elem_refs
        self.assert_on_nans = False
        self._warned_upcast = self._nitro_announced = False

    @classmethod
    def with_model(cls, model: HydraModel, unit: MLIPPredictUnit | None, dtype: torch.dtype) -> PlainUnit:
        """With this model, which is moved to where the unit is."""
        plain = cls(unit, dtype)
        plain.device = next(model.parameters()).device if unit is None else unit.device
        plain.model = _Holder(model)
        plain.move_to_device()
        plain.lazy_model_intialized = True
        return plain

    @classmethod
    def loaded_again(cls, unit: MLIPPredictUnit) -> PlainUnit:
        """With the model of the unit's checkpoint as it was saved."""
        plain = cls(unit)
        plain.device = unit.device
        plain._inference_model_path = unit._inference_model_path
        plain._overrides = unit._overrides
        plain._requested_device = unit._requested_device
        with torch.random.fork_rng(devices=[]):  # initial weights are drawn before they are loaded
            plain._load_model()
        plain.lazy_model_intialized = False
        return plain


class _Holder(nn.Module):
    """Has its model where a predict unit looks for it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, data: AtomicData) -> Outputs:
        outputs: Outputs = self.module(data)
        return outputs


class _OriginalTasks(FAIRChemCalculator):
    """``FAIRChemCalculator`` without randomness, and without a stress that is none: where there is no volume,
    or where the normaliser adds a constant to the derivative of the energy."""

    def __init__(self, unit: MLIPPredictUnit, potential: Potential) -> None:
        super().__init__(unit, potential.dataset)
        self._is_biased = not potential.direct("stress") and potential.scale("stress").mean != 0

    def calculate(
        self,
        atoms: Atoms,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """See ASE."""
        with FixedRoll():
            super().calculate(atoms, properties, system_changes)
        if volume_of(atoms) == 0 or self._is_biased:
            self.results.pop("stress", None)


class _OriginalHeads(Calculator):
    """A model of fairchem that has no tasks: its outputs as they are, for graphs made by fairchem."""

    def __init__(self, model: HydraModel, potential: Potential) -> None:
        super().__init__()
        self.implemented_properties = ["energy", "free_energy", "forces", "stress"]
        self._model = model
        self._dataset = potential.dataset
        self._is_mean = potential.head(model, "energy").reduce == "mean"
        energy = potential.outputs["energy"]
        self._paths = {
            output.property: output.path
            for output in outputs_of(model)
            if output.direct or (output.head, output.dataset) == (energy.head, energy.dataset)
        }
        self._dtype = next(model.backbone.parameters()).dtype

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """See ASE."""
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        atoms = self.atoms.copy()
        self._model.backbone.validate_atoms_data(atoms, self._dataset)
        data = AtomicData.from_ase(
            atoms, r_data_keys=["charge", "spin"], task_name=self._dataset, target_dtype=self._dtype
        ).to(next(self._model.parameters()).device)
        data.pos.requires_grad_()
        data.cell.requires_grad_()
        with FixedRoll(), torch.enable_grad():
            found = self._outputs(data)
            energy = found["energy"]
            if "forces" not in found:
                total = energy * len(atoms) if self._is_mean else energy
                found["forces"], found["stress"] = compute_forces_and_stress(
                    total, data.pos, data.cell, data.batch, training=False
                )
        self.results = {
            "energy": energy.item(),
            "free_energy": energy.item(),
            "forces": _numpy(found["forces"]),
        }
        if "stress" in found and volume_of(atoms) > 0:
            self.results["stress"] = full_3x3_to_voigt_6_stress(_numpy(found["stress"]).reshape(3, 3))

    def _outputs(self, data: AtomicData) -> dict[str, Tensor]:
        outputs = self._model(data)
        found = {}
        for name, path in self._paths.items():
            found[name] = outputs
            for key in path:
                found[name] = found[name][key]
        return found


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
