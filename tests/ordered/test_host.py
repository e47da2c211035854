"""What the host may not touch yet, which device has to be current, and what the host waits for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from ordered.device import core, devices_must_be_current, watched
from support.launching import python_path

A, B = "ordered:0", "ordered:1"


def stream(device: str = A) -> torch.Stream:
    return torch.Stream(device=device)


@pytest.mark.parametrize("right", [True, False])
def test_pinned_copies(right: bool) -> None:
    x = torch.arange(4.0, device=A)
    waiting = torch.empty(4, pin_memory=True)
    assert waiting.is_pinned()
    with watched() as found:
        waiting.copy_(x, non_blocking=True)
        back = waiting.to(A, non_blocking=True)  # on the same stream: no wait
        if right:
            torch.accelerator.current_stream(0).synchronize()
        total = waiting.sum().item()
    assert back.cpu().tolist() == [0, 1, 2, 3]
    assert bool(found) != right, found
    assert (total == 6) == right  # poison until it has arrived, also for numpy


def test_spilled_on_one_stream_and_fetched_on_another() -> None:
    s, x = stream(), torch.arange(4.0, device=A)
    with watched() as found:
        waiting = torch.empty(4, pin_memory=True).copy_(x, non_blocking=True)
        with s:
            waiting.to(A, non_blocking=True)
        s.synchronize()
    assert found
    assert found[0].startswith("race: read by copy_ to device")
    assert "pinned" in found[0]


@pytest.mark.parametrize("right", [True, False])
def test_the_host_may_not_change_what_is_being_copied(right: bool) -> None:
    waiting = torch.ones(4).pin_memory()
    with watched() as found:
        waiting.to(A, non_blocking=True)
        if right:
            torch.accelerator.synchronize(0)
        waiting.numpy()[:] = 3
    assert bool(found) != right, found


def test_host_waits_are_counted() -> None:
    x = torch.ones(4, device=A)
    core.take_counts()
    x.sum().item()
    x[x > 0]
    x.cpu()
    x.to(B)
    launches, waits, _ = core.take_counts()
    assert waits == {"aten::_local_scalar_dense": 1, "aten::nonzero": 1, "copy_ to host": 1}
    assert launches["copy_ between devices"] == 1


def test_touching_device_memory_from_the_host_crashes() -> None:
    code = """if True:
        import ctypes, torch
        from ordered import device
        ctypes.string_at(torch.ones(3, device="ordered:0").data_ptr(), 4)
    """
    environment = os.environ | {"PYTHONPATH": python_path()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGSEGV


def test_work_on_a_device_that_is_not_current() -> None:
    x = torch.ones(3, device=B)
    with watched() as found, devices_must_be_current():
        x + 1
        with torch.ordered.device(1):
            x + 1
    assert len(found) == 1
    assert found[0].startswith("device: aten::add")


def test_threads_have_streams_of_their_own() -> None:
    s, seen = stream(), []
    with s:
        thread = threading.Thread(target=lambda: seen.append(torch.accelerator.current_stream(0)))
        thread.start()
        thread.join()
    assert seen[0].stream_id == 0
    assert s.stream_id != 0


def test_faults_can_be_raised_where_they_are() -> None:
    s, x = stream(), torch.ones(3, device=A)
    core.set_raise(True)
    with s, pytest.raises(RuntimeError, match="not ordered after write by aten::"):
        x + 1
