"""Trajectories of many atoms: HDF5, laid out as H5MD 1.1 says (https://www.nongnu.org/h5md/h5md.html).

Frames are compressed in chunks of atoms and written by a thread. A file can be read while it grows, and after
its writer was killed ("single writer, multiple readers" of HDF5): each frame is there as a whole or not.
"""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
from ase import Atoms, units
from numpy.typing import NDArray

from distmlip.errors import RunFolderError
from distmlip.inputs import checked_choice
from distmlip.md.superblock import mend

PARTICLES, OBSERVABLES = "particles/atoms", "observables"
ANGSTROM_PER_FS = units.fs
"""Of ASE's unit of velocity."""
KJ_PER_MOL = units.mol / units.kJ
"""Of an eV; readers of H5MD know forces in these units."""
UNITS = {"position": "Angstrom", "velocity": "Angstrom fs-1", "force": "kJ mol-1 Angstrom-1"}
"""Of the elements that a frame may have a row per atom of."""
OBSERVABLE_UNITS = {
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "conserved_energy": "eV",
    "temperature": "K",
    "pressure": "GPa",
}
LOCKING = "best-effort"
"""Of files: file systems of some clusters have none."""
ATOMS_PER_CHUNK = 65_536
FRAMES_WAITING = 2
"""Before appending one more waits for the thread."""


@dataclass(frozen=True)
class Contents:
    """What is written of each frame."""

    velocities: bool = False
    forces: bool = False
    precision: str = "float32"
    """Of positions, velocities and forces."""
    compression: str | None = "lzf"
    """Of h5py."""

    def checked(self) -> Contents:
        """
        Raises:
            InvalidInputError: values that are not known.
        """
        checked_choice("precision", self.precision, ("float32", "float64"))
        checked_choice("compression", self.compression, ("lzf", "gzip", None))
        return self

    @property
    def elements(self) -> list[str]:
        """Those with a row per atom."""
        return ["position", *["velocity"] * self.velocities, *["force"] * self.forces]


@dataclass(frozen=True)
class _Frame:
    step: int
    time: float
    cell: NDArray[np.float64]
    rows: dict[str, NDArray[np.floating]]
    observables: Mapping[str, float]


class TrajectoryWriter:
    """Appends frames to a file; :meth:`new` or :meth:`continued` opens one.

    Raises:
        RunFolderError: the file cannot be written; a frame's own error is raised by the call after it.
    """

    def __init__(self, path: Path, file: h5py.File, contents: Contents) -> None:
        self._path, self._file, self._contents = path, file, contents
        self._growing = _growing(file)  # open as long as the file: one that is closed writes what it has left
        steps = self._growing["step"]
        self.last_step = int(steps[-1]) if len(steps) else -1
        """That had been written when the file was opened; −1: none."""
        self._error: BaseException | None = None
        self._waiting: queue.Queue[_Frame | None] = queue.Queue(FRAMES_WAITING)
        file.swmr_mode = True  # from here on nothing new can be made in the file, only appended to
        self._thread = threading.Thread(target=self._write_all, name="trajectory", daemon=True)
        self._thread.start()

    @classmethod
    def new(cls, path: Path, atoms: Atoms, contents: Contents, has_times: bool = True) -> Self:
        """A file for frames of these atoms; there must be none yet. ``has_times``: of dynamics; otherwise
        times are steps."""
        laid_out = io.BytesIO()  # HDF5 does not survive a disk that is full when it lays out a file
        with h5py.File(laid_out, "w", libver="latest") as file:
            _lay_out(file, atoms, contents, has_times)
        with _explained(path, "written"):
            with path.open("xb") as empty:
                empty.write(laid_out.getbuffer())
            return cls(path, h5py.File(path, "r+", libver="latest", locking=LOCKING), contents)

    @classmethod
    def continued(cls, path: Path, contents: Contents, last_step: int) -> Self:
        """Go on in a file behind the frame of this step; later ones are dropped."""
        with _explained(path, "gone on with"):
            mend(path)
            file = h5py.File(path, "r+", libver="latest", locking=LOCKING)
            growing = _growing(file)
            n_kept = int(np.searchsorted(growing["step"][:], last_step, side="right"))
            for dataset in growing.values():
                dataset.resize(n_kept, axis=0)
        return cls(path, file, contents)

    def append(self, step: int, time: float, atoms: Atoms, observables: Mapping[str, float]) -> None:
        """The atoms as they are now, at this time (fs). Waits if the thread is far behind."""
        self._raise_error()
        dtype = np.dtype(self._contents.precision)
        rows = {}
        for element in self._contents.elements:  # copies: the atoms move on
            if element == "position":
                rows[element] = atoms.positions.astype(dtype)
            elif element == "velocity":
                rows[element] = (atoms.get_velocities() * ANGSTROM_PER_FS).astype(dtype)
            else:
                rows[element] = (atoms.get_forces() * KJ_PER_MOL).astype(dtype)
        self._waiting.put(_Frame(step, time, atoms.cell.array.copy(), rows, dict(observables)))

    def flush(self) -> None:
        """Wait until all frames are in the file."""
        self._waiting.join()
        self._raise_error()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        with _explained(self._path, "written"):
            self._file.close()
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RunFolderError:
            if error is None:
                raise  # else the first error is the one to know of

    def _write_all(self) -> None:
        while (frame := self._waiting.get()) is not None:
            try:
                if self._error is None:
                    self._write(frame)
            except BaseException as error:
                self._error = error
                _abandon(self._file)
            finally:
                self._waiting.task_done()
        self._waiting.task_done()

    def _write(self, frame: _Frame) -> None:
        n = len(self._growing["step"])
        self._append(n, {**frame.rows, **frame.observables, "edges": frame.cell, "time": frame.time})
        self._append(n, {"step": frame.step})  # only now readers see the frame

    def _append(self, n: int, values: Mapping[str, object]) -> None:
        for name, value in values.items():
            self._growing[name].resize(n + 1, axis=0)
            self._growing[name][n] = value
        self._file.flush()

    def _raise_error(self) -> None:
        if self._error is not None:
            error = self._error
            raise RunFolderError(
                f"{self._path} cannot be written: {error}; frames before that are in it. Make room, or move "
                "the folder, and go on from the last checkpoint with resume"
            ) from error


