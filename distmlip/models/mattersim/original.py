"""MatterSim as its package evaluates it: undivided, to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from ase.units import GPa
from mattersim.datasets.utils.convertor import compute_threebody_indices
from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
from mattersim.forcefield.potential import MatterSimCalculator, Potential
from torch import Tensor
from torch.overrides import TorchFunctionMode

from distmlip.cell import as_originals_need, volume_of
from distmlip.models.replicate import replicate
from distmlip.torch_modes import default_dtype


def original_of(model: M3Gnet, dtype: torch.dtype) -> Calculator:
    """MatterSim's own calculator on a copy of the model, in this dtype."""
    device = next(model.parameters()).device
    potential = Potential(replicate(model, device, dtype), device=str(device))
    return _Original(potential, device=str(device))


class _Original(MatterSimCalculator):
    """In the dtype of its model: MatterSim's has positions and offsets in float32. With the boundaries that
    atoms have: MatterSim's puts what is not periodic into a box, to which its stress then belongs."""

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """See ASE."""
        Calculator.calculate(self, atoms, properties, system_changes)
        dtype = next(self.potential.parameters()).dtype
        with default_dtype(dtype), _FloatsOf(dtype), torch.enable_grad():
            found = self.potential(self._input(as_originals_need(self.atoms), dtype))
        energy = found["total_energy"].item()
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": found["forces"].detach().cpu().numpy(),
        }
        if volume_of(self.atoms) > 0:
            stress = found["stresses"].detach().cpu().numpy()[0] * GPa
            self.results["stress"] = full_3x3_to_voigt_6_stress(stress)

    def _input(self, atoms: Atoms, dtype: torch.dtype) -> dict[str, Any]:
        """What ``batch_to_dict`` of MatterSim gives for a batch of one structure."""
        sizes = self.potential.model.model_args
        first, second, lengths, offsets = neighbor_list("ijdS", atoms, sizes["cutoff"])
        triples, n_triples, _, _ = compute_threebody_indices(
            bond_atom_indices=np.stack([first, second], axis=1),
            bond_length=lengths,
            n_atoms=len(atoms),
            atomic_number=atoms.numbers,
            threebody_cutoff=sizes["threebody_cutoff"],
        )
        cell = atoms.cell.array if volume_of(atoms) > 0 else atoms.cell.complete().array
        given = {
            "atom_pos": torch.from_numpy(atoms.positions).to(dtype),
            "cell": torch.from_numpy(cell).to(dtype)[None],
            "pbc_offsets": torch.from_numpy(offsets),
            "atom_attr": torch.from_numpy(atoms.numbers)[:, None],
            "edge_index": torch.from_numpy(np.stack([first, second])),
            "three_body_indices": torch.from_numpy(triples).long().reshape(-1, 2),
            "num_three_body": torch.tensor([len(triples)]),
            "num_bonds": torch.tensor([len(first)]),
            "num_triple_ij": torch.from_numpy(n_triples).long()[:, None],
            "num_atoms": torch.tensor([len(atoms)]),
            "num_graphs": torch.tensor(1),
            "batch": torch.zeros(len(atoms), dtype=torch.int64),
        }
        return {name: tensor.to(self.device) for name, tensor in given.items()}


class _FloatsOf(TorchFunctionMode):
    """In its block ``tensor.float()`` gives this dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        if function is Tensor.float:
            return arguments[0].to(self._dtype)
        return function(*arguments, **(options or {}))
