"""Rank 1 gets into trouble in the second evaluation; the others must hear of it."""

from __future__ import annotations

import os
import sys
import time

from ase.build import bulk
from support.launching import PASSED
from support.toy import ToyModel
from support.troubled import Troubled

from distmlip import DistCalculator
from distmlip.errors import RankError


def main() -> None:
    atoms = bulk("Cu", cubic=True) * 2
    n_ranks = int(os.environ.get("WORLD_SIZE", "2"))  # not there in driver mode
    atoms.calc = DistCalculator(Troubled([ToyModel()]), partitions=n_ranks, devices="cpu")
    atoms.get_forces()
    atoms.positions[0] += 0.01
    if os.environ.get("RANK") == "1" and os.environ["TROUBLE"] == "ended":
        sys.exit(0)
    start = time.monotonic()
    try:
        atoms.get_forces()
    except RankError as error:
        print(f"after {time.monotonic() - start:.1f} s: {error}", flush=True)
        try:
            atoms.get_forces()
        except RankError as again:
            print(f"again: {again}", flush=True)
        sys.exit(3)
    print(PASSED, flush=True)


if __name__ == "__main__":
    main()
