"""Every MPI rank: rank 1 fails in the third step, and LAMMPS ends on all of them with what it said."""

from __future__ import annotations

import pytest
from ase.build import bulk
from support.chgnet_models import build_narrow
from support.lammps_boxes import WORLD, lammps_of
from support.launching import PASSED

from distmlip.errors import RankError
from distmlip.lammps import couple

TROUBLE = "the third step is one too many"


class BrokenError(Exception):
    pass


def main() -> None:
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    lmp = lammps_of(atoms)
    with couple(lmp, build_narrow(), ["Cu"], devices="cpu", dtype="float64") as coupling:
        evaluate, calls = coupling._evaluator.evaluate, []

        def breaks(*arguments: object) -> object:
            calls.append(arguments)
            if WORLD.rank == 1 and len(calls) == 3:
                raise BrokenError(TROUBLE)
            return evaluate(*arguments)  # type: ignore[arg-type]

        coupling._evaluator.evaluate = breaks  # type: ignore[method-assign, assignment]
        lmp.command("fix nve all nve")
        with pytest.raises(BrokenError if WORLD.rank == 1 else RankError, match=TROUBLE) as caught:
            lmp.command("run 100")
        assert WORLD.rank == 1 or "rank 1 failed in" in str(caught.value)
        assert len(calls) == 3
        with pytest.raises(Exception, match=TROUBLE):  # what was wrong is not forgotten
            lmp.command("run 100")
        assert len(calls) == 3
    coupling.close()
    lmp.command("run 1")
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
