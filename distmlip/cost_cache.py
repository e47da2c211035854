"""Cost models on disk, so that a model is probed once on a device. A cache that fails is no error."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from distmlip.costs import CostModel

FORMAT = 1
"""Of the file; another one is not read."""

log = logging.getLogger(__name__)


def folder() -> Path:
    """Where cost models are kept: ``$DISTMLIP_CACHE``, else the user's cache directory."""
    chosen = os.environ.get("DISTMLIP_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "distmlip"


def load(key: dict[str, Any]) -> CostModel | None:
    """The cost model of this key; None if there is none that can be read."""
    try:
        path = _path(key)
        content = json.loads(path.read_text())
        if content["key"] != _plain(key):
            return None
        return CostModel.from_dict(content["costs"])
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.debug("the cost model in %s cannot be read: %r", folder(), error)
        return None


def save(key: dict[str, Any], costs: CostModel) -> None:
    """Keep the cost model. Readers see the old file or the new one, never a part."""
    try:
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as part:
            json.dump({"key": _plain(key), "costs": costs.to_dict()}, part)
        Path(part.name).replace(path)
    except (OSError, RuntimeError) as error:
        log.debug("the cost model cannot be kept: %r", error)


def _path(key: dict[str, Any]) -> Path:
    text = json.dumps(_plain(key), sort_keys=True)
    return folder() / f"costs-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def _plain(key: dict[str, Any]) -> Any:
    return json.loads(json.dumps({**key, "format": FORMAT}))
