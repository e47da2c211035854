"""Every MPI rank: a model in LAMMPS, for one structure after the other, against the undivided original."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from ase import Atoms
from support.families import FAMILIES
from support.lammps_boxes import (
    WORLD,
    atoms_of,
    compute_of,
    in_frame_of_lammps,
    lammps_of,
    types_of,
)
from support.launching import PASSED
from support.structures import STRUCTURES, rattled, small_oxide

from distmlip import DistCalculator
from distmlip.lammps import couple

BAR = 1.6021765e6
"""LAMMPS's, of an eV/Å^3."""


def in_a_corner() -> Atoms:
    """Of a box whose other parts are empty: ranks there own nothing."""
    atoms = small_oxide()
    atoms.set_cell(np.diag([40.0, 40.0, 40.0]))
    return atoms


def structures() -> dict[str, Atoms]:
    """As the originals want them, and as LAMMPS does."""
    found = {
        name: STRUCTURES[name]().reference
        for name in ("triclinic", "slab", "thin_in_all_directions", "without_angles")
    }
    return {"oxide": small_oxide() * (1, 1, 2), "corner": in_a_corner(), **found}


def check(model: Any, atoms: Atoms, is_slab: bool, options: dict[str, Any]) -> None:
    atoms = in_frame_of_lammps(atoms)
    in_lammps = atoms.copy()
    if is_slab:
        in_lammps.pbc = (True, True, False)
    lmp = lammps_of(in_lammps)
    with couple(lmp, model, types_of(atoms), devices="cpu", dtype="float64", **options) as coupling:
        for command in ("compute energies all pe/atom", "compute virials all stress/atom NULL virial"):
            lmp.command(command)
        lmp.command("thermo_style custom step pe pxx pyy pzz pxy pxz pyz")
        lmp.command("dump all all custom 1000 /dev/null id c_energies c_virials[1]")  # has them computed
        lmp.command("run 0")
        found = DistCalculator(model, devices="cpu", dtype="float64", ranks=False)
        expected = found._adapter.original()
        atoms.calc = expected
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert np.abs(forces).max() > 0.01
        limit = 1e-9 * max(1.0, np.abs(forces).max())
        np.testing.assert_allclose(atoms_of(lmp, "f", 3), forces, rtol=0, atol=limit)
        assert abs(lmp.get_thermo("pe") - energy) < 1e-10 * max(1, abs(energy)) * len(atoms)
        pressures = [lmp.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        if not is_slab:
            stress = np.array(atoms.get_stress())
            np.testing.assert_allclose(pressures, -stress * BAR, rtol=0, atol=1e-9 * BAR)
        found.calculate(in_lammps)
        np.testing.assert_allclose(
            compute_of(lmp, "energies", 1), found.results["energies"], rtol=0, atol=1e-9
        )
        if "stresses" in found.results:
            # LAMMPS orders xx, yy, zz, xy, xz, yz.
            virials = found.results["stresses"][:, [0, 1, 2, 5, 4, 3]] * atoms.get_volume() * BAR
            of_lammps = compute_of(lmp, "virials", 6)
            np.testing.assert_allclose(of_lammps, virials, rtol=1e-9, atol=1e-8 * BAR)
        if "magmoms" in found.results:
            magmoms = atoms_of(lmp, "d_magmom", 1)
            np.testing.assert_allclose(magmoms, found.results["magmoms"], rtol=0, atol=1e-9)
        owned = WORLD.allgather(lmp.extract_setting("nlocal"))
        assert sum(owned) == len(atoms)
        if coupling._ranks is not None:
            halo = coupling.plan().halo
            assert len(halo) == coupling._evaluator.graphs.native.n_partitions
    assert "distmlip" not in lmp.available_ids("fix")
    lmp.close()


def main() -> None:
    model, n_partitions = FAMILIES[sys.argv[1]](), sys.argv[2]
    options: dict[str, Any] = {} if n_partitions == "auto" else {"partitions": int(n_partitions)}
    for name, atoms in structures().items():
        try:
            check(model, atoms, name == "slab", options)
        except Exception as error:
            error.add_note(f"of {name}")
            raise
    # A second time, after steps that move atoms from rank to rank.
    moving = in_frame_of_lammps(rattled(small_oxide() * (1, 1, 2), 0.02))
    lmp = lammps_of(moving)
    with couple(
        lmp, model, types_of(moving), devices="cpu", dtype="float64", skin=0.3, **options
    ) as coupling:
        lmp.command("timestep 0.0005")
        lmp.command("velocity all create 3000 4 loop geom")
        lmp.command("fix nve all nve")
        lmp.command("run 30")
        moving.positions = atoms_of(lmp, "x", 3)
        moving.calc = DistCalculator(model, devices="cpu", dtype="float64", ranks=False)._adapter.original()
        forces = moving.get_forces()
        limit = 1e-9 * max(1.0, np.abs(forces).max())
        np.testing.assert_allclose(atoms_of(lmp, "f", 3), forces, rtol=0, atol=limit)
        assert coupling._evaluator.graphs.native.n_built > 1
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
