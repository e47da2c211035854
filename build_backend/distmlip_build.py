"""The build backend: scikit-build-core, after one look for torch.

Torch is not a build requirement (pip would install a second one into its isolated build environment), so
pip cannot ask for it. Without this look a missing torch would surface in the middle of CMake's output.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from scikit_build_core import build as scikit_build

# -E looks past the PYTHONPATH of pip's isolated build environment, as cmake/FindPythonTorch.cmake does.
_LOOK_FOR_TORCH = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"


def _needs_torch(hook: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(hook)
    def checked(*arguments: Any, **keywords: Any) -> Any:
        if not any(_finds_torch(flags) for flags in ([], ["-E"])):
            sys.exit(
                "distmlip needs torch 2.11 or newer before it can be built; run: pip install torch==2.13.0"
            )
        return hook(*arguments, **keywords)

    return checked


def _finds_torch(flags: list[str]) -> bool:
    command = [sys.executable, *flags, "-c", _LOOK_FOR_TORCH]
    return subprocess.run(command, check=False).returncode == 0


get_requires_for_build_sdist = scikit_build.get_requires_for_build_sdist
build_sdist = scikit_build.build_sdist

get_requires_for_build_wheel = _needs_torch(scikit_build.get_requires_for_build_wheel)
prepare_metadata_for_build_wheel = _needs_torch(scikit_build.prepare_metadata_for_build_wheel)
build_wheel = _needs_torch(scikit_build.build_wheel)

get_requires_for_build_editable = _needs_torch(scikit_build.get_requires_for_build_editable)
prepare_metadata_for_build_editable = _needs_torch(scikit_build.prepare_metadata_for_build_editable)
build_editable = _needs_torch(scikit_build.build_editable)
