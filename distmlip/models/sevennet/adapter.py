"""SevenNet of the ``sevenn`` package: the adapter, and the undivided original that it is compared with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from sevenn import _keys as keys
from sevenn.atom_graph_data import AtomGraphData
from sevenn.calculator import SevenNetCalculator
from sevenn.train.dataload import unlabeled_atoms_to_graph
from torch import nn

from distmlip.errors import InvalidInputError
from distmlip.models.interface import Adapter, Evaluation, Stage, with_derived
from distmlip.models.sevennet.stages import Layers, prepared_copy
from distmlip.models.sevennet.support import read_modal, read_model


def adapt(model: Any, dtype: torch.dtype | None = None, **family_options: Any) -> SevenNetAdapter:
    """The adapter of an ``AtomGraphSequential`` or a ``SevenNetCalculator``.

    ``family_options``: ``modal``, the modality (fidelity) of a multi-modal model, as in
    ``SevenNetCalculator``. Where one is given, its own is the default.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that SevenNet does not have, or a modality that the model does not have.
    """
    network = read_model(model)
    return SevenNetAdapter(network, dtype, read_modal(model, network, family_options))


def pretrained() -> SevenNetCalculator:
    """SevenNet's own calculator with the weights of SevenNet-0 (11 July 2024), which its package ships."""
    return _without_advice("7net-0")


class SevenNetAdapter(Adapter):
    """One SevenNet model; see :func:`adapt`."""

    family: ClassVar[str] = "SevenNet"

    def __init__(self, model: Any, dtype: torch.dtype | None, modal: str | None) -> None:
        self.models = [model]
        self.dtype = dtype or next(model.parameters()).dtype
        if self.dtype not in (torch.float32, torch.float64):
            raise InvalidInputError(f"dtype={self.dtype}; SevenNet runs in torch.float32 or torch.float64")
        self.cutoff = float(model.cutoff)
        self.supported_numbers = frozenset(model.type_map)
        self._modal = modal
        self._modality = None if modal is None else int(model.modal_map[modal])

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`."""
        replica: nn.Module = prepared_copy(self.models[index], device, self.dtype)
        return replica

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one stage per convolution."""
        layers = Layers(module, self._modality)
        return with_derived(layers.derive, layers.stages(), memoise=not recompute)

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
        """See :class:`Adapter`; ``num_edges`` counts directed edges, as the original does."""
        n_edges = evaluations[0].system["num_edges"]
        return {**super().results(atoms, evaluations), "num_edges": int(n_edges)}

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`."""
        chosen = dtype or self.dtype
        device = next(self.models[0].parameters()).device
        model = prepared_copy(self.models[0], device, chosen)
        return _without_advice(
            model, kind=_Original, file_type="model_instance", device=device, modal=self._modal
        )


class _Original(SevenNetCalculator):
    """The undivided original, which in float64 does not round edge vectors to float32."""

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """The original's."""
        Calculator.calculate(self, atoms, properties, system_changes)
        graph = unlabeled_atoms_to_graph(self.atoms, self.cutoff)
        dtype = next(self.model.parameters()).dtype
        exact = {key: torch.as_tensor(graph[key]).to(dtype) for key in (keys.EDGE_VEC, keys.CELL_VOLUME)}
        data = AtomGraphData.from_numpy_dict(graph)
        data.update(exact)
        if self.modal:
            data[keys.DATA_MODALITY] = self.modal
        self.results = self.output_to_results(self.model(data.to(self.device)))


def _without_advice(
    model: Any, kind: type[SevenNetCalculator] = SevenNetCalculator, **options: Any
) -> SevenNetCalculator:
    """A calculator that does not warn that there are accelerators, of which we use none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No tensor product accelerator", UserWarning)
        return kind(model, **options)
