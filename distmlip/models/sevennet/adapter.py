"""SevenNet of the ``sevenn`` package: the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from sevenn.calculator import SevenNetCalculator
from sevenn.nn.sequential import AtomGraphSequential
from torch import nn

from distmlip.errors import InvalidInputError
from distmlip.models.interface import Adapter, Evaluation, ModelLike, Results, Stage, with_derived
from distmlip.models.native import NativeChoice
from distmlip.models.options import chosen_dtype
from distmlip.models.quiet import quiet
from distmlip.models.sevennet.native import native_stages
from distmlip.models.sevennet.original import original_of
from distmlip.models.sevennet.stages import Layers, prepared_copy
from distmlip.models.sevennet.support import read_modal, read_model


def adapt(model: ModelLike, dtype: torch.dtype | None = None, **family_options: Any) -> SevenNetAdapter:
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
    with quiet():  # that there are accelerators, of which we use none
        return SevenNetCalculator("7net-0")


def named(name: str) -> SevenNetCalculator:
    """The model of this name (``7net-0``, if there is none), or in this file.

    Raises:
        InvalidInputError: the package knows neither.
    """
    try:
        with quiet():
            return SevenNetCalculator(name or "7net-0", device="cpu")
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInputError(f"sevennet:{name}: {error}") from error


class SevenNetAdapter(Adapter):
    """One SevenNet model; see :func:`adapt`."""

    family: ClassVar[str] = "SevenNet"

    def __init__(self, model: AtomGraphSequential, dtype: torch.dtype | None, modal: str | None) -> None:
        self.models = [model]
        self.dtype = chosen_dtype(dtype, next(model.parameters()).dtype, "SevenNet")
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

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Adapter`."""
        return native_stages(self.models[index], self.dtype, choice, self._modality)

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:
        """See :class:`Adapter`; ``num_edges`` counts directed edges, as the original does."""
        n_edges = evaluations[0].system["num_edges"]
        return {**super().results(atoms, evaluations), "num_edges": int(n_edges)}

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`."""
        return original_of(self.models[0], self._modal, dtype or self.dtype)
