"""What communication costs, by formula: halos of slabs and boxes, bytes, seconds (see docs/scaling.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass

FORCE_BYTES = 24  # three float64, folded back once per halo atom


@dataclass(frozen=True)
class Family:
    """What of a model decides about its communication."""

    name: str
    cutoff: float  # Å
    halo_widths: tuple[int, ...]  # numbers per halo atom, of each exchange forward
    bond_widths: tuple[int, ...]  # numbers per cut bond
    bond_cutoff: float  # Å; 0 without angles
    seconds_per_atom: float = math.nan  # of a step on one device, assumed

    @property
    def n_stages(self) -> int:
        """An exchange stands before each but the first."""
        return len(self.halo_widths) + 1


@dataclass(frozen=True)
class Network:
    """What connects devices; each device's own share of it, in one direction."""

    name: str
    bandwidth: float  # bytes/s
    latency: float  # s per exchange
    efficiency: float = 0.8  # of the bandwidth, for messages as large as these


@dataclass(frozen=True)
class System:
    """A homogeneous periodic cube."""

    n_atoms: float
    density: float  # atoms/Å^3

    @property
    def edge(self) -> float:
        return (self.n_atoms / self.density) ** (1 / 3)


def depth(cutoff: float, density: float) -> float:
    """Å behind a face that are read, in the mean: an atom at a distance z is read if there is any atom in the
    cap of height r - z that its sphere cuts off behind the face."""
    steps = 1000
    total = 0.0
    for k in range(steps):
        height = cutoff * (k + 0.5) / steps
        cap = math.pi / 3 * height**2 * (3 * cutoff - height)
        total += 1 - math.exp(-density * cap)
    return cutoff * total / steps


def slab_halo(system: System, n_partitions: int, cutoff: float) -> float:
    """Halo atoms of one of P slabs: a layer as thick as the cutoff on both faces, but never more atoms than
    the others have."""
    if n_partitions == 1:
        return 0.0
    layers = 2 * depth(cutoff, system.density) * system.edge**2 * system.density
    return min(layers, system.n_atoms * (1 - 1 / n_partitions))


def box_halo(system: System, n_partitions: int, cutoff: float) -> float:
    """Halo atoms of one of P boxes, each axis cut by turns: what lies within the cutoff of a box (Steiner's
    formula), where an axis is not cut the box has no face across it."""
    if n_partitions == 1:
        return 0.0
    cuts = _cuts(n_partitions)
    sides = [system.edge / n for n in cuts]
    open_axes = [k for k in range(3) if cuts[k] > 1]
    faces = 2 * sum(math.prod(sides[j] for j in range(3) if j != k) for k in open_axes)
    edges = sum(4 * sides[3 - a - b] for i, a in enumerate(open_axes) for b in open_axes[i + 1 :])
    corners = 1.0 if len(open_axes) == 3 else 0.0
    r = depth(cutoff, system.density)
    volume = faces * r + edges * math.pi / 4 * r**2 + corners * 4 / 3 * math.pi * r**3
    return min(volume * system.density, system.n_atoms * (1 - 1 / n_partitions))


HALOS = {"slab": slab_halo, "bisection": box_halo}


def shell_rows(family: Family, system: System, n_partitions: int) -> float:
    """Rows of atoms that one box computes in all of a model's stages if nothing but positions is exchanged:
    each stage also those that later stages read, in a shell that is thicker by the cutoff for each one."""
    own = system.n_atoms / n_partitions
    return sum(own + box_halo(system, n_partitions, k * family.cutoff) for k in range(family.n_stages))


def cut_bonds(system: System, n_partitions: int, bond_cutoff: float, method: str) -> float:
    """Bonds of one partition that have a copy in another: those that cross its surface."""
    if n_partitions == 1 or bond_cutoff == 0:
        return 0.0
    # There are 2 pi b^2 density^2 db bonds of length b per volume, with a mean projection of b / 2.
    per_area = math.pi / 4 * system.density**2 * bond_cutoff**4
    if method == "slab":
        return 2 * system.edge**2 * per_area
    cuts = _cuts(n_partitions)
    sides = [system.edge / n for n in cuts]
    area = 2 * sum(math.prod(sides[j] for j in range(3) if j != k) for k in range(3) if cuts[k] > 1)
    return area * per_area


def exchange_bytes(
    family: Family, system: System, n_partitions: int, method: str, itemsize: int = 4
) -> float:
    """That one partition receives in a step: the sweep forward, as much backward, and forces."""
    halo = HALOS[method](system, n_partitions, family.cutoff)
    bonds = cut_bonds(system, n_partitions, family.bond_cutoff, method)
    forward = itemsize * (halo * sum(family.halo_widths) + bonds * sum(family.bond_widths))
    return 2 * forward + FORCE_BYTES * halo


def exchange_seconds(
    family: Family, system: System, n_partitions: int, method: str, network: Network
) -> float:
    """Of a step: bytes through the device's own link, and a latency for each boundary in each direction."""
    if n_partitions == 1:
        return 0.0
    n_bytes = exchange_bytes(family, system, n_partitions, method)
    boundaries = 2 * len(family.halo_widths) + 1
    return boundaries * network.latency + n_bytes / (network.efficiency * network.bandwidth)


def step_seconds(
    family: Family, system: System, n_partitions: int, method: str, network: Network, imbalance: float = 0.025
) -> float:
    """Of a step, nothing overlapped."""
    share = system.n_atoms / n_partitions * (1 + (imbalance if n_partitions > 1 else 0))
    return share * family.seconds_per_atom + exchange_seconds(family, system, n_partitions, method, network)


def _cuts(n_partitions: int) -> list[int]:
    """Of each axis, for a power of two: every cut goes across the longest side."""
    cuts = [1, 1, 1]
    while math.prod(cuts) < n_partitions:
        cuts[cuts.index(min(cuts))] *= 2
    return cuts
