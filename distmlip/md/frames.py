"""Frames of a trajectory in HDF5, read when they are asked for, also while it is being written."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from distmlip.errors import RunFolderError
from distmlip.md.trajectory import ANGSTROM_PER_FS, KJ_PER_MOL, LOCKING, OBSERVABLES, PARTICLES


class Frames(Sequence[Atoms]):
    """The frames of a file as :class:`ase.Atoms`, with the results and velocities that were written.

    ``info`` of each has its ``step`` and its ``time`` (fs). A file that is being written grows: ``len()``
    looks anew. Close it, or use it in a ``with`` block.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """
        Raises:
            RunFolderError: there is no such file, or it is no trajectory.
        """
        self._path = Path(path)
        try:
            self._file = h5py.File(self._path, "r", libver="latest", swmr=True, locking=LOCKING)
            self._particles = self._file[PARTICLES]
            self._numbers = self._particles["species"][:]
            self._masses = self._particles["mass"][:]
        except (OSError, KeyError) as error:
            raise RunFolderError(
                f"{self._path} is no trajectory that can be read: {error}; give a trajectory.h5 of distmlip"
            ) from error
        self._pbc = self._particles["box"].attrs["boundary"] == b"periodic"

    @property
    def steps(self) -> NDArray[np.int64]:
        """(n_frames,)"""
        return self._column("position/step")

    @property
    def times(self) -> NDArray[np.float64]:
        """(n_frames,) fs."""
        return self._column("position/time")

    @property
    def observables(self) -> dict[str, NDArray[np.float64]]:
        """(n_frames,) each: potential and kinetic energy (eV), temperature (K), pressure (GPa)."""
        groups = self._file[OBSERVABLES]
        return {name: self._refreshed(groups[name]["value"])[: len(self)] for name in groups}

    @property
    def n_atoms(self) -> int:
        """Of each frame."""
        return len(self._numbers)

    @property
    def volumes(self) -> NDArray[np.float64]:
        """(n_frames,) Å³ of the cells."""
        volumes: NDArray[np.float64] = np.abs(np.linalg.det(self._column("box/edges/value")))
        return volumes

    def __len__(self) -> int:
        return len(self._refreshed(self._particles["position/step"]))

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"frame {index} of {n}")
        return self._frame(index % n)

    def _frame(self, k: int) -> Atoms:
        found = {
            name: self._refreshed(self._particles[name]["value"])[k]
            for name in ("position", "velocity", "force")
            if name in self._particles
        }
        atoms = Atoms(
            self._numbers,
            found["position"].astype(np.float64),
            cell=self._refreshed(self._particles["box/edges/value"])[k],
            pbc=self._pbc,
        )
        if not np.array_equal(self._masses, atoms.get_masses()):
            atoms.set_masses(self._masses)
        if "velocity" in found:
            atoms.set_velocities(found["velocity"].astype(np.float64) / ANGSTROM_PER_FS)
        results = {"energy": float(self._refreshed(self._file[OBSERVABLES]["potential_energy/value"])[k])}
        if "force" in found:
            results["forces"] = found["force"].astype(np.float64) / KJ_PER_MOL
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info.update(step=int(self.steps[k]), time=float(self.times[k]))
        return atoms

    def _column(self, name: str) -> NDArray[Any]:
        column: NDArray[Any] = self._refreshed(self._particles[name])[: len(self)]
        return column

    @staticmethod
    def _refreshed(dataset: h5py.Dataset) -> h5py.Dataset:
        dataset.id.refresh()
        return dataset

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: str | PathLike[str]) -> Frames:
    """The frames of a trajectory that a run has written, or is writing."""
    return Frames(path)
