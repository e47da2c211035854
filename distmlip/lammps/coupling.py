"""A model and a LAMMPS object: what is computed whenever LAMMPS asks for forces."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from ase import Atoms

from distmlip.choice.automatic import Automatic
from distmlip.errors import InvalidInputError, UnsupportedModelError
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.own_atoms import OwnAtoms
from distmlip.evaluation.settings import Settings
from distmlip.inputs import check_atoms, check_results, checked_dtype
from distmlip.lammps.ranks import all_have_come, ranks_of
from distmlip.lammps.session import Session
from distmlip.machine.devices import DeviceLike
from distmlip.models import adapter_for
from distmlip.ranks.heartbeat import rank_timeout
from distmlip.torch_modes import usual_modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distmlip.models.interface import Evaluation
    from distmlip.ranks.group import Ranks
    from distmlip.records.plan import Plan

SECONDS_TO_BE_HEARD = 2.0
"""Before MPI's abort: mpiexec forgets what a process has just written."""

log = logging.getLogger(__name__)

OF_ATOMS = {"magmoms": "magmom", "charges": "charge"}
"""Results that LAMMPS gets as properties of atoms, and what they are called there."""


@usual_modes()
def couple(
    lmp: Any,
    model: Any,
    types: Sequence[str],
    *,
    skin: float = 1.0,
    devices: DeviceLike | Sequence[DeviceLike] = "auto",
    partitions: int | str = "auto",
    method: str = "auto",
    recompute: bool | str = "auto",
    dtype: torch.dtype | str | None = None,
    kernels: str = "auto",
    radial: str = "auto",
    **family_options: Any,
) -> Coupling:
    """Let a model give the forces in a LAMMPS run. All MPI ranks of ``lmp`` call this.

    Args:
        lmp: an object of ``lammps.lammps()`` with a simulation box, ``units metal``.
        model: as for :class:`distmlip.DistCalculator`.
        types: symbol of the element of each LAMMPS atom type: ``["Li", "Mn", "O"]``.
        skin: Å, LAMMPS's ``neighbor`` distance from now on.
        devices, partitions, method, recompute, dtype, kernels, radial, **family_options: as for
            :class:`distmlip.DistCalculator`; partitions of all ranks together.

    Raises:
        InvalidInputError: LAMMPS, or an argument, is not as it must be; the message says what to write.
        UnsupportedModelError: the model cannot be distributed, or not over several ranks.
        RankError: ranks cannot reach each other.
    """
    session = Session(lmp)
    numbers = session.numbers_of(types)
    adapter = adapter_for(model, checked_dtype(dtype), **family_options)
    if not adapter.conservative:
        raise UnsupportedModelError(
            "the model's forces are no derivatives of its energy, so that LAMMPS would have no virial of "
            "them, and wrong pressures; use such models with ASE"
        )
    sample = Atoms(numbers=np.unique(numbers[1:]))
    reads = check_atoms(sample, adapter, None)
    communicator = session.communicator
    if communicator is not None and reads:
        raise UnsupportedModelError(
            f"the model reads {', '.join(reads)} of the whole system, which no rank of a LAMMPS run knows; "
            "run LAMMPS on one MPI rank, with several devices or partitions"
        )
    ranks = ranks_of(communicator)
    settings = Settings.checked(
        ranks,
        devices=devices,
        partitions=partitions,
        method=method,
        weights=None,
        recompute=recompute,
        skin=skin,
        kernels=kernels,
        radial=radial,
    )
    if adapter.dtype == torch.float64:
        settings.devices.require_float64("the model computes in", "dtype='float32' or devices='cpu'")
    evaluator = Evaluator(adapter, settings)
    automatic = Automatic(evaluator, recompute_is_open=recompute == "auto")
    return Coupling(session, evaluator, automatic, numbers, sample, communicator)


