"""The ASE calculator: any supported model object over many partitions and devices."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import all_changes
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from distmlip.choice.automatic import Automatic
from distmlip.errors import InvalidInputError
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.results import results_of
from distmlip.evaluation.settings import Settings
from distmlip.inputs import (
    check_atoms,
    checked_choice,
    checked_dtype,
    checked_steps,
    checked_weights,
    words_for_missing,
)
from distmlip.kept_results import KeepsResults
from distmlip.machine.devices import DeviceLike
from distmlip.models import adapter_for
from distmlip.models.quiet import quiet
from distmlip.ranks.driver import Sharing, Task
from distmlip.ranks.group import ranks_of_this_run
from distmlip.records.plan import Plan
from distmlip.records.profile import Profile
from distmlip.records.verification import Verification, compare
from distmlip.torch_modes import usual_modes

PER_ATOM_TENSORS = frozenset({"stresses", "virials"})


class DistCalculator(KeepsResults):
    """Energies, forces and stresses of a machine-learning potential, computed over partitions.

    The system is cut into partitions; each computes only the atoms, edges and angles that it owns, and
    fetches the features of remote atoms before every message-passing layer. Results are the original's.

    Args:
        model: a model object, a list of them (a committee), or the family's own ASE calculator. It is not
            changed; after changing its weights make a new calculator.
        devices: ``"auto"`` (every accelerator that torch sees, else the CPU), a device, or a list of devices.
        partitions: how many, from 1 to a million; more than devices or atoms is fine. ``"auto"``: one per
            GPU, more if they do not fit into its memory; on a CPU as many as make partitions small enough for
            the caches. What the model needs is measured once and remembered (see :meth:`plan`).
        method: how to cut: ``"slab"`` (parallel slabs), ``"bisection"`` (recursive) or ``"auto"``.
        weights: (n_atoms,) cost of each atom, to balance partitions; default: its number of edges.
        recompute: compute the inside of each stage again in the backward sweep instead of keeping it: much
            less memory for up to one more forward. ``"auto"``: where the memory is needed, and on a CPU, with
            partitions that are chosen too, also where it costs little. ``"host"``: as True, and what stages
            on a GPU were given waits in host memory (slower; for the largest systems).
        skin: Å; the neighbour list is kept until atoms can have come nearer by that. It changes no result.
        dtype: ``torch.float32`` or ``torch.float64`` (or their names); None: the model's own.
        kernels: what evaluates the inside of stages: ``"original"``, the model's own modules; ``"fused"``,
            native stages of the core, for CPUs; ``"auto"``: these where they know the model and agree with
            the original on small clusters, which is looked at once for each set of elements.
        radial: how native stages evaluate radial functions: ``"exact"``, ``"table"`` (piecewise polynomials)
            or ``"auto"``: tables where they are as exact as the dtype.
        ranks: ``"auto"``: the processes that torchrun started share the partitions, each with one device;
            ``False``: this process has all of them. See docs/ranks.md.
        **family_options: options of the model family, such as ``head`` for MACE.

    Raises:
        UnsupportedModelError: the model, or a named part of it, cannot be distributed; with
            ``kernels="fused"``, at a calculation: NotNativeError for what native stages do not know.
        InvalidInputError: an argument is out of its range.
        DeviceError: a device does not exist, or does not have the dtype.
    """

    name = "distmlip"

    @usual_modes()
    def __init__(
        self,
        model: Any,
        *,
        devices: DeviceLike | Sequence[DeviceLike] = "auto",
        partitions: int | str = "auto",
        method: str = "auto",
        weights: ArrayLike | None = None,
        recompute: bool | str = "auto",
        skin: float = 0.5,
        dtype: torch.dtype | str | None = None,
        kernels: str = "auto",
        radial: str = "auto",
        ranks: bool | str = "auto",
        **family_options: Any,
    ) -> None:
        of_atoms = checked_weights(weights)
        options = {
            "devices": devices,
            "partitions": partitions,
            "method": method,
            "weights": of_atoms,  # by value, for copies of the calculator
            "recompute": recompute,
            "skin": skin,
            "dtype": dtype,
            "kernels": kernels,
            "radial": radial,
            "ranks": ranks,
        }
        super().__init__(model, **options, **family_options)
        self._pid = os.getpid()
        self._lock = threading.RLock()  # threads that share the calculator take turns
        group = ranks_of_this_run() if checked_choice("ranks", ranks, ("auto", False)) else None
        settings = Settings.checked(
            group,
            devices=devices,
            partitions=partitions,
            method=method,
            weights=of_atoms,
            recompute=recompute,
            skin=skin,
            kernels=kernels,
            radial=radial,
        )
        self._adapter = adapter_for(model, checked_dtype(dtype), **family_options)
        if self._adapter.dtype == torch.float64:
            settings.devices.require_float64("the model computes in", "dtype='float32' or devices='cpu'")
        self._evaluator = Evaluator(self._adapter, settings)
        self._automatic = Automatic(self._evaluator, recompute_is_open=recompute == "auto")
        self._arguments = (self._adapter.portable(model), self._arguments[1])
        self._sharing = Sharing(self, group, self._adapter, self._arguments)
        self.implemented_properties = list(self._adapter.implemented_properties)
        # What ASE writes into trajectories: plain values, never the model.
        self.parameters.update(
            family=self._adapter.family,
            devices=[str(device) for device in settings.devices.devices],
            partitions=settings.partitions or "auto",
            method=method,
            recompute=recompute,
            skin=settings.skin,
            dtype=str(self._adapter.dtype).removeprefix("torch."),
            kernels=kernels,
            radial=radial,
        )

    @usual_modes()
    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute properties of the atoms (ASE's contract); they are kept in ``results`` and ``extras``.

        All of them, but for those with a tensor per atom (``stresses``), which are there only if they are
        asked for, or if ``properties`` is not given.
        """
        target = atoms if atoms is not None else self.atoms
        if target is None:
            raise InvalidInputError(
                "there are no atoms to calculate; give atoms, or set atoms.calc = calculator"
            )
        with self._turn(), self._sharing.work:
            self.results = {}
            with_virials = properties is None or not PER_ATOM_TENSORS.isdisjoint(properties)
            shared = self._sharing.share(target, Task.EVALUATE, with_virials)
            system = self._check_atoms(shared)
            super().calculate(target, list(properties or self.implemented_properties), system_changes)
            self._keep(system, self._results(shared, with_virials, system))

    @usual_modes()
    def evaluate_shared(self, atoms: Atoms, with_virials: bool) -> dict[str, Any]:
        """The results for atoms that all ranks have; all of them call this. Keeps nothing."""
        return self._results(atoms, with_virials, self._check_atoms(atoms))

    @usual_modes()
    def plan_shared(self, atoms: Atoms) -> Plan:
        """The plan for atoms that all ranks have; all of them call this."""
        self._check_atoms(atoms)
        return self._automatic.plan(atoms)

    @usual_modes()
    def profile_shared(self, atoms: Atoms, steps: int) -> Profile:
        """The profile for atoms that all ranks have; all of them call this."""
        self._check_atoms(atoms)
        return self._automatic.profile(atoms, steps)

    @usual_modes()
    def plan(self, atoms: Atoms | None = None) -> Plan:
        """How these atoms (default: the last ones) are distributed and why, and the memory that takes.

        Evaluates nothing of these atoms, but small clusters of them, if native stages have not been compared
        with the original, or the model not been measured on this device before.
        """
        target = self._given(atoms, "plan")
        with self._turn(), self._sharing.work:
            return self.plan_shared(self._sharing.share(target, Task.PLAN))

    @usual_modes()
    def profile(self, atoms: Atoms | None = None, steps: int = 3) -> Profile:
        """Where the time of a step goes for these atoms (default: the last ones), measured.

        Evaluates them ``steps`` times after a few rounds to warm up. On GPUs every piece of work is waited
        for, so that a step takes longer than otherwise.
        """
        target, steps = self._given(atoms, "profile"), checked_steps(steps)
        with self._turn(), self._sharing.work:
            return self.profile_shared(self._sharing.share(target, Task.PROFILE, steps), steps)

    @usual_modes()
    def verify(self, atoms: Atoms) -> Verification:
        """Compare with the undivided original: the family's own calculator on a copy of the model.

        Needs the original's memory and time for this structure.
        """
        with self._turn(), self._sharing.work:
            original = self._sharing.share(atoms, Task.EVALUATE, False).copy()
            ours = self.evaluate_shared(original, with_virials=False)
        try:
            with quiet():
                original.calc = self._adapter.original()
                forces = original.get_forces()
        except Exception as error:
            error.add_note("raised by the original calculator, which verify() compares with")
            raise
        return compare(ours, {**original.calc.results, "forces": forces})

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Rows that each stage computed in the last call, summed over partitions: ``atoms``, ``edges``,
        ``bonds``, ``angles``, and ``received …`` for the rows that an exchange delivered before it.

        The first four are the sizes of the graphs that the stage ran on, for the kinds of row that it says it
        updates; tests compare them with hooks on the models' own submodules.
        """
        return self._evaluator.counters

    @property
    def graph_origin(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Positions (n_atoms, 3) and cell (3, 3), in Å, that the present graph was built at; None before the
        first one. Results are, to the last bit, a function of them, of the atoms and of the elements
        that stages were made for: after ``calculator.plan(atoms there)`` a calculation gives the same."""
        return self._evaluator.graphs.origin

    @property
    def chosen(self) -> dict[str, Any]:
        """Partitions, method, recompute, kernels and radial functions that were chosen for the last atoms, as
        options. With them another calculator computes these atoms alike, whatever it would measure."""
        return self._evaluator.chosen

    def set(self, **changes: Any) -> dict[str, Any]:
        """Options are fixed at construction.

        Raises:
            InvalidInputError: always, if there is anything to change.
        """
        if changes:
            raise InvalidInputError(
                f"cannot change {', '.join(changes)}; with_options({next(iter(changes))}=...) makes a new one"
            )
        return {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(words_for_missing(name), name=name, obj=self)

    def _reads(self, atoms: Atoms) -> Mapping[str, Tensor]:
        return self._adapter.system(atoms)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One thread at a time calculates; across ranks, with any calculator."""
        if self._pid != os.getpid():
            self._leave_parent()
        with self._lock, self._sharing.turn():
            yield

    def _leave_parent(self) -> None:
        """In a forked child: ranks are the parent's, and its threads, which may have been calculating, are
        not here. This process calculates by itself."""
        alone = self.with_options()
        for name in ("_pid", "_lock", "_adapter", "_evaluator", "_automatic", "_sharing", "parameters"):
            setattr(self, name, getattr(alone, name))

    def _given(self, atoms: Atoms | None, what_for: str) -> Atoms:
        target = atoms if atoms is not None else self.atoms
        if target is None:
            raise InvalidInputError(f"there are no atoms to {what_for} for; call {what_for}(atoms)")
        return target

    def _check_atoms(self, atoms: Atoms) -> Mapping[str, Tensor]:
        return check_atoms(atoms, self._adapter, self._evaluator.settings.weights)

    def _results(self, atoms: Atoms, with_virials: bool, system: Mapping[str, Tensor]) -> dict[str, Any]:
        evaluations = self._automatic.evaluate(atoms, with_virials, system)
        return results_of(self._adapter, atoms, evaluations)
