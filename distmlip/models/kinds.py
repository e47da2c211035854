"""What kind of object a part of a model is, also where its package came with the model."""

from __future__ import annotations

import re

from distmlip.errors import type_name

_PACKAGED = re.compile(r"^<torch_package_\d+>\.")
"""Before the module of a class that was loaded with a model, by torch.package."""


def kind_of(part: object) -> str:
    """The name of its class, with its module."""
    return unpackaged(type_name(part))


def unpackaged(name: str) -> str:
    """The name of a module or class as it is where its package is installed."""
    return _PACKAGED.sub("", name)
