"""MatterSim of the ``mattersim`` package: the adapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from ase.calculators.calculator import Calculator
from ase.units import GPa
from loguru import logger
from mattersim.forcefield.m3gnet.m3gnet import M3Gnet
from mattersim.forcefield.potential import MatterSimCalculator, Potential
from torch import nn

from distmlip.errors import InvalidInputError, UnsupportedModelError, reason_of, type_name
from distmlip.models.interface import Adapter, ModelLike, NativeChoice, Stage, with_derived
from distmlip.models.mattersim.native import NativeBlocks
from distmlip.models.mattersim.original import original_of
from distmlip.models.mattersim.stages import Blocks
from distmlip.models.options import chosen_dtype, refuse_unknown
from distmlip.models.replicate import replicate


def adapt(model: ModelLike, dtype: torch.dtype | None = None, **family_options: Any) -> MatterSimAdapter:
    """The adapter of a ``Potential`` of MatterSim, its ``M3Gnet``, or a ``MatterSimCalculator``.

    Raises:
        UnsupportedModelError: it is another model.
        InvalidInputError: an option; there are none.
    """
    refuse_unknown(family_options, [], "MatterSim")
    return MatterSimAdapter(_network_of(model), dtype)


def named(name: str) -> Potential:
    """The model in a checkpoint, or of the name ``mattersim-v1.0.0-1m`` or ``mattersim-v1.0.0-5m``, which the
    package downloads once.

    Raises:
        InvalidInputError: there is none.
    """
    logger.disable("mattersim")
    try:
        return Potential.from_checkpoint(name, device="cpu", load_training_state=False)
    except Exception as error:  # whatever comes of downloads and of files of other kinds
        raise InvalidInputError(
            f"mattersim:{name}: {reason_of(error)}; give a checkpoint's file, mattersim-v1.0.0-1m or -5m"
        ) from error
    finally:
        logger.enable("mattersim")


class MatterSimAdapter(Adapter):
    """One MatterSim model; see :func:`adapt`."""

    family: ClassVar[str] = "MatterSim"
    has_radial_tables = False

    def __init__(self, model: M3Gnet, dtype: torch.dtype | None) -> None:
        self.models = [model]
        self.dtype = chosen_dtype(dtype, next(model.parameters()).dtype, self.family)
        sizes = model.model_args
        self.cutoff = float(sizes["cutoff"])
        self.bond_cutoff = min(float(sizes["threebody_cutoff"]), self.cutoff)
        self.supported_numbers = frozenset(range(1, model.max_z + 1))

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one stage per block."""
        blocks = Blocks(module)
        return with_derived(blocks.derive, blocks.stages(), memoise=not recompute)

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Adapter`."""
        # Weights are folded in float64; those of a model in float32 are exact there.
        host = torch.device("cpu")
        exact, replica = (replicate(self.models[index], host, of) for of in (torch.float64, self.dtype))
        return NativeBlocks(exact, replica, self.dtype).stages()

    def portable(self, model: ModelLike) -> ModelLike:  # noqa: ARG002
        """See :class:`Adapter`; a ``Potential`` cannot be pickled, and a ``MatterSimCalculator`` comes back
        with another model, which it downloads."""
        return self.models[0]

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`."""
        return original_of(self.models[0], dtype or self.dtype)


def _network_of(model: Any) -> M3Gnet:
    if isinstance(model, MatterSimCalculator):
        if not math.isclose(model.stress_weight, GPa, rel_tol=1e-6):
            raise UnsupportedModelError(
                f"the MatterSimCalculator has stress_weight={model.stress_weight}, so that its stress is not "
                f"in eV/Ang^3; only stress_weight={GPa} (ase.units.GPa) can be distributed"
            )
        model = model.potential
    network = model.model if isinstance(model, Potential) else model
    if type(network) is not M3Gnet:
        raise UnsupportedModelError(
            f"{type_name(network)} cannot be distributed; supported are M3Gnet, a Potential with one, and "
            "MatterSimCalculator"
        )
    return network
