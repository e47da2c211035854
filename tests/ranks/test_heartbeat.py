"""When a rank is lost, late or has ended, by a clock that the test turns; processes: test_group.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from torch.distributed import TCPStore

from distmlip.errors import InvalidInputError
from distmlip.ranks import heartbeat
from distmlip.ranks.heartbeat import QUICK, TIMEOUT_VARIABLE, Heartbeat, rank_timeout

TIMEOUT, PATIENCE = 10.0, 25.0


class Rank:
    """What a heartbeat knows of its rank, and what it does to it."""

    size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.broken = False
        self.begun = 0
        self.reasons: list[str] = []

    def abandon(self, reason: str) -> None:
        self.reasons.append(reason)


class Pair:
    """Two ranks in one process; their threads sleep, and only what a test calls happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=lambda seconds: None)
        monkeypatch.setattr(heartbeat, "time", clock)
        monkeypatch.setattr(heartbeat, "INTERVAL", 3600.0)
        server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.ranks = Rank(0), Rank(1)
        self.hearts = [
            Heartbeat(rank, ("127.0.0.1", server.port, None), TIMEOUT, PATIENCE) for rank in self.ranks
        ]
        self._server = server

    def what_rank_0_sees(self, seconds: float, *, beating: bool) -> str:
        """After so long, in which it looked every second."""
        for _ in range(round(seconds)):
            self.now += 1
            if beating:
                self.hearts[1]._beat()
            if reason := self.hearts[0]._look():
                return reason
        return ""


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    pair = Pair(monkeypatch)
    yield pair
    for heart in pair.hearts:
        heart.stop()


def test_a_silent_rank_is_lost_after_the_timeout_and_no_sooner(pair: Pair) -> None:
    assert pair.what_rank_0_sees(100, beating=True) == ""
    assert pair.what_rank_0_sees(TIMEOUT, beating=False) == ""
    assert pair.what_rank_0_sees(1, beating=False) == "rank 1 is lost: it has given no sign of life for 11 s"


def test_with_a_broken_connection_it_is_lost_sooner(pair: Pair) -> None:
    pair.ranks[0].broken = True
    assert pair.what_rank_0_sees(20, beating=True) == ""
    assert "no sign of life for 3 s" in pair.what_rank_0_sees(QUICK + 1, beating=False)


def test_who_was_suspended_does_not_blame_the_others(pair: Pair) -> None:
    assert pair.what_rank_0_sees(5, beating=True) == ""
    pair.now += 1000
    assert pair.hearts[0]._look() == ""
    assert pair.what_rank_0_sees(TIMEOUT, beating=False) == ""
    assert "rank 1 is lost" in pair.what_rank_0_sees(1, beating=False)


def test_who_lives_but_does_not_come_is_late_and_then_given_up(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    pair.hearts[0].begin_call("an evaluation")
    with caplog.at_level(logging.WARNING, logger="distmlip"):
        assert pair.what_rank_0_sees(PATIENCE, beating=True) == ""
    (warning,) = caplog.messages
    assert warning.startswith("rank 0 has waited 11 s for rank 1 in an evaluation, and waits up to 25 s")
    reason = pair.what_rank_0_sees(1, beating=True)
    assert reason.startswith(
        "rank 0 has waited 26 s for rank 1 in an evaluation; ranks have to make the same"
    )


def test_who_comes_is_not_late(pair: Pair) -> None:
    for heart in pair.hearts:
        heart.begin_call("a plan")
    assert pair.what_rank_0_sees(2 * PATIENCE, beating=True) == ""


def test_the_first_report_counts_for_all(pair: Pair) -> None:
    pair.hearts[1].report("rank 1 failed")
    pair.hearts[0].report("rank 0 failed, too")
    assert pair.ranks[0].reasons == pair.ranks[1].reasons == ["rank 1 failed"]
    assert pair.hearts[0]._look() == "rank 1 failed"


MISSED = "rank 1 has ended its script while others still needed it"


def test_who_has_ended_is_waited_for_in_vain(pair: Pair) -> None:
    pair.ranks[0].begun, pair.ranks[1].begun = 8, 7
    pair.hearts[1].stop()
    assert pair.hearts[0]._look() == MISSED


def test_who_took_part_in_all_that_others_have_begun_may_end_before_them(pair: Pair) -> None:
    pair.ranks[0].begun = pair.ranks[1].begun = 7
    pair.hearts[1].stop()
    assert pair.what_rank_0_sees(2 * PATIENCE, beating=False) == ""
    pair.ranks[0].begun += 1
    assert pair.hearts[0]._look() == MISSED


def test_a_store_that_ends_with_its_rank_is_no_loss(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = pair.hearts
    first.stop()
    assert second._look() == ""
    monkeypatch.setattr(second, "_beat", broken_store)
    assert second._beat_and_look() == ""
    pair.ranks[1].begun = 1
    assert second._beat_and_look() == MISSED.replace("1", "0")


def test_a_store_that_goes_before_its_rank_has_ended_is_a_lost_rank(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair.hearts[1], "_beat", broken_store)
    reason = pair.hearts[1]._beat_and_look()
    assert reason.startswith("rank 0 is lost: the store that it keeps does not answer")


def broken_store() -> None:
    raise RuntimeError("connection reset by peer")


@pytest.mark.parametrize(("text", "seconds"), [(None, 30.0), ("1", 1.0), ("2.5", 2.5), ("inf", float("inf"))])
def test_the_timeout_is_a_variable(text: str | None, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TIMEOUT_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    assert rank_timeout() == seconds


@pytest.mark.parametrize("text", ["", "soon", "0.5", "-3", "nan"])
def test_a_timeout_that_is_none_is_named(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, text)
    with pytest.raises(InvalidInputError, match=rf"{TIMEOUT_VARIABLE}='{text}'; give seconds, at least 1"):
        rank_timeout()
