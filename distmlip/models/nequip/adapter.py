"""NequIP and Allegro of the packages ``nequip`` and ``nequip-allegro``: the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from ase.calculators.calculator import Calculator
from nequip.integrations.ase import NequIPCalculator
from torch import nn

from distmlip.errors import InvalidInputError, reason_of
from distmlip.models.interface import Adapter, ModelLike, NativeChoice, Stage, with_derived
from distmlip.models.kinds import kind_of
from distmlip.models.nequip.native import native_stages
from distmlip.models.nequip.original import original_of
from distmlip.models.nequip.stages import Layers, prepared_copy
from distmlip.models.nequip.support import (
    ALLEGRO,
    cutoff_of,
    energy_model,
    read_model,
    read_types,
    usual_e3nn,
)
from distmlip.models.options import chosen_dtype
from distmlip.models.quiet import quiet


def adapt(model: ModelLike, dtype: torch.dtype | None = None, **family_options: Any) -> NequIPAdapter:
    """The adapter of a ``GraphModel`` (NequIP or Allegro, eager) or of a ``NequIPCalculator`` of one.

    ``family_options``: ``chemical_species_to_atom_type_map``, as in ``NequIPCalculator``, whose own is the
    default.

    Raises:
        UnsupportedModelError: the model is compiled, or has a part that cannot be distributed.
        InvalidInputError: an option that NequIP does not have, or a map that does not fit the model.
    """
    network = read_model(model)
    is_allegro = any(kind_of(part) == ALLEGRO for part in energy_model(network).children())
    kind = AllegroAdapter if is_allegro else NequIPAdapter
    return kind(network, dtype, read_types(model, network, family_options))


def named(name: str) -> NequIPCalculator:
    """The model in this checkpoint (.ckpt) or package (.nequip.zip). Loading one runs code that is in it.

    Raises:
        InvalidInputError: there is none.
    """
    default = torch.get_default_dtype()
    try:
        with quiet(), usual_e3nn():
            return NequIPCalculator._from_saved_model(name, device="cpu")
    except Exception as error:  # whatever the package raises for files of other kinds
        torch.set_default_dtype(default)  # nequip sets it before it reads
        raise InvalidInputError(
            f"nequip:{name}: {reason_of(error)}; give a checkpoint or a package of nequip"
        ) from error


class NequIPAdapter(Adapter):
    """One NequIP model; see :func:`adapt`."""

    family: ClassVar[str] = "NequIP"

    def __init__(self, model: Any, dtype: torch.dtype | None, types: dict[int, int]) -> None:
        self.models = [model]
        self.dtype = chosen_dtype(dtype, model.model_dtype, self.family)
        self.cutoff = cutoff_of(model)
        self.supported_numbers = frozenset(types)
        self._types = types

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`."""
        return prepared_copy(self.models[index], device, self.dtype)

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one stage per convolution of NequIP, one in all of Allegro."""
        layers = Layers(module, self._types)
        return with_derived(layers.derive, layers.stages(), memoise=not recompute)

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Adapter`."""
        return native_stages(self.models[index], self.dtype, choice, self._types)

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`."""
        return original_of(self.models[0], self._types, dtype or self.dtype)


class AllegroAdapter(NequIPAdapter):
    """One Allegro model; see :func:`adapt`."""

    family: ClassVar[str] = "Allegro"

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; there are none."""
        return Adapter.native_stages(self, index, choice, recompute)
