"""Cost models on disk, so that a model is probed once on a device. A cache that fails is a mere warning."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import threading
from pathlib import Path
from typing import TypeAlias

from distmlip.choice.costs import CostModel, Json

Key: TypeAlias = dict[str, Json]
"""What costs depend on."""

FORMAT = 1
"""Of the file; another one is not read."""

log = logging.getLogger(__name__)
_has_warned = threading.Event()


def folder() -> Path:
    """Where cost models are kept: ``$DISTMLIP_CACHE``, else the user's cache directory."""
    chosen = os.environ.get("DISTMLIP_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distmlip"


def load(key: Key) -> CostModel | None:
    """The cost model of this key; None if there is none that can be read."""
    try:
        content = json.loads(_path(key).read_text())
        if content["key"] != _plain(key):
            return None
        return CostModel.from_json(content["costs"])
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError) as error:
        _warn("read", error)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.debug("the cost model in %s is spoilt, and made anew: %r", folder(), error)
    return None


def save(key: Key, costs: CostModel) -> None:
    """Keep the cost model. Readers see the old file or the new one, never a part."""
    try:
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
        try:
            # Not by tempfile, whose files nobody else can read: the folder may be shared.
            with part.open("x") as file:
                json.dump({"key": _plain(key), "costs": costs.to_json()}, file)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        _warn("kept", error)


def _warn(what: str, error: Exception) -> None:
    """Once per process: what is wrong with the folder stays so."""
    if not _has_warned.is_set():
        _has_warned.set()
        log.warning(
            "a cost model cannot be %s (%s), so that models are measured anew; give read and write access to "
            "the folder, or name another one by the environment variable DISTMLIP_CACHE",
            what,
            error,
        )


def _path(key: Key) -> Path:
    text = json.dumps(_plain(key), sort_keys=True)
    return folder() / f"costs-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _plain(key: Key) -> Json:
    return json.loads(json.dumps({**key, "format": FORMAT}))
