"""Which MACE models can be distributed, and the options that a ``MACECalculator`` carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from mace.modules import (
    MACE,
    EquivariantProductBasisBlock,
    LinearReadoutBlock,
    NonLinearBiasReadoutBlock,
    NonLinearReadoutBlock,
    ScaleShiftMACE,
    interaction_classes,
)

from distmlip.errors import InvalidInputError, UnsupportedModelError, type_name
from distmlip.models.interface import ModelLike
from distmlip.models.mace import MACECalculator
from distmlip.models.options import refuse_unknown

PARTS: dict[str, tuple[type, ...]] = {
    "interactions": tuple(interaction_classes.values()),
    "products": (EquivariantProductBasisBlock,),
    "readouts": (LinearReadoutBlock, NonLinearReadoutBlock, NonLinearBiasReadoutBlock),
}


@dataclass(frozen=True)
class Options:
    """What decides about results besides the model; the defaults are those of ``MACECalculator``."""

    head: str | None = None
    """Which head of a multi-head model; None: the only one, or the one called "default"."""
    info_keys: Mapping[str, str] = field(
        default_factory=lambda: {"total_spin": "spin", "total_charge": "charge"}
    )
    """Name of an embedded quantity of the system -> key in ``atoms.info``."""
    arrays_keys: Mapping[str, str] = field(default_factory=dict)
    """Name of an embedded quantity of every atom -> key in ``atoms.arrays``."""
    energy_units_to_eV: float = 1.0  # noqa: N815 -- MACECalculator's name
    compute_atomic_stresses: bool = False
    """Whether results have ``virials`` (n_atoms, 3, 3)."""


def read_options(model: ModelLike, given: Mapping[str, Any]) -> Options:
    """Options of a ``MACECalculator`` or the defaults, changed by those that the user gave."""
    refuse_unknown(given, [option.name for option in fields(Options)], "MACE")
    return replace(_calculator_options(model) if isinstance(model, MACECalculator) else Options(), **given)


def _calculator_options(calculator: MACECalculator) -> Options:
    if calculator.model_type != "MACE":
        raise UnsupportedModelError(
            f"model_type={calculator.model_type!r} of the MACECalculator computes dipoles, polarizabilities "
            "or long-range electrostatics, which cannot be distributed; only model_type='MACE' can"
        )
    if calculator.use_compile:
        raise UnsupportedModelError(
            "the MACECalculator's models are compiled with torch.compile and cannot be cut into stages; make "
            "it without compile_mode"
        )
    if calculator.length_units_to_A != 1.0:
        raise UnsupportedModelError(
            f"length_units_to_A={calculator.length_units_to_A} of the MACECalculator rescales forces but not "
            "positions, so that no cutoff in Ang exists; convert the model, or leave it at 1"
        )
    return Options(
        head=_head_of(calculator),
        info_keys=dict(calculator.info_keys),
        arrays_keys=dict(calculator.arrays_keys),
        energy_units_to_eV=float(calculator.energy_units_to_eV),
        compute_atomic_stresses=bool(calculator.compute_atomic_stresses),
    )


def _head_of(calculator: MACECalculator) -> str:
    """A name that the model does not have stands for the last head, as in MACE's ``AtomicData``."""
    heads = calculator.available_heads
    return str(calculator.head if calculator.head in heads else heads[-1])


def read_models(model: ModelLike) -> list[MACE]:
    """The members of a committee, or one model.

    Raises:
        UnsupportedModelError: a model has a part that cannot be distributed.
        InvalidInputError: the members differ in what a committee must share.
    """
    if isinstance(model, MACECalculator):
        models = list(model.models)
    else:
        models = list(model) if isinstance(model, list | tuple) else [model]
    for member in models:
        require_supported(member)
    first = models[0]
    for member in models[1:]:
        for name in ("r_max", "atomic_numbers"):
            ours, theirs = getattr(first, name).tolist(), getattr(member, name).tolist()
            if ours != theirs:
                raise InvalidInputError(
                    f"committee members must have the same {name}, but these have {ours} and {theirs}"
                )
        if own_dtype(member) != own_dtype(first):
            raise InvalidInputError(
                f"committee members must have the same dtype, but these are {own_dtype(first)} and "
                f"{own_dtype(member)}; convert one with .float() or .double()"
            )
    return models


def require_supported(model: MACE) -> None:
    """Refuse a model whose energy is not what the stages compute, naming the part."""
    if getattr(type(model), "forward", None) not in (MACE.forward, ScaleShiftMACE.forward):
        raise UnsupportedModelError(
            f"{type_name(model)} computes more than an energy of edges (dipoles, polarizabilities, "
            "electrostatics, ...) or wraps another model; only MACE and ScaleShiftMACE can be distributed"
        )
    for part, supported in PARTS.items():
        for position, block in enumerate(getattr(model, part)):
            if not isinstance(block, supported):
                raise UnsupportedModelError(
                    f"{part}.{position} of the model is a {type(block).__qualname__}, which cannot be "
                    f"distributed; supported are {', '.join(cls.__qualname__ for cls in supported)}"
                )


def head_index(model: MACE, name: str | None) -> int:
    """Position of a head, chosen as ``MACECalculator`` does."""
    heads: Sequence[str] = getattr(model, "heads", ["Default"])
    if name is None:
        name = heads[0] if len(heads) == 1 else next((h for h in heads if h.lower() == "default"), None)
    if name not in heads:
        known = ", ".join(map(repr, heads))
        raise InvalidInputError(f"head={name!r}; the model has the heads {known}: give one of them")
    return heads.index(name)


def own_dtype(model: MACE) -> torch.dtype:
    """The dtype of the model's weights."""
    dtype: torch.dtype = next(model.parameters()).dtype
    return dtype


SYSTEM_DEFAULTS = {"total_charge": 0.0, "total_spin": 1.0, "elec_temp": 0.0, "fermi_level": 0.0}
"""What MACE assumes where ``atoms.info`` says nothing."""


def system_value(name: str, info_keys: Mapping[str, str], info: Mapping[str, Any]) -> float:
    """The number of the system that a model embeds under this name.

    Raises:
        InvalidInputError: there is none, or it is not one number.
    """
    key = info_keys.get(name)
    value = info.get(key) if key is not None else None
    if value is None:
        value = SYSTEM_DEFAULTS.get(name)
    if value is None:
        raise InvalidInputError(
            f"the model embeds {name!r} of the system, which is not there: set atoms.info[{key or name!r}]"
            + ("" if key else f" and give info_keys={{{name!r}: {name!r}}}")
        )
    array = np.asarray(value)
    if array.size != 1 or not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
        raise InvalidInputError(f"atoms.info[{key!r}]={value!r}; {name!r} must be one finite number")
    return float(array.reshape(()))


def atom_values(name: str, arrays_keys: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """(n_atoms, width): what a model embeds of every atom under this name.

    Raises:
        InvalidInputError: there is no such array, or it has values that are not finite numbers.
    """
    key = arrays_keys.get(name)
    if key is None or key not in arrays:
        raise InvalidInputError(
            f"the model embeds {name!r} of every atom, which is not there: set atoms.arrays[{key or name!r}]"
            + ("" if key else f" and give arrays_keys={{{name!r}: {name!r}}}")
        )
    values = np.asarray(arrays[key])
    if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
        raise InvalidInputError(f"atoms.arrays[{key!r}] must be finite numbers to be embedded as {name!r}")
    return values.reshape(len(values), -1)
