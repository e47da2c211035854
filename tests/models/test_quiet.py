"""What is said during a calculation: nobody's settings for warnings may end it, and they stay as they are."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest

from distmlip.models.quiet import Advice, quiet


def test_warnings_are_ignored_inside_only() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet():
            warnings.warn("of a package", stacklevel=1)
            with quiet():
                pass
            warnings.warn("of a package", stacklevel=1)
        with pytest.raises(UserWarning):
            warnings.warn("of the user", stacklevel=1)


def test_settings_come_back_however_threads_overlap() -> None:
    before = list(warnings.filters)
    first_is_inside, second_is_inside, first_is_outside = (threading.Event() for _ in range(3))

    def first() -> None:
        with quiet():
            first_is_inside.set()
            assert second_is_inside.wait(10)
        first_is_outside.set()

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_inside.wait(10)
    with quiet():
        second_is_inside.set()
        assert first_is_outside.wait(10)
        assert warnings.filters[0][0] == "ignore"
    thread.join(10)
    assert list(warnings.filters) == before


def test_an_error_inside_leaves_the_settings() -> None:
    before = list(warnings.filters)
    with pytest.raises(ValueError, match="of a model"), quiet():
        raise ValueError("of a model")
    assert list(warnings.filters) == before


def test_advice_is_given_once(caplog: pytest.LogCaptureFixture) -> None:
    advice = Advice()
    with caplog.at_level(logging.WARNING, logger="distmlip"):
        for text in ("a", "b", "a"):
            advice.give(text)
        Advice().give("a")
    assert [record.getMessage() for record in caplog.records] == ["a", "b", "a"]
