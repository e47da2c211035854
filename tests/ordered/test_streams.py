"""Faults between streams and between devices that the device finds, each with its correct version."""

from __future__ import annotations

import pytest
import torch
from ordered.device import reports, watched

A, B = "ordered:0", "ordered:1"


def stream(device: str = A) -> torch.Stream:
    return torch.Stream(device=device)


@pytest.mark.parametrize("right", [True, False])
def test_write_then_read_on_another_stream(right: bool) -> None:
    s = stream()
    with watched() as found:
        x = torch.ones(3, device=A)
        if right:
            s.wait_event(torch.accelerator.current_stream(0).record_event())
        with s:
            x + 1
        s.synchronize()
    assert bool(found) != right, found
    if not right:
        assert found[0].startswith("race: read by aten::add"), found


@pytest.mark.parametrize("right", [True, False])
def test_read_then_write_on_another_stream(right: bool) -> None:
    s = stream()
    with watched() as found:
        x = torch.ones(3, device=A)
        s.wait_stream(torch.accelerator.current_stream(0))
        with s:
            x + 1
        if right:
            torch.accelerator.current_stream(0).wait_stream(s)
        x.zero_()
        s.synchronize()
    assert bool(found) != right, found


def test_parts_of_one_tensor_do_not_conflict() -> None:
    s = stream()
    x = torch.ones(1000, device=A)
    s.wait_stream(torch.accelerator.current_stream(0))
    with watched() as found:
        with s:
            x[:500].add_(1)
        x[500:].add_(1)
        s.synchronize()
    assert not found


def test_waiting_for_an_older_record_is_not_enough() -> None:
    s, x = stream(), torch.ones(3, device=A)
    with watched() as found:
        event = torch.accelerator.current_stream(0).record_event()
        x.add_(1)
        s.wait_event(event)
        with s:
            x * 2
        s.synchronize()
    assert len(found) == 1


def test_order_is_transitive_and_host_waits_count() -> None:
    s, t, x = stream(), stream(B), torch.ones(3, device=A)
    with watched() as found:
        x.add_(1)
        event = torch.accelerator.current_stream(0).record_event()
        t.wait_event(event)
        s.wait_event(t.record_event())
        with s:
            x.mul_(2)
        s.synchronize()
        x.add_(1)
    assert not found


@pytest.mark.parametrize("right", [True, False])
def test_free_on_one_stream_while_another_uses_it(right: bool) -> None:
    s = stream()
    with watched() as found:
        x = torch.ones(1000, device=A)
        s.wait_stream(torch.accelerator.current_stream(0))
        with s:
            x + 1
        if right:
            x.record_stream(s)
        old = x.data_ptr()
        del x
        z = torch.zeros(1000, device=A)
        assert (z.data_ptr() == old) != right
        s.synchronize()
    assert bool(found) != right, found
    if not right:
        assert found[0].startswith("free:")
        assert "aten::add" in found[0]
        assert any(text.startswith("race: write") for text in found[1:])  # it was used again at once


def test_memory_comes_back_when_the_host_has_waited() -> None:
    s = stream()
    x = torch.ones(777, device=A)
    old = x.data_ptr()
    x.record_stream(s)
    s.wait_stream(torch.accelerator.current_stream(0))
    with s:
        x + 1
    del x
    assert torch.ones(777, device=A).data_ptr() != old
    s.synchronize()
    z, w = torch.ones(777, device=A), torch.ones(777, device=A)
    assert old in (z.data_ptr(), w.data_ptr())
    assert not reports()


def test_copies_between_devices_join_the_current_streams() -> None:
    with watched() as found:
        x = torch.ones(3, device=A)
        y = x.to(B)
        x.add_(1)
        y.add_(1)
    assert not found
    assert y.cpu().tolist() == [2, 2, 2]


def test_a_copy_joins_only_the_streams_that_are_current() -> None:
    s = stream(B)
    with watched() as found:
        x = torch.ones(3, device=A)
        with s:
            y = x.to(B)  # on s
        y + 1  # on the default stream
        s.synchronize()
    assert any("read by aten::add" in text for text in found)


@pytest.mark.parametrize(
    "without", [None, "wait for the packed rows", "wait for the pulled rows", "record of the packed rows"]
)
def test_pulls_on_side_streams(without: str | None) -> None:
    mine, theirs = stream(A), stream(B)
    main = torch.accelerator.current_stream
    with watched() as found:
        for _ in range(3):
            packed = torch.ones(512, device=A) * 2
            ready = main(0).record_event()
            if without != "wait for the packed rows":
                mine.wait_event(ready)
            theirs.wait_stream(main(1))  # memory that B allocates for the rows may have been used there
            with mine, theirs:
                pulled = packed.to(B, non_blocking=True)
            if without != "record of the packed rows":
                packed.record_stream(mine)
            del packed
            if without != "wait for the pulled rows":
                main(1).wait_stream(theirs)
            pulled.record_stream(main(1))
            pulled.sum()
            del pulled
        torch.accelerator.synchronize(0), torch.accelerator.synchronize(1)
    assert bool(found) == (without is not None), found
