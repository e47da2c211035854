"""Model families: one folder each, imported only when a model of that family is given."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from distmlip.errors import InvalidInputError, UnsupportedModelError, type_name
from distmlip.models.interface import Adapter, ModelLike
from distmlip.models.kinds import unpackaged
from distmlip.models.mixtures import refuse_mixture
from distmlip.models.quiet import quiet


@dataclass(frozen=True)
class Family:
    """Where a family's models come from, and with which versions of their package they were tested."""

    folder: str
    """Of :mod:`distmlip.models`."""
    distribution: str
    """What pip calls the package."""
    lowest: str
    newest: str
    extra: str
    """Of ``pip install distmlip[extra]``."""
    packages: tuple[str, ...]
    """That only the folder may import."""
    files_run_code: bool = False
    """Whether its model files are pickles."""

    def adapter_module(self) -> ModuleType:
        """Where the family's ``adapt`` is; imports the family's package."""
        return importlib.import_module(f"{__name__}.{self.folder}.adapter")


FAMILIES = {
    "chgnet": Family("chgnet", "chgnet", "0.4.0", "0.4.2", "chgnet", ("chgnet", "pymatgen")),
    "fairchem": Family("fairchem", "fairchem-core", "2.24.0", "2.24.0", "esen", ("fairchem",), True),
    "mace": Family("mace", "mace-torch", "0.3.16", "0.3.16", "mace", ("mace", "e3nn"), True),
    "matgl": Family("matgl", "matgl", "4.1.1", "4.1.2", "matgl", ("matgl", "torch_geometric")),
    "mattersim": Family("mattersim", "mattersim", "1.2.3", "1.2.3", "mattersim", ("mattersim",)),
    "nequip": Family("nequip", "nequip", "0.19.0", "0.19.1", "nequip", ("nequip", "allegro"), True),
    "orb_models": Family("orb", "orb-models", "0.5.5", "0.5.5", "orb", ("orb_models",)),
    "sevenn": Family("sevennet", "sevenn", "0.12.0", "0.13.0", "sevennet", ("sevenn",), True),
}
"""By the top-level package that a model's class (or one of its bases) comes from."""


def adapter_for(model: ModelLike | Adapter, dtype: torch.dtype | None, **family_options: Any) -> Adapter:
    """The adapter of a model object, a list of them (a committee), or that family's own ASE calculator.

    An adapter is taken as it is: so models of other packages can be distributed (docs/new_model.md).

    Raises:
        UnsupportedModelError: no adapter knows the type, or the model has a part that cannot be distributed.
        InvalidInputError: an option that the family does not have.
    """
    if isinstance(model, Adapter):
        return _as_it_is(model, dtype, family_options)
    for member in model if isinstance(model, list | tuple) else [model]:
        _refuse_compiled(member)
        refuse_mixture(member, _is_supported)
    for kind in type(_first(model)).__mro__:
        package = unpackaged(kind.__module__).partition(".")[0]
        family = FAMILIES.get(package)
        if family is not None:
            with quiet():  # parts of the family's package may be imported first here
                module = family.adapter_module()
            adapter: Adapter = module.adapt(model, dtype, **family_options)
            return adapter
    raise UnsupportedModelError(
        f"a model of type {type_name(_first(model))} is not supported; supported are model objects and "
        f"calculators of the packages {', '.join(sorted(FAMILIES))}, and adapters (docs/new_model.md)"
    )


def _is_supported(model: ModelLike) -> bool:
    try:
        adapter_for(model, None)
    except UnsupportedModelError:
        return False
    except InvalidInputError:  # it needs an option
        return True
    return True


def _as_it_is(adapter: Adapter, dtype: torch.dtype | None, options: Collection[str]) -> Adapter:
    if options:
        raise InvalidInputError(f"options {sorted(options)} are unknown; give them to the adapter itself")
    if dtype not in (None, adapter.dtype):
        raise InvalidInputError(
            f"dtype={dtype}, but the adapter evaluates in {adapter.dtype}; make it with that"
        )
    return adapter


def _first(model: ModelLike) -> ModelLike:
    return model[0] if isinstance(model, list | tuple) and model else model


def _refuse_compiled(model: ModelLike) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "the model is compiled with TorchScript and cannot be cut into stages; give the model object "
            "that it was compiled from (of MACE the .model file, not the compiled or LAMMPS one)"
        )
    if hasattr(model, "_orig_mod"):
        raise UnsupportedModelError(
            "the model is compiled with torch.compile and cannot be cut into stages; give the model that it "
            "was compiled from (its _orig_mod)"
        )
