"""The structures that benchmarks run on: dense, disordered, full of holes, surrounded by vacuum."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import read
from ase.spacegroup import crystal

LITHIUM_MANGANESE_OXIDE = Path(__file__).parents[1] / "distmlip" / "data" / "mp-18767-LiMnO2.cif"
LATTICE_CONSTANT = 3.61  # Å, fcc Cu
WATER_SPACING = 3.105  # Å between molecules: 1 g/cm^3
SLAB_LAYERS = 8  # cubic cells, 29 Å
VACUUM = 30.0  # Å above the slab
PORE_DISTANCE = 40.0  # Å, about


def copper(n_atoms: int) -> Atoms:
    """About n_atoms of fcc Cu in a periodic cube, shaken; in the order of the cells."""
    atoms = bulk("Cu", "fcc", a=LATTICE_CONSTANT, cubic=True) * max(1, round((n_atoms / 4) ** (1 / 3)))
    atoms.rattle(0.05, rng=np.random.default_rng(0))
    return atoms


def shuffled_copper(n_atoms: int) -> Atoms:
    """The same with its atoms in random order."""
    atoms = copper(n_atoms)
    return atoms[np.random.default_rng(1).permutation(len(atoms))]


def water(n_atoms: int) -> Atoms:
    """A periodic cube of molecules at water's density, with random places and directions."""
    random = np.random.default_rng(2)
    per_edge = max(1, round((n_atoms / 3) ** (1 / 3)))
    places = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    oxygen = WATER_SPACING * places + random.uniform(-0.4, 0.4, places.shape)
    along, across = random.normal(size=(2, *places.shape))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across -= (across * along).sum(axis=1, keepdims=True) * along
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    hydrogen = [oxygen + 0.586 * along + side * 0.757 * across for side in (1, -1)]  # 0.957 Å, 104.5°
    positions = np.stack([oxygen, *hydrogen], axis=1).reshape(-1, 3)
    return Atoms(np.tile([8, 1, 1], len(oxygen)), positions, cell=[WATER_SPACING * per_edge] * 3, pbc=True)


def porous(n_atoms: int) -> Atoms:
    """Copper with channels: one side of a gyroid, half of a periodic cube."""
    atoms = copper(2 * n_atoms)
    edge = atoms.cell.lengths()[0]
    waves = max(1, round(edge / PORE_DISTANCE))
    x, y, z = 2 * np.pi * waves / edge * atoms.positions.T
    return atoms[np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x) > 0]


def nanoparticle(n_atoms: int) -> Atoms:
    """A sphere of fcc Cu in the middle of an open cube of three diameters: 98 % vacuum."""
    diameter = LATTICE_CONSTANT * (6 / np.pi * n_atoms / 4) ** (1 / 3)
    atoms = bulk("Cu", "fcc", a=LATTICE_CONSTANT, cubic=True) * (int(diameter / LATTICE_CONSTANT) + 2)
    atoms.positions -= atoms.positions.mean(axis=0)
    atoms = atoms[np.linalg.norm(atoms.positions, axis=1) < diameter / 2]
    atoms.rattle(0.05, rng=np.random.default_rng(3))
    atoms.cell, atoms.pbc = [3 * diameter] * 3, False
    atoms.positions += 1.5 * diameter
    return atoms


def slab(n_atoms: int) -> Atoms:
    """A slab of fcc Cu under vacuum, periodic along its plane."""
    width = max(1, round((n_atoms / 4 / SLAB_LAYERS) ** 0.5))
    atoms = bulk("Cu", "fcc", a=LATTICE_CONSTANT, cubic=True) * (width, width, SLAB_LAYERS)
    atoms.rattle(0.05, rng=np.random.default_rng(4))
    atoms.cell[2, 2] += VACUUM
    atoms.pbc = (True, True, False)
    return atoms


SUPERCELLS = {128: (2, 2, 4), 504: (3, 3, 7), 1024: (4, 4, 8), 2000: (5, 5, 10), 4000: (10, 5, 10)}
"""Cells of LiMnO2 along each axis, by the number of atoms."""


def supercell(cells: tuple[int, int, int]) -> Atoms:
    """LiMnO2 of the Materials Project, periodic, with so many cells along each axis, shaken."""
    atoms: Atoms = read(LITHIUM_MANGANESE_OXIDE).repeat(cells)
    atoms.info.clear()  # what the reader says of the unit cell
    atoms.rattle(0.05, rng=np.random.default_rng(0))
    return atoms


def urea(cells: tuple[int, int, int]) -> Atoms:
    """The molecular crystal at 12 K (Swaminathan and others, Acta Cryst. B 40, 300, 1984), shaken."""
    places = [
        (0, 0.5, 0.3260),
        (0, 0.5, 0.5953),
        (0.1459, 0.6459, 0.1766),
        (0.2575, 0.7575, 0.2827),
        (0.1441, 0.6441, 0.9620),
    ]
    a, c = 5.565, 4.684  # Å
    atoms: Atoms = crystal("CONHH", places, spacegroup=113, cellpar=[a, a, c, 90, 90, 90]).repeat(cells)
    atoms.info.clear()
    atoms.rattle(0.05, rng=np.random.default_rng(0))
    return atoms


CRYSTALS: dict[str, Callable[[tuple[int, int, int]], Atoms]] = {"LiMnO2": supercell, "urea": urea}
"""By names, of so many cells along each axis."""


def lithium_manganese_oxide(n_atoms: int) -> Atoms:
    """About so many atoms of it, with as many cells along every axis."""
    cells = max(1, round((n_atoms / 8) ** (1 / 3)))
    return supercell((cells, cells, cells))


SYSTEMS: dict[str, Callable[[int], Atoms]] = {
    "fcc Cu": copper,
    "fcc Cu, shuffled": shuffled_copper,
    "water": water,
    "porous Cu": porous,
    "Cu nanoparticle": nanoparticle,
    "Cu slab": slab,
}
