"""Narrow models of families by name, for scripts of other processes: each imports its own package only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def chgnet() -> Any:
    from support.chgnet_models import build_narrow

    return build_narrow()


def mace() -> Any:
    from support.mace_models import narrow

    return narrow()


def tensornet() -> Any:
    from support.matgl_models import build_tensornet

    return build_tensornet(use_warp=False)


def sevennet() -> Any:
    from support.sevennet_models import build_narrow

    return build_narrow()


FAMILIES: dict[str, Callable[[], Any]] = {make.__name__: make for make in (chgnet, mace, tensornet, sevennet)}
