"""CHGNet of the ``chgnet`` package: the adapter."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from chgnet.model import CHGNet
from chgnet.model.composition_model import AtomRef
from chgnet.model.dynamics import CHGNetCalculator
from torch import Tensor, nn

from distmlip.errors import InvalidInputError, UnsupportedModelError, type_name
from distmlip.models.chgnet.native import NativeBlocks
from distmlip.models.chgnet.original import EV_PER_CUBIC_ANGSTROM_IN_GPA, original_of
from distmlip.models.chgnet.projection import project_before_gathering
from distmlip.models.chgnet.stages import Blocks
from distmlip.models.interface import PROPERTIES, Adapter, Evaluation, ModelLike, Results, Stage, with_derived
from distmlip.models.native import NativeChoice
from distmlip.models.options import chosen_dtype, refuse_unknown
from distmlip.models.quiet import Advice
from distmlip.models.replicate import replicate

IsolatedAtoms = Literal["ignore", "warn", "error"]


def adapt(
    model: ModelLike,
    dtype: torch.dtype | None = None,
    *,
    on_isolated_atoms: IsolatedAtoms | None = None,
    **unknown: Any,
) -> CHGNetAdapter:
    """The adapter of a ``CHGNet`` or a ``CHGNetCalculator``.

    ``on_isolated_atoms`` says what to do about atoms without a neighbour within the cutoff: ``"ignore"``,
    ``"warn"`` (in the log) or ``"error"``. Default: what the calculator does; for a model ``"warn"``.

    Raises:
        UnsupportedModelError: the model has a part that cannot be distributed.
        InvalidInputError: an option that CHGNet does not have, or a value out of its range.
    """
    refuse_unknown(unknown, ["on_isolated_atoms"], "CHGNet")
    if isinstance(model, CHGNetCalculator):
        network = model.model
        on_isolated_atoms = on_isolated_atoms or network.graph_converter.on_isolated_atoms
        if abs(model.stress_weight * EV_PER_CUBIC_ANGSTROM_IN_GPA - 1) > 1e-3:
            raise InvalidInputError(
                f"stress_weight={model.stress_weight} of the CHGNetCalculator is not ASE's unit eV/Ang^3, "
                f"which is {1 / EV_PER_CUBIC_ANGSTROM_IN_GPA:.6f}; leave it at that, and convert the results"
            )
    elif isinstance(model, CHGNet):
        network = model
    else:
        raise UnsupportedModelError(
            f"{type(model).__name__} of chgnet is not a potential: give a CHGNet model"
        )
    return CHGNetAdapter(network, dtype, on_isolated_atoms or "warn")


def pretrained() -> CHGNetCalculator:
    """CHGNet's own calculator with the newest weights that its package ships, 0.3.0."""
    return CHGNetCalculator(CHGNet.load(model_name="0.3.0", verbose=False))


def named(name: str) -> CHGNet:
    """The model of this name among the weights that the package ships: ``0.3.0`` (the usual one), ``r2scan``.

    Raises:
        InvalidInputError: there is none.
    """
    try:
        return CHGNet.load(model_name=name or "0.3.0", use_device="cpu", verbose=False)
    except ValueError as error:
        raise InvalidInputError(f"chgnet:{name}: {error}") from error


