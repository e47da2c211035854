"""NequIP and Allegro as their package evaluates them: undivided, to compare with."""

from __future__ import annotations

from typing import Any

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import chemical_symbols
from nequip.data import AtomicDataDict, from_ase
from nequip.integrations.ase import NequIPCalculator
from nequip.integrations.utils import basic_transforms
from torch import Tensor

from distmlip.models.nequip.stages import prepared_copy
from distmlip.models.nequip.support import cutoff_of


def original_of(model: Any, types: dict[int, int], dtype: torch.dtype) -> Calculator:
    """NequIP's own calculator on a copy of the model, in this dtype."""
    device = next(model.parameters()).device
    names = list(model.type_names)
    species = {chemical_symbols[number]: names[index] for number, index in types.items()}
    transforms = basic_transforms(model.metadata, cutoff_of(model), names, species)
    return _Original(prepared_copy(model, device, dtype), device, transforms=transforms)


class _Original(NequIPCalculator):
    """With positions in float64 whatever torch's default dtype is, as after nequip's ``set_global_state``."""

    def atoms_to_data(self, atoms: Atoms) -> dict[str, Tensor]:
        data: dict[str, Tensor] = from_ase(atoms)
        data[AtomicDataDict.POSITIONS_KEY] = torch.tensor(atoms.positions)
        if AtomicDataDict.CELL_KEY in data:
            data[AtomicDataDict.CELL_KEY] = torch.tensor(atoms.cell.array).view(1, 3, 3)
        for transform in self.transforms:
            data = transform(data)
        moved: dict[str, Tensor] = AtomicDataDict.to_(data, self.device)
        return moved
