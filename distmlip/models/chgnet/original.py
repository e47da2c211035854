"""CHGNet as its package evaluates it: undivided, to compare with."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from chgnet.graph import CrystalGraph
from chgnet.model import CHGNet
from chgnet.model.dynamics import CHGNetCalculator
from pymatgen.core import Structure
from torch import Tensor

from distmlip.cell import with_vacuum

EV_PER_CUBIC_ANGSTROM_IN_GPA = 160.21766208
"""As written in CHGNet."""


def original_of(model: CHGNet, dtype: torch.dtype) -> Calculator:
    """CHGNet's own calculator on a copy of the model, in this dtype."""
    return _Original(model, dtype)


class _Original(CHGNetCalculator):
    """In float64 without rounding anything to float32."""

    atoms: Atoms

    def __init__(self, model: CHGNet, dtype: torch.dtype) -> None:
        Calculator.__init__(self)  # CHGNetCalculator's own prints
        self.model = copy.deepcopy(model).to(dtype).eval().requires_grad_(False)
        self.device = next(self.model.parameters()).device
        self.stress_weight = 1.0
        self.return_site_energies = True
        self.model.graph_converter.set_isolated_atom_response("ignore")
        if dtype == torch.float64:
            _keep_double(self.model)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] | None = None,
    ) -> None:
        """The original's, with a stress that is as exact as its dtype, also of atoms without a cell."""
        atoms = self.atoms if atoms is None else atoms
        super().calculate(_with_volume(atoms, self.model), properties, system_changes)
        self.atoms = atoms.copy()  # what the results belong to, for ASE's caching
        volume = torch.tensor([np.linalg.det(atoms.cell.array)], dtype=torch.float64)
        if volume == 0:
            del self.results["stress"]
            return
        # The model scales dE/dstrain to GPa with a factor that it rounds to float32.
        rounded = 1 / volume.float() * EV_PER_CUBIC_ANGSTROM_IN_GPA
        self.results["stress"] = self.results["stress"] / (rounded * volume).item()


def _with_volume(atoms: Atoms, model: CHGNet) -> Atoms:
    """The same atoms with vacuum in open directions without a cell vector, with which the original fails."""
    missing = ~atoms.cell.array.any(axis=1)
    return with_vacuum(atoms, missing, 2 * model.graph_converter.atom_graph_cutoff)


def _keep_double(model: CHGNet) -> None:
    """Make a float64 model, whose graphs and compositions would be float32, get them in float64."""
    convert = model.graph_converter.forward

    def graph_in_double(structure: Structure, *names: str | None) -> CrystalGraph:
        graph = convert(structure, *names)
        graph.atom_frac_coord = torch.tensor(structure.frac_coords, dtype=torch.float64, requires_grad=True)
        graph.lattice = torch.tensor(structure.lattice.matrix, dtype=torch.float64, requires_grad=True)
        graph.neighbor_image = graph.neighbor_image.double()
        return graph

    def composition_in_double(graphs: Sequence[CrystalGraph]) -> Tensor:
        counts = torch.stack(
            [torch.bincount(graph.atomic_number - 1, minlength=94).double() for graph in graphs]
        )
        return counts / counts.sum(dim=1, keepdim=True) if model.composition_model.is_intensive else counts

    model.graph_converter.forward = graph_in_double
    if model.composition_model is not None:
        model.composition_model._assemble_graphs = composition_in_double
