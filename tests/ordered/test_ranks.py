"""Ranks with a device each that tells what is not ordered."""

from __future__ import annotations

from support.launching import PASSED, run_ranks, succeeded


def test_ranks_with_a_device_each() -> None:
    output = succeeded(run_ranks(2, "ordered_devices.py"))
    assert output.count(PASSED) == 2
