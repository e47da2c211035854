"""Every MPI rank: rank 1 gets a signal in the third step, which it does not survive or not go on after."""

from __future__ import annotations

import logging
import os
import signal
import sys

from ase.build import bulk
from support.chgnet_models import build_narrow
from support.lammps_boxes import WORLD, lammps_of

from distmlip.lammps import couple


def main(name: str) -> None:
    logging.basicConfig()
    lmp = lammps_of(bulk("Cu", cubic=True) * (2, 2, 2))
    coupling = couple(lmp, build_narrow(), ["Cu"], devices="cpu", dtype="float64")
    evaluate, calls = coupling._evaluator.evaluate, []

    def stops(*arguments: object) -> object:
        calls.append(arguments)
        if WORLD.rank == 1 and len(calls) == 3:
            os.kill(os.getpid(), signal.Signals[name])
        return evaluate(*arguments)  # type: ignore[arg-type]

    coupling._evaluator.evaluate = stops  # type: ignore[method-assign, assignment]
    lmp.command("fix nve all nve")
    lmp.command("run 100")


if __name__ == "__main__":
    main(sys.argv[1])
