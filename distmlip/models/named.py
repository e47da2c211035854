"""Models by the names that commands take: ``chgnet``, ``mace:FILE``, ``python:module:function``, …"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

from distmlip.errors import InvalidInputError
from distmlip.models import FAMILIES
from distmlip.models.quiet import quiet

EXAMPLES = (
    "chgnet, chgnet:r2scan, mace:FILE, matgl:FOLDER, sevennet:7net-0, fairchem:FILE[:TASK], "
    "mattersim:FILE, nequip:FILE, orb:NAME[:FILE], python:MODULE:FUNCTION"
)


PICKLES = "loading such a file runs code that is in it: take it from people whom you trust"


def named_model(name: str) -> Any:
    """A model object, or a family's own calculator. Loading a file of some families runs code that is in it.

    Raises:
        InvalidInputError: nobody knows the name, or what is behind its colon.
        ImportError: the family's package is not installed.
    """
    kind, _, rest = name.partition(":")
    if kind == "python":
        return _made_by(rest)
    families = {family.folder: family for family in FAMILIES.values()}
    if kind not in families:
        raise InvalidInputError(f"no model is called {name!r}; there are {EXAMPLES}")
    if not rest and kind not in ("chgnet", "sevennet"):
        raise InvalidInputError(f"the model {name!r} says not which; there are {EXAMPLES}")
    family = families[kind]
    with quiet(), contextlib.redirect_stdout(io.StringIO()):  # packages announce models, devices, …
        try:
            module = family.adapter_module()
        except ImportError as error:
            raise ImportError(
                f"the model {name!r} needs a package that is missing ({error}); run: pip install "
                f"{family.distribution}, or pip install '.[{family.extra}]' in distmlip's source folder"
            ) from error
        try:
            return module.named(rest)
        except InvalidInputError as error:
            if not family.files_run_code:
                raise
            raise InvalidInputError(f"{error}; {PICKLES}") from error


def _made_by(path: str) -> Any:
    """What a function without arguments returns."""
    module_name, _, function_name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidInputError(
            f"python:{path}: {error}; give python:MODULE:FUNCTION, with the module's folder on PYTHONPATH"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):
        return function()
