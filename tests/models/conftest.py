"""What tests of native stages begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.chosen import Chosen

from distmlip._native import core
from distmlip.choice import kernels


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Exact radial functions, unless a test chooses tables."""
    choice = Chosen(None)
    monkeypatch.setattr(kernels, "decide", choice)
    return choice


@pytest.fixture
def simd() -> Iterator[None]:
    before = core.simd()
    yield
    core.set_simd(before)
