"""eSEN and UMA of the ``fairchem-core`` package: the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from fairchem.core.calculate.ase_calculator import FAIRChemCalculator
from fairchem.core.models.base import HydraModel
from fairchem.core.models.uma.escn_md import eSCNMDBackbone
from fairchem.core.units.mlip_unit import MLIPPredictUnit, load_predict_unit
from fairchem.core.units.mlip_unit.api.inference import (
    DEFAULT_CHARGE,
    DEFAULT_SPIN,
    DEFAULT_SPIN_OMOL,
    UMATask,
)
from torch import Tensor, nn

from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.models.fairchem.experts import (
    MergedExperts,
    SystemEmbedding,
    experts_of_dataset,
    without_memory,
)
from distmlip.models.fairchem.native import NativeBlocks
from distmlip.models.fairchem.native_support import require_known
from distmlip.models.fairchem.original import original_of
from distmlip.models.fairchem.outputs import Potential
from distmlip.models.fairchem.plain import make_plain
from distmlip.models.fairchem.results import direct_stress, energies_of, is_looked_up, looked_up_energy
from distmlip.models.fairchem.stages import Blocks, Replica
from distmlip.models.fairchem.support import read_potential
from distmlip.models.interface import PROPERTIES, Adapter, Evaluation, ModelLike, Results, Stage, with_derived
from distmlip.models.native import NativeChoice
from distmlip.models.options import chosen_dtype, refuse_unknown
from distmlip.models.quiet import Advice
from distmlip.models.replicate import replicate


def named(name: str) -> FAIRChemCalculator:
    """The model in a checkpoint; behind a colon its task: ``uma-s-1p1.pt:omat``.

    Raises:
        InvalidInputError: there is no such file, or no model in it.
    """
    path, _, task = name.partition(":")
    try:
        return FAIRChemCalculator(load_predict_unit(path, device="cpu"), task_name=task or None)
    except Exception as error:  # whatever comes of loading
        raise InvalidInputError(f"fairchem:{name}: no model can be read from it: {error}") from error


def adapt(
    model: ModelLike | MLIPPredictUnit,
    dtype: torch.dtype | None = None,
    *,
    task_name: str | None = None,
    **unknown: Any,
) -> FAIRChemAdapter:
    """The adapter of a ``FAIRChemCalculator``, an ``MLIPPredictUnit``, a ``HydraModel``, or a pair
    ``(backbone, head)``, with an eSEN or UMA backbone.

    ``task_name`` is the dataset whose task is evaluated, such as ``"omat"``, as in ``FAIRChemCalculator``;
    needed where a model has several and is not given as such a calculator. A model without tasks gives the
    outputs of its heads as they are. Forces are derivatives of the energy, unless a head predicts them.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that fairchem does not have, or a task that the model does not have.
    """
    refuse_unknown(unknown, ["task_name"], "fairchem")
    return FAIRChemAdapter(read_potential(model, task_name), dtype)


class FAIRChemAdapter(Adapter):
    """One eSEN or UMA model and one of its tasks; see :func:`adapt`."""

    family: ClassVar[str] = "fairchem"
    untrainable = (
        "what it embeds of the whole system and the mixtures of its experts are computed from its parameters "
        "outside of the stages"
    )

    def __init__(self, potential: Potential, dtype: torch.dtype | None) -> None:
        model = potential.model
        self.models = [model]
        self.dtype = chosen_dtype(dtype, next(model.backbone.parameters()).dtype, "fairchem")
        self.cutoff = float(model.backbone.cutoff)
        self.conservative = not potential.direct("forces")
        n_numbers = model.backbone.max_num_elements
        if potential.references is not None:
            n_numbers = min(n_numbers, len(potential.references.element_references))
        self.supported_numbers = frozenset(range(1, n_numbers))
        if not self.conservative:
            missing = {"stresses"} if potential.direct("stress") else {"stress", "stresses"}
            self.implemented_properties = tuple(name for name in PROPERTIES if name not in missing)
        if self.conservative and potential.scale("forces").mean != 0:
            raise UnsupportedModelError(
                f"the normalizer of forces has mean {potential.scale('forces').mean}: a constant is no "
                "derivative of an energy; give a task whose mean is 0"
            )
        self._potential = potential
        self._advice = Advice()
        self._system = SystemEmbedding(model.backbone, self.dtype, potential.dataset)
        # fairchem logs every look-up.
        self._looked_up_energy = lru_cache(maxsize=8)(partial(looked_up_energy, potential))

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`; linear layers stand in for mixtures of experts."""
        return self._replica(index, device, self.dtype)

    def _replica(self, index: int, device: torch.device, dtype: torch.dtype) -> Replica:
        model: HydraModel = self.models[index]
        potential = self._potential
        experts = MergedExperts(model.backbone, device, dtype)
        stand_ins = {**without_memory(model), **experts.stand_ins()}
        for name in {output.head for output in potential.outputs.values()}:
            head = model.output_heads[name]
            stand_ins |= experts_of_dataset(head, potential.dataset, device, dtype)
        copy = replicate(model, device, dtype, stand_ins=stand_ins)
        make_plain(copy.backbone, dtype)
        predicted = ["energy", *(name for name in ("forces", "stress") if potential.direct(name))]
        return Replica(copy.backbone, {name: potential.head(copy, name) for name in predicted}, experts)

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one stage per block, two if its channels are balanced."""
        assert isinstance(module, Replica)
        blocks = self._blocks(module)
        return with_derived(blocks.derive, blocks.stages(), memoise=not recompute)

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Adapter`; convolutions and the degree embedding, all else is the model's own."""
        require_known(self.models[index].backbone, self.dtype)
        cpu = torch.device("cpu")
        exact = self._replica(index, cpu, torch.float64)
        blocks = self._blocks(self._replica(index, cpu, self.dtype))
        return NativeBlocks(blocks, exact.backbone, choice, self.dtype).stages()

    def _blocks(self, replica: Replica) -> Blocks:
        return Blocks(replica, self._stage_scale, self._potential.max_neighbors, self._potential.strict)

    @property
    def _stage_scale(self) -> float:
        """What the stages multiply energies with: virials and so the stress are then those of the task."""
        return self._potential.scale("stress").rmsd if self.conservative else 1.0

    def system(self, atoms: Atoms) -> dict[str, Tensor]:
        """See :class:`Adapter`; what the model embeds of charge, spin, dataset and composition."""
        charge, spin = self._charge_and_spin(atoms)
        if is_looked_up(self._potential, atoms):
            self._looked_up_energy(int(atoms.numbers[0]), charge)
        return self._system.of(charge, spin, atoms.numbers)

    def _charge_and_spin(self, atoms: Atoms) -> tuple[int, int]:
        """Checked by the model, as fairchem's calculator does, but not written into ``atoms.info``."""
        is_omol = self._potential.dataset == UMATask.OMOL.value
        defaults = {"charge": DEFAULT_CHARGE, "spin": DEFAULT_SPIN_OMOL if is_omol else DEFAULT_SPIN}
        missing = [name for name in defaults if name not in atoms.info]
        if is_omol and missing:
            self._advice.give(
                f"atoms.info has no {' and no '.join(missing)}, which the task 'omol' depends on; taken as "
                f"{' and '.join(str(defaults[name]) for name in missing)}"
            )
        given = SimpleNamespace(info={**defaults, **atoms.info})
        backbone: eSCNMDBackbone = self._potential.model.backbone
        try:
            backbone.validate_atoms_data(given, self._potential.dataset)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"atoms.info: {error}") from error
        return int(given.info["charge"]), int(given.info["spin"])

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:
        """See :class:`Adapter`; normalisers and element references of the tasks are undone."""
        potential, scale = self._potential, self._potential.scale("forces")
        if is_looked_up(potential, atoms):
            return self._looked_up(atoms)
        (evaluation,) = evaluations
        energies = energies_of(potential, atoms.numbers, evaluation.atoms["energy"] / self._stage_scale)
        outputs = (
            evaluation.forces / self._stage_scale if self.conservative else evaluation.atoms["direct_forces"]
        )
        energy = float(energies.sum())
        results: Results = {
            "energy": energy,
            "free_energy": energy,
            "energies": energies,
            "forces": outputs * scale.rmsd + scale.mean,
        }
        if potential.direct("stress"):
            results["stress"] = direct_stress(potential, len(atoms), evaluation.system["direct_stress"])
        return results

    def _looked_up(self, atoms: Atoms) -> Results:
        """Results of a lone atom from the table of energies; what a head gives for it does not count."""
        charge, _ = self._charge_and_spin(atoms)
        energy = self._looked_up_energy(int(atoms.numbers[0]), charge)
        results: Results = {
            "energy": energy,
            "free_energy": energy,
            "energies": np.array([energy]),
            "forces": np.zeros((1, 3)),
        }
        if self._potential.direct("stress"):
            results["stress"] = np.zeros(6)
        return results

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`; ``FAIRChemCalculator`` where the model has tasks."""
        return original_of(self._potential, dtype or self.dtype)
