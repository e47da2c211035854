"""The graph of a structure over partitions: kept by the core, built anew when it is no longer valid."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from distmlip._native import core
from distmlip.evaluation.own_atoms import OwnAtoms
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import on_device
from distmlip.machine.memory import limit_kept_pages
from distmlip.models.interface import Adapter
from distmlip.models.local_graph import BondGraph, LocalGraph

if TYPE_CHECKING:
    import numpy as np
    from ase import Atoms
    from numpy.typing import NDArray


class Graphs:
    """The graphs that an adapter's stages run on, with given settings."""

    def __init__(self, adapter: Adapter, settings: Settings) -> None:
        limit_kept_pages()
        self._adapter = adapter
        self._settings = settings
        self._native: core.Graphs | None = None
        self.device_of_partition: list[int] = []
        """Index of each partition's device."""

    def at(self, atoms: Atoms | OwnAtoms, system: Mapping[str, Tensor]) -> list[LocalGraph]:
        """The local graph of every partition. ``system``: what the adapter says of these atoms.

        All ranks call this together.

        Raises:
            InvalidInputError: the atoms cannot be cut into partitions; on all ranks alike.
        """
        parts = self.update(atoms)
        system_on = [
            {name: on_device(tensor, device) for name, tensor in system.items()}
            for device in self._settings.devices.devices
        ]
        return [
            LocalGraph(
                partition=p,
                n_owned=part.n_owned,
                atoms=part.atoms,
                numbers=part.numbers,
                senders=part.senders,
                receivers=part.receivers,
                vectors=part.vectors,
                bonds=self._bonds(part) if self._adapter.bond_cutoff is not None else None,
                system=system_on[device],
            )
            for p, (part, device) in enumerate(zip(parts, self.device_of_partition, strict=True))
        ]

    def _bonds(self, part: core.GraphPart) -> BondGraph:
        return BondGraph(
            edge_bond=part.edge_bond,
            bond_edge=part.bond_edge,
            short_bonds=part.short_bonds,
            angles=part.angles,
            cut=part.cut,
            n_angles_total=self.native.n_angles_total,
        )

    def update(self, atoms: Atoms | OwnAtoms) -> list[core.GraphPart]:
        """Bring :attr:`native` to these atoms; the same with the core's own parts."""
        n_partitions = self._settings.n_partitions(len(atoms))
        if self._native is None or self._native.n_partitions != n_partitions:
            self._native = None  # the new one may use the memory of the old one
            self.device_of_partition = self._settings.devices.of_partitions(n_partitions)
            self._native = self._made(n_partitions)
        if isinstance(atoms, OwnAtoms):
            tags, atoms = (atoms.tags, atoms.near), atoms.atoms
            return self._native.at_own(*_arrays(atoms), *tags, self._agree)
        return self._native.at(*_arrays(atoms), self._agree)

    def forget(self) -> None:
        """Drop the graph; the next call builds a new one."""
        self._native = None

    @property
    def origin(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Positions and cell that the graph was built at; None: there is none."""
        return self._native.origin if self._native is not None and self._native.is_built else None

    @property
    def native(self) -> core.Graphs:
        """The core's graphs, sizes and routes, as the last call left them."""
        assert self._native is not None
        return self._native

    def _made(self, n_partitions: int) -> core.Graphs:
        settings, ranks = self._settings, self._settings.ranks
        return core.Graphs(
            cutoff=self._adapter.cutoff,
            bond_cutoff=self._adapter.bond_cutoff or 0.0,
            skin=settings.skin,
            n_partitions=n_partitions,
            method=settings.method,
            weights=settings.weights,
            devices=[settings.devices.devices[d] for d in self.device_of_partition],
            dtype=self._adapter.dtype,
            ranks=ranks.native if ranks else None,
            first_partitions=ranks.first_partitions(n_partitions)[:-1] if ranks else [],
        )

    @property
    def _agree(self) -> Callable[[Callable[[], int]], int] | None:
        """How ranks do something that may be wrong on one of them."""
        ranks = self._settings.ranks
        return None if ranks is None else lambda work: sum(ranks.agree(work))


def _arrays(
    atoms: Atoms,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """As the core reads them."""
    return atoms.positions, atoms.cell.array, atoms.pbc, atoms.numbers
