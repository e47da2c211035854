"""SevenNet as its package evaluates it: undivided, to compare with."""

from __future__ import annotations

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from sevenn import _keys as keys
from sevenn.atom_graph_data import AtomGraphData
from sevenn.calculator import SevenNetCalculator
from sevenn.nn.sequential import AtomGraphSequential
from sevenn.train.dataload import unlabeled_atoms_to_graph

from distmlip.models.quiet import quiet
from distmlip.models.sevennet.stages import prepared_copy


def original_of(model: AtomGraphSequential, modal: str | None, dtype: torch.dtype) -> Calculator:
    """SevenNet's own calculator on a copy of the model, in this dtype."""
    device = next(model.parameters()).device
    replica = prepared_copy(model, device, dtype)
    with quiet():  # that there are accelerators, of which we use none
        return _Original(replica, file_type="model_instance", device=device, modal=modal)


class _Original(SevenNetCalculator):
    """In float64 without rounding edge vectors to float32."""

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        Calculator.calculate(self, atoms, properties, system_changes)
        graph = unlabeled_atoms_to_graph(self.atoms, self.cutoff)
        dtype = next(self.model.parameters()).dtype
        exact = {key: torch.as_tensor(graph[key]).to(dtype) for key in (keys.EDGE_VEC, keys.CELL_VOLUME)}
        data = AtomGraphData.from_numpy_dict(graph)
        data.update(exact)
        if self.modal:
            data[keys.DATA_MODALITY] = self.modal
        self.results = self.output_to_results(self.model(data.to(self.device)))
