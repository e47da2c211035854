"""MACE as its package evaluates it: undivided, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from mace.modules import MACE

from distmlip.models.mace import MACECalculator
from distmlip.models.mace.support import Options
from distmlip.models.replicate import replicate


def original_of(models: Sequence[MACE], options: Options, dtype: torch.dtype) -> Calculator:
    """MACE's own calculator on copies of the models, in this dtype."""
    return _Original(models, options, dtype)


class _Original(MACECalculator):
    """Without stresses where they refer to another volume than that of the cell."""

    def __init__(self, models: Sequence[MACE], options: Options, dtype: torch.dtype) -> None:
        # MACECalculator extends the list that it finds, which is that of all its instances.
        self.implemented_properties: list[str] = []
        device = next(models[0].parameters()).device
        super().__init__(
            models=[replicate(model, device, dtype) for model in models],
            device=str(device),
            default_dtype=str(dtype).removeprefix("torch."),
            head=options.head,
            info_keys=dict(options.info_keys),
            arrays_keys=dict(options.arrays_keys),
            energy_units_to_eV=options.energy_units_to_eV,
            compute_atomic_stresses=options.compute_atomic_stresses,
        )

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        if not self.atoms.pbc.all():
            for name in ("stress", "stress_comm", "stress_var"):
                self.results.pop(name, None)
