"""What was found out of a model, on disk, so that it is probed once on a device. A cache that fails is a mere
warning."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

Json: TypeAlias = Any
"""What a file may hold: checked where it is read."""
Found = TypeVar("Found")

Key: TypeAlias = dict[str, Json]
"""What the thing depends on."""

FORMAT = 1
"""Of the files; another one is not read."""

log = logging.getLogger(__name__)
_has_warned = threading.Event()


def folder() -> Path:
    """Where it is kept: ``$DISTMLIP_CACHE``, else the user's cache directory."""
    chosen = os.environ.get("DISTMLIP_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distmlip"


@dataclass(frozen=True)
class Shelf(Generic[Found]):
    """The files of one kind of thing that is found out once."""

    name: str
    """What the files' names begin with."""
    to_json: Callable[[Found], Json]
    from_json: Callable[[Json], Found]
    """Raises ValueError, TypeError, KeyError or AttributeError for what :attr:`to_json` does not give."""

    def load(self, key: Key) -> Found | None:
        """What was found for this key; None if there is nothing that can be read."""
        try:
            content = json.loads(self._path(key).read_text())
            if content["key"] != _plain(key):
                return None
            return self.from_json(content[self.name])
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError) as error:
            _warn("read", error)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.debug("a file of %s in %s is spoilt, and made anew: %r", self.name, folder(), error)
        return None

    def save(self, key: Key, found: Found) -> None:
        """Keep it. Readers see the old file or the new one, never a part."""
        try:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
            try:
                # Not by tempfile, whose files nobody else can read: the folder may be shared.
                with part.open("x") as file:
                    json.dump({"key": _plain(key), self.name: self.to_json(found)}, file)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except (OSError, RuntimeError) as error:
            _warn("kept", error)

    def _path(self, key: Key) -> Path:
        text = json.dumps(_plain(key), sort_keys=True)
        return folder() / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _warn(what: str, error: Exception) -> None:
    """Once per process: what is wrong with the folder stays so."""
    if not _has_warned.is_set():
        _has_warned.set()
        log.warning(
            "what was found of a model cannot be %s (%s), so that models are measured anew; give read and "
            "write access to the folder, or name another one by the environment variable DISTMLIP_CACHE",
            what,
            error,
        )


def _plain(key: Key) -> Json:
    return json.loads(json.dumps({**key, "format": FORMAT}))
