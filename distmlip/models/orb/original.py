"""Orb as its package evaluates it: undivided, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.base import AtomGraphs
from orb_models.forcefield.calculator import ORBCalculator

from distmlip.cell import as_originals_need, volume_of
from distmlip.models.orb.support import N_TYPES, Potential
from distmlip.models.replicate import replicate
from distmlip.torch_modes import default_dtype

NOT_OURS = ("rotational_grad", "grad_forces", "grad_stress")
"""Results that :class:`OrbAdapter` does not have: how the energy changes when a structure is turned; and
forces and stress by other names."""


def original_of(potential: Potential, dtype: torch.dtype) -> Calculator:
    """Orb's own calculator on a copy of the model, in this dtype."""
    device = next(potential.model.parameters()).device
    return _Original(
        replicate(potential.model, device, dtype),
        system_config=SystemConfig(potential.cutoff, potential.max_neighbors),
        device=device,
    )


class _Original(ORBCalculator):
    """With neighbours from ASE: Orb's own search misses some in skewed cells (orb-models 0.5.5: a hundredth
    of them in a primitive cell of rocksalt, twice and three times its size), and takes no slabs. And in the
    dtype of the model, whatever torch's default is."""

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """See ASE."""
        Calculator.calculate(self, atoms, properties, system_changes)
        dtype = next(self.model.parameters()).dtype
        with default_dtype(dtype), torch.enable_grad():
            graph = _graph(as_originals_need(self.atoms), self.system_config, dtype).to(self.device)
            self._update_results(self.model.predict(graph))
        for name in NOT_OURS if volume_of(self.atoms) > 0 else (*NOT_OURS, "stress"):
            self.results.pop(name, None)


def _graph(atoms: Atoms, config: SystemConfig, dtype: torch.dtype) -> AtomGraphs:
    first, second, lengths, shifts = neighbor_list("ijdS", atoms, config.radius)
    order = np.lexsort((lengths, first))
    rank = np.arange(len(first)) - np.searchsorted(first[order], first[order])
    kept = np.sort(order[rank < config.max_num_neighbors])
    senders, receivers, unit_shifts = (torch.from_numpy(of[kept]) for of in (first, second, shifts))
    positions, cell = (torch.from_numpy(of).to(dtype) for of in (atoms.positions, atoms.cell.array))
    vectors = positions[receivers] - positions[senders] + unit_shifts.to(dtype) @ cell
    numbers = torch.from_numpy(atoms.numbers).long()
    info = {f"total_{name}": atoms.info[name] for name in ("charge", "spin") if name in atoms.info}
    return AtomGraphs(
        senders=senders,
        receivers=receivers,
        n_node=torch.tensor([len(atoms)]),
        n_edge=torch.tensor([len(kept)]),
        node_features={
            "positions": positions,
            "atomic_numbers": numbers,
            "atomic_numbers_embedding": torch.nn.functional.one_hot(numbers, N_TYPES).to(dtype),
        },
        edge_features={"vectors": vectors, "unit_shifts": unit_shifts.to(dtype)},
        system_features={"cell": cell[None]}
        | {name: torch.tensor([value], dtype=dtype) for name, value in info.items()},
        node_targets=None,
        edge_targets=None,
        system_targets=None,
        system_id=None,
        fix_atoms=None,
        tags=None,
        radius=config.radius,
        max_num_neighbors=torch.tensor([config.max_num_neighbors]),
    )