class Coupling:
    """Gives LAMMPS the forces of a model, until it is closed; :func:`couple` makes it."""

    def __init__(
        self,
        session: Session,
        evaluator: Evaluator,
        automatic: Automatic,
        numbers: NDArray[np.int64],
        sample: Atoms,
        communicator: Any,
    ) -> None:
        self._session = session
        self._evaluator = evaluator
        self._automatic = automatic
        self._adapter = evaluator.adapter
        self._numbers = numbers
        self._communicator = communicator
        self._ranks: Ranks | None = evaluator.settings.ranks
        self._sample = sample
        self._n_known = -1  # atoms in the last step
        self._last: Atoms | OwnAtoms | None = None
        self._properties = {
            name: OF_ATOMS[name] for name in OF_ATOMS if name in self._adapter.implemented_properties
        }
        self._is_open = True
        self._error: BaseException | None = None  # that ended the coupling
        for name in self._properties.values():
            session.add_property(name)
        session.add_fix(self._adapter.cutoff, evaluator.settings.skin, self._called)
        session.behind_commands(self._raise)

    @property
    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """As :attr:`distmlip.DistCalculator.counters`, of the partitions of this rank."""
        return self._evaluator.counters

    def plan(self) -> Plan:
        """How the atoms of the last step are distributed, and why. All ranks call this.

        Raises:
            InvalidInputError: there was no step.
        """
        if self._last is None:
            raise InvalidInputError("LAMMPS has not asked for forces yet; plan() after 'run 0'")
        return self._automatic.plan(self._last)

    def close(self) -> None:
        """LAMMPS asks for no more forces. All ranks call this."""
        if self._is_open:
            self._is_open = False
            self._session.behind_commands(None)
            if self._error is not None:
                self._session.allow_runs()
            self._session.remove(list(self._properties.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()

    # ---- what LAMMPS calls

    def _called(
        self,
        _caller: object,
        _step: int,
        n_own: int,
        _tags: NDArray[np.integer],
        positions: NDArray[np.float64],
        forces: NDArray[np.float64],
    ) -> None:
        forces[:] = 0
        if self._error is not None:  # a later run of a script that has not ended yet
            self._session.end_run()
            return
        try:
            with self._ranks.together("a step of LAMMPS") if self._ranks else nullcontext():
                forces[:] = self._forces(n_own, positions)
        except BaseException as error:
            self._error = error
            self._end()

    @usual_modes()
    def _forces(self, n_own: int, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_own, 3); all else is written to LAMMPS."""
        session = self._session
        atoms = session.atoms(n_own, positions, self._numbers)
        n_total = session.n_atoms
        if n_total == 0:
            return np.zeros((0, 3))
        with_virials = session.has_computes
        evaluations, results = self._evaluated(atoms, n_total, with_virials)
        virial = np.mean([evaluation.virial for evaluation in evaluations], axis=0)
        sums = np.array([results["energy"], *virial.ravel()])
        if self._ranks is not None:
            sums = self._ranks.sum(sums)
        session.set_sums(float(sums[0]), sums[1:].reshape(3, 3))
        virials = [evaluation.virials for evaluation in evaluations if evaluation.virials is not None]
        session.set_of_atoms(results["energies"], np.mean(virials, axis=0) if virials else None)
        for name, written in self._properties.items():
            session.set_property(written, results[name])
        return np.asarray(results["forces"])

    def _evaluated(
        self, atoms: Atoms, n_total: int, with_virials: bool
    ) -> tuple[list[Evaluation], dict[str, Any]]:
        if self._ranks is None:
            system = check_atoms(atoms, self._adapter, None)
            self._last = atoms
            evaluations = self._automatic.evaluate(atoms, with_virials, system)
        else:
            if len(atoms):
                check_atoms(atoms, self._adapter, None)
            tags = near = None
            if self._session.has_new_neighbors or n_total != self._n_known:
                tags, near = self._session.tags(len(atoms))
            self._n_known = -1  # until this has been computed
            own = OwnAtoms(atoms, n_total, self._sample, tags, near)
            evaluations = self._automatic.evaluate(own, with_virials, {})
            self._n_known = n_total
            self._last = OwnAtoms(atoms, n_total, self._sample, None, None)
        if len(atoms) == 0:
            nothing = dict.fromkeys(("energies", *self._properties), np.zeros(0))
            return evaluations, {"energy": 0.0, "forces": np.zeros((0, 3)), **nothing}
        results: dict[str, Any] = self._adapter.results(atoms, evaluations)
        check_results(results)
        return evaluations, results

    def _end(self) -> None:
        """What happens to an error in a step: LAMMPS ends its run, and what had it run raises the error."""
        if self._communicator is not None and not all_have_come(self._communicator, rank_timeout()):
            # A rank that is lost would be waited for by LAMMPS, for ever.
            log.critical("a step of LAMMPS failed, and not all of its ranks go on", exc_info=self._error)
            time.sleep(SECONDS_TO_BE_HEARD)
            self._communicator.Abort(1)
        self._session.end_run()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
