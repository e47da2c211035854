"""Signs of life between ranks, from a thread of their own: a slow rank is no lost rank."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.ranks.identity import ALONE

TIMEOUT_VARIABLE = "DISTMLIP_RANK_TIMEOUT"
DEFAULT_TIMEOUT = 30.0
"""Seconds without a sign of life after which a rank is lost."""

INTERVAL = 0.5
"""Seconds between two beats."""

QUICK = 2.5
"""Seconds without a beat after which a rank is lost if a connection to it broke, too."""

LINGER = 3.0
"""Seconds that the rank with the store waits at its end for the others, whose threads still use it."""

FAILURE, ENDED = "failure", "ended"

log = logging.getLogger(__name__)


def rank_timeout() -> float:
    """Seconds without a sign of life after which a rank is lost: :data:`TIMEOUT_VARIABLE`.

    Raises:
        InvalidInputError: it is not a number of seconds.
    """
    text = os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT))
    try:
        timeout = float(text)
    except ValueError:
        timeout = 0.0
    if not timeout >= 1:
        raise InvalidInputError(f"{TIMEOUT_VARIABLE}={text!r}; give seconds, at least 1")
    return timeout


class Heartbeat:
    """Beats for this rank, listens to the others, and abandons the group when one of them is lost.

    The first report of a failure counts, whoever makes it: all ranks then raise the same message.
    """

    def __init__(
        self, ranks: core.RankGroup, store: tuple[str, int, TCPStore | None], timeout: float, patience: float
    ) -> None:
        """``store``: host and port, and the store itself where this process keeps it. Seconds: ``timeout``
        without a sign of life, ``patience`` for a rank that lives, but does not come to what others do."""
        self.timeout = timeout
        self._patience = patience
        self._ranks = ranks
        host, port, self._kept = store
        self._store = TCPStore(
            host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout)
        )
        self._lock = threading.Lock()  # a store takes one request at a time
        self._beats = 0
        self._calls, self._call, self._call_began = 0, "", time.monotonic()
        self._has_warned = False
        self._looked = time.monotonic()
        self._seen: dict[int, tuple[int, float]] = {}
        self._ended: dict[int, int] = {}
        self._stopped = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="distmlip heartbeat", daemon=True)
        self._thread.start()

    def begin_call(self, what: str) -> None:
        """This rank has come to the next thing that all ranks do together; those that have not are late."""
        self._call, self._call_began = what, time.monotonic()
        self._calls += 1

    def report(self, reason: str) -> None:
        """Tell all ranks, this one too, that what they do together cannot go on."""
        try:
            with self._lock:
                first = self._store.compare_set(FAILURE, "", reason).decode()
        except Exception:  # the store went with the rank that kept it
            first = reason
        self._ranks.abandon(first or reason)

    def stop(self) -> None:
        """The script of this rank has ended: whoever waits for more from it waits in vain."""
        self._stopped.set()
        self._thread.join(timeout=2 * INTERVAL)
        try:
            with self._lock:
                self._store.set(f"{ENDED}/{self._ranks.rank}", str(self._ranks.begun))
            end = time.monotonic() + LINGER
            while self._kept is not None and time.monotonic() < end and not self._all_have_ended():
                time.sleep(INTERVAL / 10)
        except Exception:  # nobody is left to be told
            pass

    def _all_have_ended(self) -> bool:
        with self._lock:
            return bool(self._store.check([f"{ENDED}/{rank}" for rank in range(self._ranks.size)]))

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL):
            reason = self._beat_and_look()
            if reason and not self._stopped.is_set():
                self.report(reason)
                return

    def _beat_and_look(self) -> str:
        """Why the group must be abandoned; empty if all is well."""
        try:
            self._beat()
            return self._look()
        except Exception as error:
            if 0 in self._ended:  # with its store
                return self._missed()
            return f"rank 0 is lost: the store that it keeps does not answer ({error})"

    def _beat(self) -> None:
        self._beats += 1
        with self._lock:
            self._store.set(f"beat/{self._ranks.rank}", f"{self._beats} {self._calls}")

    def _look(self) -> str:
        now = time.monotonic()
        # This process was stopped, perhaps the others, too (a job that is suspended): all start anew.
        if now - self._looked > max(QUICK, self.timeout / 2):
            self._seen.clear()
            self._call_began = now
        self._looked = now
        with self._lock:
            if self._store.check([FAILURE]):
                return self._store.get(FAILURE).decode()
        for rank in range(self._ranks.size):
            if rank != self._ranks.rank and (reason := self._look_at(rank)):
                return reason
        return self._missed()

    def _missed(self) -> str:
        """What this rank has begun needs one that has ended. Who has ended is missed by nobody else: others
        may still read what it sent last, wait for a third, or compute alone."""
        for rank, begun in self._ended.items():
            if self._ranks.begun > begun:
                return f"rank {rank} has ended its script while others still needed it"
        return ""

    def _look_at(self, rank: int) -> str:
        with self._lock:
            key = f"beat/{rank}"
            beats, calls = map(int, self._store.get(key).split()) if self._store.check([key]) else (0, 0)
            key = f"{ENDED}/{rank}"
            if self._store.check([key]):
                self._ended[rank] = int(self._store.get(key))
                return ""
        now = time.monotonic()
        last, since = self._seen.get(rank, (-1, now))
        if beats != last:
            last, since = beats, now
        self._seen[rank] = last, since
        silent = now - since
        limit = min(QUICK, self.timeout) if self._ranks.broken else self.timeout
        if silent > limit:
            return f"rank {rank} is lost: it has given no sign of life for {silent:.0f} s"
        return self._late(rank, now - self._call_began) if calls < self._calls else ""

    def _late(self, rank: int, waited: float) -> str:
        """A rank that lives has not come to what this one is in. It may be busy, or never come."""
        late = f"rank {self._ranks.rank} has waited {waited:.0f} s for rank {rank} in {self._call}"
        remedy = (
            f"ranks have to make the same calculations in the same order; {ALONE}; with "
            "init_process_group(timeout=...) before the first calculation they wait longer"
        )
        if waited > self._patience:
            return f"{late}; {remedy}"
        if waited > self.timeout and not self._has_warned:
            self._has_warned = True
            log.warning("%s, and waits up to %.0f s; %s", late, self._patience, remedy)
        return ""
