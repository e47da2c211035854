"""Every test begins with nothing under way. These tests run in a process of their own: see device.py."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ordered import device


@pytest.fixture(autouse=True)
def nothing_under_way() -> Iterator[None]:
    device.core.set_device(0)
    device.synchronize()
    device.core.take_reports()
    device.core.take_counts()
    yield
    device.core.set_raise(False)
