"""Frames of a trajectory in HDF5, read when they are asked for, also while it is being written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distmlip.errors import RunFolderError
from distmlip.md.trajectory import ANGSTROM_PER_FS, KJ_PER_MOL, LOCKING, OBSERVABLES, PARTICLES, UNITS

STEPS, TIMES = f"{PARTICLES}/position/step", f"{PARTICLES}/position/time"


class Frames(Sequence[Atoms]):
    """The frames of a file as :class:`ase.Atoms`, with the results and velocities that were written.

    ``info`` of each has its ``step`` and its ``time`` (fs). A file that is being written grows, and all that
    is asked for looks anew. Close it, or use it in a ``with`` block.

    Raises:
        RunFolderError: what is asked for is damaged.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """
        Raises:
            RunFolderError: there is no such file, or it is no trajectory.
        """
        self._path = Path(path)
        if not self._path.is_file():
            raise RunFolderError(f"there is no {self._path}; give the folder of a run, or a trajectory.h5")
        try:
            self._file = _opened(self._path)
            particles = self._file[PARTICLES]
            self._numbers, self._masses = particles["species"][:], particles["mass"][:]
            self._pbc = particles["box"].attrs["boundary"] == b"periodic"
            self._elements = [name for name in UNITS if name in particles]
            self._observables = list(self._file[OBSERVABLES])
            self.has_times = "unit" in particles["position/time"].attrs
            """Whether times are of dynamics; those of a relaxation are its steps."""
            if not np.isin(self._numbers, range(len(chemical_symbols))).all():
                raise ValueError("it has elements that there are not")
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise RunFolderError(
                f"{self._path} is no trajectory that can be read: {error}; give a trajectory.h5 of distmlip"
            ) from error

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
        """(n_frames,) each, as many of all: potential, kinetic and conserved energy (eV), temperature (K),
        pressure (GPa); NaN where there is none."""
        n = len(self)
        return {name: self._read(f"{OBSERVABLES}/{name}/value", slice(n)) for name in self._observables}

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
        with self._looked_at(STEPS) as steps:
            return len(steps)

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
        found = {name: self._read(f"{PARTICLES}/{name}/value", k) for name in self._elements}
        atoms = Atoms(
            self._numbers,
            found["position"].astype(np.float64),
            cell=self._read(f"{PARTICLES}/box/edges/value", k),
            pbc=self._pbc,
        )
        if not np.array_equal(self._masses, atoms.get_masses()):
            atoms.set_masses(self._masses)
        if "velocity" in found:
            atoms.set_velocities(found["velocity"].astype(np.float64) / ANGSTROM_PER_FS)
        results = {"energy": float(self._read(f"{OBSERVABLES}/potential_energy/value", k))}
        if "force" in found:
            results["forces"] = found["force"].astype(np.float64) / KJ_PER_MOL
        atoms.calc = SinglePointCalculator(atoms, **results)
        atoms.info.update(step=int(self._read(STEPS, k)), time=float(self._read(TIMES, k)))
        return atoms

    def _column(self, name: str) -> NDArray[Any]:
        n = len(self)  # before the column is looked at: it is written first
        column: NDArray[Any] = self._read(f"{PARTICLES}/{name}", slice(n))
        return column

    def _read(self, name: str, rows: int | slice) -> Any:
        with self._looked_at(name) as dataset:
            return dataset[rows]

    @contextmanager
    def _looked_at(self, name: str) -> Iterator[h5py.Dataset]:
        """As it is now."""
        try:
            dataset = self._file[name]
            dataset.id.refresh()
            yield dataset
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise RunFolderError(
                f"{self._path} is damaged: {name} cannot be read ({error}); read other frames"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _opened(path: Path) -> h5py.File:
    """A file that a run has closed as usual; one that is being written, or was when its writer was killed, as
    a reader beside the writer: so HDF5 reads what is damaged again and again, practically forever."""
    try:
        return h5py.File(path, "r", libver="latest", locking=False)
    except OSError:
        return h5py.File(path, "r", libver="latest", swmr=True, locking=LOCKING)


def read(path: str | PathLike[str]) -> Frames:
    """The frames of a trajectory that a run has written, or is writing."""
    return Frames(path)