class CHGNetAdapter(Adapter):
    """One CHGNet; see :func:`adapt`."""

    family: ClassVar[str] = "CHGNet"
    has_radial_tables = False  # bases are sines, which cost nothing beside the rest

    def __init__(self, model: CHGNet, dtype: torch.dtype | None, on_isolated_atoms: IsolatedAtoms) -> None:
        _require_supported(model)
        if on_isolated_atoms not in ("ignore", "warn", "error"):
            raise InvalidInputError(
                f"on_isolated_atoms={on_isolated_atoms!r} is not one of 'ignore', 'warn', 'error'"
            )
        self.models = [model]
        self.dtype = chosen_dtype(dtype, next(model.parameters()).dtype, "CHGNet")
        self.cutoff = float(model.graph_converter.atom_graph_cutoff)
        self.bond_cutoff = float(model.graph_converter.bond_graph_cutoff)
        self.supported_numbers = frozenset(range(1, model.atom_embedding.embedding.num_embeddings + 1))
        magmoms = ("magmoms",) if model.n_conv > 1 else ()
        self.implemented_properties = (*PROPERTIES, *magmoms)
        self._on_isolated_atoms = on_isolated_atoms
        self._advice = Advice()

    def replicate(self, index: int, device: torch.device) -> nn.Module:
        """See :class:`Adapter`."""
        replica = replicate(self.models[index], device, self.dtype)
        project_before_gathering(replica)
        return replica

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one stage per block of the model."""
        blocks = Blocks(module)
        stages = [blocks.stage(k) for k in range(blocks.last + 1)]
        return with_derived(blocks.derive, stages, memoise=not recompute)

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:  # noqa: ARG002
        """See :class:`Adapter`."""
        replica = self.replicate(index, torch.device("cpu"))
        model = copy.deepcopy(self.models[index]).cpu().double().requires_grad_(False)
        return NativeBlocks(model, replica, self.dtype).stages(memoise=not recompute)

    def results(self, atoms: Atoms, evaluations: Sequence[Evaluation]) -> Results:
        """See :class:`Adapter`; ``magmoms`` in μB, ``crystal_fea`` as the original gives it."""
        (evaluation,) = evaluations
        self._check_isolated_atoms(int(evaluation.system["isolated_atoms"]))
        model = self.models[0]
        reference = _reference_energies(model, atoms.numbers).detach().cpu().numpy()
        scale = _reference_scale(model, round(len(atoms) / evaluation.share))
        energy = float(evaluation.atoms["energy"].sum() + scale * reference.sum())
        results: Results = {
            "energy": energy,
            "free_energy": energy,
            "energies": evaluation.atoms["energy"] + reference,
            "forces": evaluation.forces,
            "crystal_fea": evaluation.system["crystal_fea"],
        }
        if "magmoms" in evaluation.atoms:
            results["magmoms"] = evaluation.atoms["magmoms"]
        return results

    def total_energy(self, atoms: Atoms, sums: Mapping[str, Tensor]) -> Tensor:
        """See :class:`Adapter`."""
        self._check_isolated_atoms(int(sums["isolated_atoms"]))
        references = _reference_energies(self.models[0], atoms.numbers).sum()
        return sums["energy"] + _reference_scale(self.models[0], len(atoms)) * references.to(
            sums["energy"].device
        )

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        """See :class:`Adapter`; it gives ``energies`` too, and its stress is 3 x 3 as ever."""
        return original_of(self.models[0], dtype or self.dtype)

    def _check_isolated_atoms(self, count: int) -> None:
        if count == 0 or self._on_isolated_atoms == "ignore":
            return
        message = (
            f"{count} atoms have no neighbour within the cutoff of {self.cutoff} Ang; CHGNet was not made "
            "for that; on_isolated_atoms='ignore' accepts them"
        )
        if self._on_isolated_atoms == "error":
            raise InvalidInputError(message)
        self._advice.give(message)


def _require_supported(model: CHGNet) -> None:
    kind = type(model)
    if kind.forward is not CHGNet.forward or kind._compute is not CHGNet._compute:
        raise UnsupportedModelError(
            f"{type_name(model)} has a forward of its own, which cannot be cut into "
            "stages; only CHGNet's own can"
        )
    if not model.mlp_first:
        raise UnsupportedModelError(
            "CHGNet with mlp_first=False: its energy is not a sum over atoms, so it cannot be distributed; "
            "only models with mlp_first=True can"
        )
    if not isinstance(model.composition_model, AtomRef | None):
        raise UnsupportedModelError(
            f"CHGNet with a composition model of type {type(model.composition_model).__name__}: "
            "only AtomRef (such as 'MPtrj') or None can be distributed"
        )


def _reference_energies(model: CHGNet, numbers: np.ndarray) -> Tensor:
    """(n_atoms,) float64: each atom's share of the composition model, in eV."""
    if model.composition_model is None:
        return torch.zeros(len(numbers), dtype=torch.float64)
    weights: Tensor = model.composition_model.fc.weight[0].double()
    return weights[torch.from_numpy(numbers - 1).to(weights.device)]


def _reference_scale(model: CHGNet, n_atoms: int) -> float:
    """What the original multiplies the composition energy with: not 1 if only one of the two is intensive."""
    if model.composition_model is None:
        return 1.0
    return (n_atoms if model.is_intensive else 1) / (n_atoms if model.composition_model.is_intensive else 1)
