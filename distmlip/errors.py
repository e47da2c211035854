"""Every exception that distmlip raises on purpose.

Each one also subclasses the built-in exception that fits, so code that does not know distmlip
can catch ``ValueError``, ``NotImplementedError`` or ``RuntimeError`` as usual. Messages state the
offending value, the limit and the remedy.
"""

from __future__ import annotations


def type_name(value: object) -> str:
    """How messages name the type of a value: with its module."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def reason_of(error: Exception) -> str:
    """What another package's exception says, in one line of a message: its kind, and how it begins."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()][:2]
    said = " ".join(lines)
    return f"{type(error).__name__}: {said[:200]}" if said else type(error).__name__


class DistMLIPError(Exception):
    """Base class of all exceptions of this package."""


class InvalidInputError(DistMLIPError, ValueError):
    """An argument or a structure that no calculation can be made for."""


class UnsupportedElementError(InvalidInputError):
    """The structure has an element that the model was not made for, or a number that is no element."""


class DeviceError(InvalidInputError):
    """A device that does not exist or cannot be used."""


class UnsupportedModelError(DistMLIPError, NotImplementedError):
    """A model, or a part of a model, that cannot be distributed."""


class NotNativeError(UnsupportedModelError):
    """A model, or a part of a model, that native stages do not know."""


class NonFiniteResultError(DistMLIPError, RuntimeError):
    """The model returned an energy or a force that is not a finite number."""


class RankError(DistMLIPError, RuntimeError):
    """Another rank of the run failed or was lost: what all of them computed together cannot be finished."""


class RunFolderError(DistMLIPError, OSError):
    """The folder of a run, its trajectory or a checkpoint cannot be read, written or gone on with."""


class OutOfMemoryError(DistMLIPError, MemoryError):
    """More memory was needed than there is, however the work was split."""


class BuildMismatchError(DistMLIPError, ImportError):
    """There is no compiled core, or it does not fit the torch that is installed."""
