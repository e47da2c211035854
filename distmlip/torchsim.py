"""TorchSim drives: its integrators, optimizers and trajectories run on models over partitions and devices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor

try:
    from torch_sim.models.interface import ModelInterface
    from torch_sim.state import SimState
except ModuleNotFoundError as error:
    raise ImportError(
        f"distmlip.torchsim is for TorchSim ({error}): pip install torch-sim-atomistic"
    ) from error

from distmlip.calculator import DistCalculator
from distmlip.errors import InvalidInputError

OF_ATOMS = ("energies", "magmoms", "charges")
"""Results of each atom that are handed over where the model has them."""
OF_SYSTEMS = ("charge", "spin")
"""That models may read; extras of a state's systems, and in ASE entries of ``atoms.info``."""


class TorchSimModel(ModelInterface):
    """A model for TorchSim, whose systems are computed one after another, each over all devices.

    Outputs are ``energy`` (n_systems) eV, ``forces`` (n_atoms, 3) eV/Å, ``stress`` (n_systems, 3, 3) eV/Å³,
    which is NaN of a system without a volume, and ``energies``, ``magmoms`` and ``charges`` (n_atoms) where
    the model has them. They have the dtype of the state's positions, and no autograd graph.

    Args:
        model: as for :class:`distmlip.DistCalculator`.
        **options: of it, such as ``devices``, ``partitions``, ``dtype``, and those of the model's family.

    Raises:
        UnsupportedModelError, InvalidInputError, DeviceError: as :class:`distmlip.DistCalculator` does.
    """

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__()
        self._calculator = DistCalculator(model, **options)
        self._device = torch.device(self._calculator.parameters["devices"][0])
        # Of states, whatever the model computes in: in float32 positions in a large box are off by 1e-4 Å.
        self._dtype = torch.float64
        self._compute_forces = True
        self._has_stress = "stress" in self._calculator.implemented_properties
        self._compute_stress = self._has_stress

    @property
    def calculator(self) -> DistCalculator:
        """That computes; its ``plan()`` says how the last system was distributed."""
        return self._calculator

    @property
    def compute_forces(self) -> bool:
        """Whether outputs have forces, which are computed in any case."""
        return self._compute_forces

    @compute_forces.setter
    def compute_forces(self, compute_forces: bool) -> None:
        self._compute_forces = compute_forces

    @property
    def compute_stress(self) -> bool:
        """Whether outputs have stresses."""
        return self._compute_stress

    @compute_stress.setter
    def compute_stress(self, compute_stress: bool) -> None:
        if compute_stress and not self._has_stress:
            raise NotImplementedError("the model has no stress: its forces are no derivatives of its energy")
        self._compute_stress = compute_stress

    @property
    def memory_scales_with(self) -> str:
        """What TorchSim's autobatchers go by."""
        return "n_atoms_x_density"

    def forward(self, state: SimState, **_: Any) -> dict[str, Tensor]:
        """Outputs of all systems of a state.

        Raises:
            InvalidInputError: there are none, or what :class:`distmlip.DistCalculator` does not take.
            NonFiniteResultError: a result is not a finite number.
        """
        outputs: list[dict[str, np.ndarray]] = []
        for k, atoms in enumerate(systems_of(state)):
            try:
                self._calculator.calculate(atoms, ["energy", "forces"])
            except Exception as error:
                error.add_note(f"computing system {k} of {state.n_systems} of a TorchSim state")
                raise
            outputs.append(self._outputs())
        if not outputs:
            raise InvalidInputError("the state has no systems")
        joined = {name: np.concatenate([of[name] for of in outputs]) for name in outputs[0]}
        positions = state.positions
        return {
            name: torch.as_tensor(values, dtype=positions.dtype, device=positions.device)
            for name, values in joined.items()
        }

    def _outputs(self) -> dict[str, np.ndarray]:
        """Of the system that was computed last."""
        results = self._calculator.results
        outputs = {"energy": np.array([results["energy"]])}
        if self.compute_forces:
            outputs["forces"] = results["forces"]
        if self.compute_stress:
            stress = results.get("stress", np.full(6, np.nan))
            outputs["stress"] = voigt_6_to_full_3x3_stress(stress)[None]
        return outputs | {name: results[name] for name in OF_ATOMS if name in results}


def systems_of(state: SimState) -> Iterator[Atoms]:
    """The systems of a state, in their order."""
    positions, numbers, of_system = (
        tensor.detach().cpu().numpy() for tensor in (state.positions, state.atomic_numbers, state.system_idx)
    )
    cells = state.cell.detach().cpu().numpy().transpose(0, 2, 1)  # TorchSim has vectors in columns
    pbc = np.broadcast_to(torch.as_tensor(state.pbc).cpu().numpy(), 3)
    ends = np.searchsorted(of_system, np.arange(len(cells) + 1))
    for k, cell in enumerate(cells):
        own = slice(ends[k], ends[k + 1])
        info = {name: _number(getattr(state, name)[k]) for name in OF_SYSTEMS if hasattr(state, name)}
        yield Atoms(numbers=numbers[own], positions=positions[own], cell=cell, pbc=pbc, info=info)


def _number(value: Tensor) -> float | int:
    number = float(value)
    return int(number) if number.is_integer() else number
