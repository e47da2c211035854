"""Which first layers of native stages were expanded by species."""

from __future__ import annotations

from typing import Any

import pytest

from distmlip.models import e3nn_native


def watched(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """From now on, for every layer that might be: whether it was."""
    found: list[bool] = []
    expanded = e3nn_native.expanded

    def watch(*of: Any) -> e3nn_native.Expanded | None:
        result = expanded(*of)
        found.append(result is not None)
        return result

    monkeypatch.setattr(e3nn_native, "expanded", watch)
    return found
