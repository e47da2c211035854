"""What is said during a calculation, so that nobody's settings for warnings can end it.

Where warnings are errors (``python -W error``) one of them would throw away a calculation that is all right.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)


class Advice:
    """What a user should know of a calculation: in the log, and each thing once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def give(self, text: str) -> None:
        """Into the log, unless it is there."""
        if text not in self._given:
            self._given.add(text)
            log.warning(text)


class _Filters:
    """Of the whole process: the first thread that wants quiet changes them, the last one puts them back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_threads = 0
        self._kept = warnings.catch_warnings()

    def enter(self) -> None:
        with self._lock:
            self._n_threads += 1
            if self._n_threads == 1:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self._lock:
            self._n_threads -= 1
            if self._n_threads == 0:
                self._kept.__exit__(None, None, None)


_filters = _Filters()


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of model packages about themselves, which nobody can act on here."""
    _filters.enter()
    try:
        yield
    finally:
        _filters.leave()