def _lay_out(file: h5py.File, atoms: Atoms, contents: Contents, has_times: bool) -> None:
    about = file.create_group("h5md")
    about.attrs["version"] = np.array([1, 1], np.int32)
    about.create_group("author").attrs["name"] = "unknown"
    creator = about.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "distmlip", metadata.version("distmlip")
    about.create_group("modules/units").attrs["version"] = np.array([1, 0], np.int32)

    particles = file.create_group(PARTICLES)
    n_atoms = len(atoms)
    particles["species"] = atoms.numbers.astype(np.int32)
    particles["mass"] = atoms.get_masses()
    particles["mass"].attrs["unit"] = "u"
    box = particles.create_group("box")
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array(["periodic" if of_axis else "none" for of_axis in atoms.pbc], "S8")

    position = particles.create_group("position")
    step = position.create_dataset("step", (0,), np.int64, maxshape=(None,), chunks=(1024,))
    time = position.create_dataset("time", (0,), np.float64, maxshape=(None,), chunks=(1024,))
    if has_times:
        time.attrs["unit"] = "fs"
    chunk = (1, max(1, min(n_atoms, ATOMS_PER_CHUNK)), 3)
    for element in contents.elements:
        group = particles.require_group(element)
        value = group.create_dataset(
            "value",
            (0, n_atoms, 3),
            contents.precision,
            maxshape=(None, n_atoms, 3),
            chunks=chunk,
            compression=contents.compression,
            shuffle=contents.compression is not None,
        )
        value.attrs["unit"] = UNITS[element]
    edges = box.create_group("edges")
    value = edges.create_dataset("value", (0, 3, 3), np.float64, maxshape=(None, 3, 3), chunks=(128, 3, 3))
    value.attrs["unit"] = "Angstrom"
    observables = file.create_group(OBSERVABLES)
    for name, unit in OBSERVABLE_UNITS.items():
        group = observables.create_group(name)
        value = group.create_dataset("value", (0,), np.float64, maxshape=(None,), chunks=(1024,))
        value.attrs["unit"] = unit
    # All have the same steps: links, so that one array grows.
    others = [group for name, group in particles.items() if name in UNITS and name != "position"]
    for group in [*others, edges, *observables.values()]:
        group["step"], group["time"] = step, time


def _growing(file: h5py.File) -> dict[str, h5py.Dataset]:
    """All datasets with a row per frame; the steps, which say how many frames there are, come last."""
    particles = file[PARTICLES]
    of_atoms = {name: particles[name]["value"] for name in UNITS if name in particles}
    observed = {name: group["value"] for name, group in file[OBSERVABLES].items()}
    of_frames = {"edges": particles["box/edges/value"], "time": particles["position/time"]}
    return {**of_atoms, **observed, **of_frames, "step": particles["position/step"]}


def _abandon(file: h5py.File) -> None:
    """Close a file that cannot be written, as it is. HDF5 tries again to write what it has left, at the
    latest when the process ends, and crashes if it cannot: it gets memory to write that to."""
    memory = os.memfd_create("abandoned")
    try:
        os.dup2(memory, file.id.get_vfd_handle())
    finally:
        os.close(memory)
    with suppress(OSError, RuntimeError):
        file.close()


class _explained:  # noqa: N801  used as a function
    """In its block what h5py says of a file becomes an error that names the file and the remedy."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError | KeyError | RuntimeError | ValueError):
            return
        remedy = "give another folder"
        if self._what != "written":
            remedy = "move it away, with the checkpoints beside it, to begin anew"
            if not os.path.exists(self._path):  # noqa: PTH110
                remedy = "bring it back, or give another folder to begin anew"
        raise RunFolderError(f"{self._path} cannot be {self._what}: {error}; {remedy}") from error
