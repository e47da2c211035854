"""Loads the compiled core, after checking that there is one and that it fits the torch that is running."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from distmlip.errors import BuildMismatchError, InvalidInputError

__all__ = ["core"]


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _load() -> ModuleType:
    if find_spec("distmlip._built_for") is None:
        raise BuildMismatchError(_without_core(Path(__file__).parent))
    built_for = importlib.import_module("distmlip._built_for").TORCH_VERSION
    # A core that was built for another minor version fails to load with an undefined symbol.
    if _minor(built_for) != _minor(torch.__version__):
        raise BuildMismatchError(
            f"distmlip was built for torch {built_for}, but torch {torch.__version__} is running; "
            "build it again: pip install --force-reinstall --no-deps . (in the distmlip source folder)"
        )
    compiled = importlib.import_module("distmlip._core")
    _choose_simd(compiled, os.environ.get("DISTMLIP_ISA", ""))
    return compiled


def _choose_simd(compiled: ModuleType, wanted: str) -> None:
    """Of the instruction sets that kernels are compiled for, not the best one of this processor but the one
    that the environment asks for."""
    if not wanted:
        return
    if wanted not in compiled.simd_levels:
        raise InvalidInputError(
            f"DISTMLIP_ISA={wanted} in the environment, but this processor has "
            f"{', '.join(compiled.simd_levels)}; set it to one of these, or unset it for the best one"
        )
    compiled.set_simd(wanted)


def _without_core(package: Path) -> str:
    """What is wrong with a package that was never built, and what to do."""
    source = package.parent
    if not (source / "pyproject.toml").is_file():
        return f"{package} has no compiled core; install it again: pip install --force-reinstall distmlip"
    message = f"this Python imports distmlip from its source folder {source}, which has no compiled core"
    built = (Path(folder) / package.name for folder in sys.path)
    hidden = next((folder for folder in built if (folder / "_built_for.py").is_file()), None)
    if hidden is None:
        return f"{message}, and none is installed; run: pip install {source}, then work in another folder"
    return (
        f"{message} and hides the one installed in {hidden}; run from another folder, or with python -P, "
        "or set PYTHONSAFEPATH=1"
    )


if TYPE_CHECKING:
    import distmlip._core as core
else:
    core = _load()
