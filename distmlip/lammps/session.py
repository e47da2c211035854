"""What is read from LAMMPS and written to it, by its own interface."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_double
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from distmlip.errors import InvalidInputError, type_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIX = "distmlip"
"""Its ID."""

THERMO = ("thermo_temp", "thermo_press", "thermo_pe")
"""Computes that every run has; none of them reads virials of atoms."""

COMMANDS = ("command", "commands_list", "commands_string", "file")
"""Methods by which LAMMPS gets commands."""


class Session:
    """One LAMMPS object."""

    def __init__(self, lmp: Any) -> None:
        """
        Raises:
            InvalidInputError: it is none, or no simulation that forces can be computed for.
        """
        if not all(hasattr(lmp, name) for name in ("extract_setting", "set_fix_external_callback", "numpy")):
            raise InvalidInputError(f"lmp is a {type_name(lmp)}; give an object of lammps.lammps()")
        self._lmp = lmp
        if not self.setting("box_exist"):
            raise InvalidInputError(
                "LAMMPS has no simulation box yet; couple after create_box, read_data or read_restart"
            )
        units = lmp.extract_global("units")
        if units != "metal":
            raise InvalidInputError(
                f"LAMMPS has units {units!r}; models compute in eV and Ang: write 'units metal'"
            )
        if FIX in lmp.available_ids("fix"):
            raise InvalidInputError(
                f"this LAMMPS object has a fix {FIX!r} already; close() the coupling before another is made"
            )

    def setting(self, name: str) -> int:
        return int(self._lmp.extract_setting(name))

    @property
    def communicator(self) -> Any:
        """Of mpi4py; None if LAMMPS has one process.

        Raises:
            InvalidInputError: there are several, and mpi4py does not know them.
        """
        if self.setting("world_size") == 1:
            return None
        communicator = self._lmp.get_mpi_comm() if self._lmp.has_mpi4py else None
        if communicator is None:
            raise InvalidInputError(
                f"LAMMPS runs on {self.setting('world_size')} MPI ranks, but was made without mpi4py: "
                "pip install mpi4py, for the same MPI as LAMMPS's"
            )
        return communicator

    def numbers_of(self, types: Sequence[str]) -> NDArray[np.int64]:
        """(n_types + 1) atomic number of each LAMMPS type, which are counted from 1.

        Raises:
            InvalidInputError: not every type has an element.
        """
        n_types = self.setting("ntypes")
        if isinstance(types, str) or len(types) != n_types:
            raise InvalidInputError(
                f"types={types!r}, but LAMMPS has {n_types} atom types; give the symbol of each, such as "
                f"types={['Li', 'Mn', 'O'][:n_types] + ['X'] * (n_types - 3)}"
            )
        unknown = [symbol for symbol in types if symbol not in atomic_numbers or symbol == "X"]
        if unknown:
            raise InvalidInputError(f"types={list(types)!r}: {unknown[0]!r} is no symbol of an element")
        return np.array([0, *(atomic_numbers[symbol] for symbol in types)])

    # ---- commands

    def add_fix(self, cutoff: float, skin: float, callback: Any) -> None:
        """Have LAMMPS ask for forces, and give every rank the ghosts that they depend on; Å."""
        if self._lmp.extract_global("pair_style") in (None, "none"):
            self.commands(f"pair_style zero {cutoff!r} nocoeff", "pair_coeff * *")
        self.commands(
            f"neighbor {skin!r} bin",
            f"comm_modify cutoff {cutoff + skin!r}",
            f"fix {FIX} all external pf/callback 1 1",
            f"fix_modify {FIX} energy yes virial yes",
        )
        self._lmp.set_fix_external_callback(FIX, callback)

    def add_property(self, name: str) -> None:
        """A number of each atom, which dumps and computes read as ``d_name``."""
        fix = f"{FIX}_{name}"
        if fix not in self._lmp.available_ids("fix"):
            self.commands(f"fix {fix} all property/atom d_{name} writedata no")

    def remove(self, properties: Sequence[str]) -> None:
        fixes = self._lmp.available_ids("fix")
        self.commands(
            *(f"unfix {fix}" for fix in (FIX, *(f"{FIX}_{name}" for name in properties)) if fix in fixes)
        )

    def commands(self, *lines: str) -> None:
        for line in lines:
            self._lmp.command(line)

    def end_run(self) -> None:
        """LAMMPS begins no further step of this run, nor one of another run until :meth:`allow_runs`."""
        self._lmp.force_timeout()

    def allow_runs(self) -> None:
        self.commands("timer timeout off")

    def behind_commands(self, check: Callable[[], None] | None) -> None:
        """What is called behind every command that is given to this object, and may raise: an exception in a
        callback of LAMMPS is printed and forgotten. None: nothing any longer."""
        for name in COMMANDS:
            self._lmp.__dict__.pop(name, None)
            if check is not None:
                setattr(self._lmp, name, _then(getattr(self._lmp, name), check))

    # ---- atoms

    @property
    def n_atoms(self) -> int:
        """Of all processes."""
        return int(self._lmp.extract_global("natoms"))

    @property
    def has_new_neighbors(self) -> bool:
        """Whether atoms, or ghosts, are others than in the step before."""
        return self.setting("neigh_ago") == 0

    def atoms(self, n_own: int, positions: NDArray[np.float64], numbers_of_type: NDArray[np.int64]) -> Atoms:
        """Those of this process, with the cell of all."""
        types = self._lmp.numpy.extract_atom("type", nelem=n_own)
        low, high, xy, yz, xz, periodic, _ = self._lmp.extract_box()
        edges = np.array(high) - np.array(low)
        cell = [[edges[0], 0, 0], [xy, edges[1], 0], [xz, yz, edges[2]]]
        return Atoms(
            numbers=numbers_of_type[np.asarray(types, np.int64).reshape(n_own)],
            positions=np.asarray(positions).reshape(n_own, 3),
            cell=cell,
            pbc=[bool(of) for of in periodic],
        )

    def tags(self, n_own: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of this process's atoms, and of ghosts.

        Raises:
            InvalidInputError: atoms have none.
        """
        n_all = n_own + self.setting("nghost")
        tags = np.array(self._lmp.numpy.extract_atom("id", nelem=n_all), np.int64).reshape(n_all)
        if n_all and tags.min() < 1:
            raise InvalidInputError("atoms have no IDs; write 'atom_modify id yes' (LAMMPS's default)")
        return tags[:n_own], tags[n_own:]

    @property
    def has_computes(self) -> bool:
        """Whether one of them may read virials of atoms."""
        return not set(self._lmp.available_ids("compute")) <= set(THERMO)

    # ---- results

    def set_sums(self, energy: float, virial: NDArray[np.float64]) -> None:
        """Of all processes: eV; (3, 3) eV."""
        self._lmp.fix_external_set_energy_global(FIX, energy)
        self._lmp.fix_external_set_virial_global(FIX, _of_lammps(virial).tolist())

    def set_of_atoms(self, energies: NDArray[np.float64], virials: NDArray[np.float64] | None) -> None:
        """Of this process's atoms: (n,) eV; (n, 3, 3) eV. Not by the methods of LAMMPS, which take lists."""
        lib, handle, fix = self._lmp.lib, self._lmp.lmp, FIX.encode()
        energies = np.ascontiguousarray(energies, np.float64)
        lib.lammps_fix_external_set_energy_peratom(handle, fix, energies.ctypes.data_as(POINTER(c_double)))
        if virials is None:
            return
        rows = np.ascontiguousarray(_of_lammps(virials))
        places = (rows.ctypes.data + rows.strides[0] * np.arange(len(rows))).astype(np.uintp)
        lib.lammps_fix_external_set_virial_peratom(
            handle, fix, places.ctypes.data_as(POINTER(POINTER(c_double)))
        )

    def set_property(self, name: str, values: NDArray[np.float64]) -> None:
        """Of this process's atoms."""
        self._lmp.numpy.extract_atom(f"d_{name}", nelem=len(values)).reshape(len(values))[:] = values


def _then(method: Callable[..., Any], check: Callable[[], None]) -> Callable[..., Any]:
    @functools.wraps(method)
    def checked(*arguments: Any) -> Any:
        result = method(*arguments)
        check()
        return result

    return checked


def _of_lammps(virial: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, 6) xx, yy, zz, xy, xz, yz."""
    return np.stack([virial[..., k, j] for k, j in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))], axis=-1)
