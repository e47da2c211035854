"""Loads the compiled core, after checking that it fits the torch that is running."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch

from distmlip._built_for import TORCH_VERSION
from distmlip.errors import BuildMismatchError


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _load() -> ModuleType:
    # A core that was built for another minor version fails to load with an undefined symbol.
    if _minor(TORCH_VERSION) != _minor(torch.__version__):
        raise BuildMismatchError(
            f"distmlip was built for torch {TORCH_VERSION}, but torch {torch.__version__} is running; "
            "build it again: pip install --force-reinstall --no-deps . (in the distmlip source folder)"
        )
    return importlib.import_module("distmlip._core")


core = _load()
