"""Candidates for the benchmarks that misbehave, each in its way; sent to other processes by name."""

from __future__ import annotations

import os
import time
from typing import Any


def counts_to(atoms: Any, number: int) -> Any:
    return lambda: sum(range(number)), lambda total: {"total": total, "n_atoms": len(atoms)}


def ends(atoms: Any) -> Any:
    return lambda: os._exit(3), dict


def hangs(atoms: Any) -> Any:
    return lambda: time.sleep(60) if len(atoms) < 100 else None, dict


def raises(atoms: Any) -> Any:
    raise ValueError("fewer edges than threads")


def attempted(what: str) -> dict[str, str]:
    if what == "raises":
        raise RuntimeError("it does not fit")
    if what == "ends":
        os._exit(3)
    if what == "hangs":
        time.sleep(60)
    return {"what": what}
