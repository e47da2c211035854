"""matgl's potentials as their package evaluates them: undivided, to compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from matgl.apps.pes import Potential
from matgl.ext.ase import Atoms2Graph, PESCalculator, find_points_in_spheres
from torch import Tensor
from torch_geometric.data import Data

from distmlip.cell import volume_of, with_vacuum
from distmlip.models.interface import Tensors
from distmlip.models.matgl.architecture import copy_of


def original_of(potential: Potential, system: Callable[[Atoms], Tensors], dtype: torch.dtype) -> Calculator:
    """``PESCalculator`` on a copy of the potential, in this dtype; its stress is in eV/Å^3.

    ``system``: what the network reads of its options and of a structure.
    """
    device = next(potential.parameters()).device
    return _Original(copy_of(potential, device, dtype), system)


class _Original(PESCalculator):
    """In float64 without rounding anything to float32.

    matgl would treat atoms that are not periodic in all directions as not periodic in any: here open
    directions get vacuum instead, in a cell that is periodic.
    """

    atoms: Atoms

    def __init__(self, replica: Potential, system: Callable[[Atoms], Tensors]) -> None:
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

    def get_graph(self, atoms: Atoms) -> tuple[Data, Tensor, np.ndarray]:
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
