"""What ends a run before its last step: signals, its time, or a file."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

STOP = "STOP"
"""The file in a run's folder that ends it."""
SAME_REQUEST = 10.0
"""s within which several signals are one."""


class Ending(IntEnum):
    """Why a run ended; the number is the exit code of commands."""

    DONE = 0
    NOT_CONVERGED = 4
    """A relaxation took all of its steps."""
    LOST = 3
    """It was stopped because of what was seen."""
    OUT_OF_TIME = 75
    """Of ``max_time``; to be gone on with, as after the next two."""
    STOP_FILE = 76
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def goes_on(self) -> bool:
        """Whether a resume goes on from it."""
        return self not in (Ending.DONE, Ending.LOST)

    @property
    def in_words(self) -> str:
        """For people."""
        return {
            Ending.DONE: "done",
            Ending.NOT_CONVERGED: "forces are not small enough yet",
            Ending.LOST: "stopped",
            Ending.OUT_OF_TIME: "its time is up",
            Ending.STOP_FILE: f"there was a file {STOP}",
            Ending.INTERRUPTED: "interrupted",
            Ending.TERMINATED: "told to end",
        }[self]


class Stopping:
    """Asked after every step."""

    def __init__(self, folder: Path | None, max_time: float | None) -> None:
        self._file = folder / STOP if folder is not None else None
        self._end = math.inf if max_time is None else time.monotonic() + max_time
        self._signal: Ending | None = None
        self._told = 0.0
        self._longest = 0.0
        self._last = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """In the block a signal ends the run after its step; another one ends it at once, but not within
        seconds of the first: launchers and schedulers send several."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only there signals can be handled
            return
        endings = {signal.SIGINT: Ending.INTERRUPTED, signal.SIGTERM: Ending.TERMINATED}

        def handle(number: int, _: object) -> None:
            now = time.monotonic()
            if self._signal is None:
                self._signal, self._told = endings[signal.Signals(number)], now
            elif now - self._told > SAME_REQUEST:
                raise KeyboardInterrupt

        heard = [number for number in endings if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, handle) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def reason(self) -> Ending | None:
        """Why the run ends after this step, if it does. One more step has to fit into its time."""
        now = time.monotonic()
        self._longest, self._last = max(self._longest, now - self._last), now
        if self._signal is not None:
            return self._signal
        if now + self._longest > self._end:
            return Ending.OUT_OF_TIME
        if self._file is not None and self._file.is_file():
            self._file.unlink(missing_ok=True)  # it has done what it was for
            return Ending.STOP_FILE
        return None
