"""Structures for the parity tests: small, rattled, awkward in one way each; and three of the real world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import ase.build
import ase.io
import ase.spacegroup
import numpy as np
from ase import Atoms

DATA = Path(__file__).parent.parent / "data"

LARGEST_CUTOFF = 6.0
"""Å; of the models that are tested. Boxes around molecules keep images farther apart than this."""


@dataclass(frozen=True)
class Structure:
    """Atoms for a calculator, and the same atoms as the originals want them."""

    atoms: Atoms
    reference: Atoms
    """In a fully periodic box with vacuum where the originals fail on the boundaries of ``atoms``, or are
    wrong about them; else ``atoms``."""


def rattled(atoms: Atoms, amplitude: float, seed: int = 0) -> Atoms:
    atoms = atoms.copy()
    atoms.positions += np.random.default_rng(seed).normal(scale=amplitude, size=atoms.positions.shape)
    return atoms


def in_periodic_box(atoms: Atoms) -> Atoms:
    """The same atoms in an orthorhombic periodic box with vacuum on all sides."""
    boxed = atoms.copy()
    boxed.set_cell(np.ptp(atoms.positions, axis=0) + LARGEST_CUTOFF + 2.0)
    boxed.pbc = True
    return boxed


def periodic(atoms: Atoms) -> Structure:
    return Structure(atoms, atoms)


def oxide_cell() -> Atoms:
    """LiMnO2 (mp-18767) as shipped with the package: 8 atoms, periodic."""
    with resources.as_file(resources.files("distmlip") / "data" / "mp-18767-LiMnO2.cif") as path:
        return ase.io.read(path)


def metal_with_vacancies() -> Structure:
    crystal = ase.build.bulk("Cu", cubic=True) * (2, 2, 2)
    del crystal[[3, 17, 18]]
    return periodic(rattled(crystal, 0.12))


def oxide() -> Structure:
    return periodic(rattled(oxide_cell() * (3, 2, 1), 0.08))


def small_oxide() -> Atoms:
    """Two cells of the oxide."""
    return rattled(oxide_cell() * (2, 1, 1), 0.08)


def triclinic() -> Structure:
    crystal = ase.build.bulk("MnO", "rocksalt", a=4.44) * (2, 3, 2)
    shear = np.array([[1.0, 0.0, 0.0], [0.12, 1.0, 0.0], [-0.09, 0.15, 1.0]])
    crystal.set_cell(crystal.cell.array @ shear, scale_atoms=True)
    return periodic(rattled(crystal, 0.12))


def thin_in_one_direction() -> Structure:
    return periodic(rattled(ase.build.bulk("MnO", "rocksalt", a=4.44, cubic=True) * (2, 2, 1), 0.1))


def thin_in_all_directions() -> Structure:
    cell = [[3.1, 0.0, 0.0], [0.3, 2.9, 0.0], [-0.2, 0.4, 3.3]]
    return periodic(Atoms("MnO", scaled_positions=[[0.0, 0.0, 0.0], [0.4, 0.4, 0.4]], cell=cell, pbc=True))


def slab() -> Structure:
    """Periodic in x and y; the vacuum along z is wider than any cutoff."""
    layers = ase.build.fcc111("Cu", (2, 2, 3), a=3.61, vacuum=LARGEST_CUTOFF, orthogonal=True)
    reference = rattled(layers, 0.1)
    reference.pbc = True
    atoms = reference.copy()
    atoms.pbc = (True, True, False)
    return Structure(atoms, reference)


def molecule() -> Structure:
    peroxide = rattled(ase.build.molecule("H2O2"), 0.05)
    return Structure(peroxide, in_periodic_box(peroxide))


def two_far_apart_molecules() -> Structure:
    """Water, and 40 Å away a hydroxyl radical, which has a short bond but no angle."""
    water = rattled(ase.build.molecule("H2O"), 0.05)
    radical = ase.build.molecule("OH")
    radical.positions += [40.0, 1.0, -2.0]
    both = water + radical
    return Structure(both, in_periodic_box(both))


def one_atom() -> Structure:
    atom = Atoms("O", positions=[[0.3, -0.2, 0.1]])
    return Structure(atom, in_periodic_box(atom))


def without_angles() -> Structure:
    """Neighbours within the cutoff, too far away to form angles."""
    return periodic(rattled(ase.build.bulk("MnO", "rocksalt", a=6.7, cubic=True), 0.15))


def outside_the_cell() -> Structure:
    atoms = rattled(oxide_cell() * (2, 2, 1), 0.08)
    images = np.random.default_rng(1).integers(-2, 3, size=(len(atoms), 3))
    atoms.positions += images @ atoms.cell.array
    return periodic(atoms)


STRUCTURES: dict[str, Callable[[], Structure]] = {
    build.__name__: build
    for build in (
        metal_with_vacancies,
        oxide,
        triclinic,
        thin_in_one_direction,
        thin_in_all_directions,
        slab,
        molecule,
        two_far_apart_molecules,
        one_atom,
        without_angles,
        outside_the_cell,
    )
}


def cathode() -> Structure:
    """Li9Co7O16 (mp-1175469), triclinic."""
    return periodic(rattled(ase.io.read(DATA / "mp-1175469-Li9Co7O16.cif"), 0.05))


def quartz() -> Structure:
    """α-quartz; positions of Si and O from Levien, Prewitt and Weidner, Am. Mineral. 65 (1980)."""
    crystal = ase.spacegroup.crystal(
        ["Si", "O"],
        basis=[(0.4697, 0.0, 2 / 3), (0.4135, 0.2669, 0.1191 + 2 / 3)],
        spacegroup=154,
        cellpar=[4.916, 4.916, 5.4054, 90, 90, 120],
    )
    return periodic(rattled(crystal * (2, 1, 1), 0.05))


def dry_ice() -> Structure:
    """Carbon dioxide, a molecular crystal (Pa-3)."""
    crystal = ase.spacegroup.crystal(
        ["C", "O"],
        basis=[(0.0, 0.0, 0.0), (0.1185, 0.1185, 0.1185)],
        spacegroup=205,
        cellpar=[5.624] * 3 + [90] * 3,
    )
    return periodic(rattled(crystal * (2, 1, 1), 0.05))


REAL: dict[str, Callable[[], Structure]] = {build.__name__: build for build in (cathode, quartz, dry_ice)}

NUMBERS = sorted(
    {int(number) for build in [*STRUCTURES.values(), *REAL.values()] for number in build().atoms.numbers}
)
"""Every atomic number that occurs in them."""
