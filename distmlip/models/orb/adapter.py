"""Orb of the ``orb-models`` package: the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.stress import full_3x3_to_voigt_6_stress
from orb_models.forcefield.atomic_system import SystemConfig
from orb_models.forcefield.forcefield_heads import ForceHead, GraphHead
from orb_models.forcefield.forcefield_utils import maybe_remove_net_force_and_torque
from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS
from torch import Tensor, nn

from distmlip.cell import volume_of
from distmlip.errors import InvalidInputError, reason_of
from distmlip.models.interface import PROPERTIES, Adapter, Evaluation, ModelLike, Results, Stage, with_derived
from distmlip.models.options import chosen_dtype, refuse_unknown
from distmlip.models.orb.original import original_of
from distmlip.models.orb.plain import plain_copy
from distmlip.models.orb.stages import Layers
from distmlip.models.orb.support import N_TYPES, Potential, Regressor, read_potential
from distmlip.models.quiet import Advice


def adapt(
    model: ModelLike,
    dtype: torch.dtype | None = None,
    *,
    system_config: SystemConfig | None = None,
    max_num_neighbors: int | None = None,
    **unknown: Any,
) -> OrbAdapter:
    """The adapter of a ``ConservativeForcefieldRegressor``, a ``DirectForcefieldRegressor`` or an
    ``ORBCalculator``.

    ``system_config`` and ``max_num_neighbors`` say which edges the graph has, as in ``ORBCalculator``; the
    default is what the model or the calculator says.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that Orb does not have, or nobody says which edges the graph has.
    """
    refuse_unknown(unknown, ["system_config", "max_num_neighbors"], "Orb")
    return OrbAdapter(read_potential(model, system_config, max_num_neighbors), dtype)


def named(name: str) -> Regressor:
    """The pretrained model of this name, such as ``orb-v3-conservative-inf-omat``; behind a colon the file of
    its weights, without which the package downloads them once.

    Raises:
        InvalidInputError: there is no such name, or its weights cannot be had.
    """
    kind, colon, path = name.partition(":")
    # Models that are no longer to be had take no options.
    known = [of for of, load in ORB_PRETRAINED_MODELS.items() if "compile" in signature(load).parameters]
    if kind not in known:
        raise InvalidInputError(f"orb:{name}: there are {', '.join(known)}")
    if colon and not path:
        raise InvalidInputError(f"orb:{name}: there is no file behind the colon; give orb:{kind}:FILE")
    weights = {"weights_path": path} if path else {}
    before = torch.get_default_dtype(), torch.get_float32_matmul_precision()
    try:
        return ORB_PRETRAINED_MODELS[kind](
            **weights, device="cpu", compile=False, precision="float32-highest"
        )
    except Exception as error:  # whatever comes of downloads and of files of other kinds
        raise InvalidInputError(
            f"orb:{name}: {reason_of(error)}; give a file of its weights as orb:{kind}:FILE"
        ) from error
    finally:
        torch.set_default_dtype(before[0])
        torch.set_float32_matmul_precision(before[1])


class OrbAdapter(Adapter):
    """One Orb model; see :func:`adapt`."""

    family: ClassVar[str] = "Orb"
    supported_numbers = frozenset(range(1, N_TYPES))

    def __init__(self, potential: Potential, dtype: torch.dtype | None) -> None:
        model = potential.model
        self.models = [model]
        self.dtype = chosen_dtype(dtype, next(model.parameters()).dtype, self.family)
        self.cutoff = potential.cutoff
        self.conservative = potential.is_conservative
        names = [name for name in PROPERTIES if self.conservative or name not in ("stress", "stresses")]
        if self.conservative:
            names += [f"direct_{name}" for name in ("forces", "stress") if name in model.heads]
        elif "stress" in model.heads:
            names.append("stress")
        if "confidence" in model.heads:
            names.append("confidence")
        self.implemented_properties = tuple(names)
        self._potential = potential
        self._advice = Advice()

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`."""
        return plain_copy(self.models[index], device, self.dtype)

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; two stages per layer, before and behind its halo's fold."""
        layers = Layers(module, self._potential.max_neighbors, self.conservative, self._warn_of_ties)
        return with_derived(layers.derive, layers.stages(), memoise=not recompute)

    def _warn_of_ties(self) -> None:
        self._advice.give(
            f"the model's graph has the nearest {self._potential.max_neighbors} neighbours of each atom, and "
            "some atoms have equally distant ones at that limit: which of them count is not defined, and "
            "Orb's own calculator may take others; max_num_neighbors changes the limit"
        )

    def system(self, atoms: Atoms) -> dict[str, Tensor]:
        """See :class:`Adapter`; the number of atoms, and where the model reads them charge and spin, which
        ``atoms.info`` must have."""
        system = {"n_atoms": torch.tensor(float(len(atoms)), dtype=torch.float64)}
        if self._potential.reads_charge_and_spin:
            for name in ("charge", "spin"):
                value = atoms.info.get(name)
                is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
                if not is_number or not np.isfinite(value):
                    raise InvalidInputError(
                        f"atoms.info[{name!r}] is {value!r}; the model reads the charge and the spin of the "
                        "system, as numbers: atoms.info.update(charge=0, spin=1)"
                    )
                system[name] = torch.tensor([float(value)], dtype=self.dtype)
        return system

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:
        """See :class:`Adapter`; ``confidence`` is (n_atoms, n_bins), the probability that the error of a
        force is in each bin; ``direct_forces`` and ``direct_stress`` are of heads, beside derivatives."""
        (evaluation,) = evaluations
        results = super().results(atoms, evaluations)
        heads = self._potential.model.heads
        prefix = "direct_" if self.conservative else ""
        if "forces" in heads:
            forces = _forces(heads["forces"], atoms, evaluation.atoms["forces"])
            results[f"{prefix}forces"] = forces + evaluation.atoms.get("repulsion_forces", 0.0)
        if "stress" in heads and volume_of(atoms) > 0:
            repulsion = -evaluation.system.get("repulsion_virial", np.zeros((3, 3))) / volume_of(atoms)
            stress = _stress(heads["stress"], evaluation.system["stress"])
            results[f"{prefix}stress"] = stress + full_3x3_to_voigt_6_stress(repulsion)
        if "confidence" in heads:
            logits = torch.from_numpy(evaluation.atoms["confidence"])
            results["confidence"] = torch.softmax(logits, dim=-1).numpy()
        return results

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`."""
        return original_of(self._potential, dtype or self.dtype)


def _forces(head: ForceHead, atoms: Atoms, predicted: np.ndarray) -> np.ndarray:
    """(n_atoms, 3) in eV/Å from what the head's network gives: without a net force (and torque)."""
    batch = SimpleNamespace(
        n_node=torch.tensor([len(atoms)]),
        positions=torch.from_numpy(atoms.positions),
        system_features={"cell": torch.from_numpy(atoms.cell.array)[None]},
    )
    without = maybe_remove_net_force_and_torque(
        batch, torch.from_numpy(predicted).double(), head.remove_mean, head.remove_torque_for_nonpbc_systems
    )
    return _in_units(head.normalizer, without.numpy())


def _stress(head: nn.Module, predicted: np.ndarray) -> np.ndarray:
    """Voigt-6 in eV/Å^3 from what the head's network gives."""
    if isinstance(head, GraphHead):
        return _in_units(head.normalizer, predicted)
    diagonal = _in_units(head.diag_normalizer, predicted[:3])
    return np.concatenate([diagonal, _in_units(head.offdiag_normalizer, predicted[3:])])


def _in_units(normalizer: Any, values: np.ndarray) -> np.ndarray:
    """What the network gives with its normalizer undone."""
    buffers = (normalizer.bn.running_mean, normalizer.bn.running_var)
    mean, variance = (buffer.double().cpu().numpy().ravel() for buffer in buffers)
    found: np.ndarray = values * np.sqrt(variance) + mean
    return found
