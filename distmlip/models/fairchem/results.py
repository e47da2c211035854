"""From what a fairchem model's heads give to results: with normalisers and element references undone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from fairchem.core.models.uma.escn_md import compose_tensor
from fairchem.core.modules.normalization.element_references import ElementReferences
from fairchem.core.units.mlip_unit import MLIPPredictUnit
from fairchem.core.units.mlip_unit.single_atom_patch import single_atom_prediction_from_lookup

from distmlip.errors import InvalidInputError
from distmlip.models.fairchem.outputs import Potential


def energies_of(potential: Potential, numbers: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """(n_atoms,) each atom's energy in eV, from what the head gives for it.

    They sum to the energy of the task; its constant, and the rounding of fairchem's sum of references, are
    shared equally.
    """
    scale = potential.scale("energy")
    energies = outputs * scale.rmsd
    if potential.head(potential.model, "energy").reduce == "mean":
        energies = energies / len(energies)
    energy = energies.sum() + scale.mean
    if potential.references is not None:
        references = potential.references.element_references.detach().cpu()
        batch = SimpleNamespace(
            natoms=[len(numbers)],
            batch_full=torch.zeros(len(numbers), dtype=torch.int64),
            atomic_numbers_full=torch.from_numpy(numbers),
        )
        without = torch.tensor([energy], dtype=torch.float64)
        energy = ElementReferences.compute_references(batch, without, references, "add").item()
        energies = energies + references.double().numpy()[numbers]
    shared: np.ndarray = energies + (energy - energies.sum()) / len(energies)
    return shared


def direct_stress(potential: Potential, n_atoms: int, parts: np.ndarray) -> np.ndarray:
    """Voigt-6 in eV/Å^3, from the sums over atoms of what the head gives: trace and traceless part (6,)."""
    if potential.head(potential.model, "stress").reduce == "mean":
        parts = parts / n_atoms
    stress = compose_tensor(torch.tensor(parts[None, :1]), torch.tensor(parts[None, 1:]))
    scale = potential.scale("stress")
    voigt: np.ndarray = full_3x3_to_voigt_6_stress(stress.numpy().reshape(3, 3) * scale.rmsd + scale.mean)
    return voigt


def is_looked_up(potential: Potential, atoms: Atoms) -> bool:
    """Whether fairchem takes the energy from a table: of a lone atom, if the model was not made for it."""
    alone = len(atoms) == 1 and not atoms.pbc.any()
    return potential.unit is not None and alone and not potential.model.supports_single_atoms


def looked_up_energy(potential: Potential, number: int, charge: int) -> float:
    """The energy of one atom alone in eV, from the predict unit's table.

    Raises:
        InvalidInputError: the table does not have it.
    """
    unit: MLIPPredictUnit = potential.unit
    data = SimpleNamespace(
        natoms=torch.tensor([1]),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        atomic_numbers=torch.tensor([number]),
        charge=torch.tensor([charge]),
        dataset=[potential.dataset],
    )
    try:
        predictions = single_atom_prediction_from_lookup(
            data, unit.atom_refs, potential.model.tasks, torch.device("cpu")
        )
    except (ValueError, KeyError) as error:
        raise InvalidInputError(
            "the model was not made for one atom alone, and the predict unit's atom_refs do not have its "
            f"energy: {error}"
        ) from error
    return float(predictions[potential.outputs["energy"].path[0]])
