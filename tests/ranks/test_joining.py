"""What ranks travel by, and which device each has; devices are made up, because there are none here."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from support.launching import PASSED, run_ranks, succeeded

from distmlip.machine import devices
from distmlip.ranks import identity, joining
from distmlip.ranks.joining import Place, survivors_go_on, travels_directly

NCCL, OTHER_NAME = joining.NCCL_ERROR_HANDLING


@pytest.mark.parametrize(
    ("places", "directly"),
    [
        ([Place("a", "GPU-1", "nccl"), Place("a", "GPU-2", "nccl")], True),
        ([Place("a", "cuda:0", "nccl"), Place("b", "cuda:0", "nccl")], True),
        ([Place("a", "GPU-1", "nccl"), Place("a", "GPU-1", "nccl")], False),  # more ranks than GPUs
        ([Place("a", "GPU-1", "nccl"), Place("a", "", "gloo")], False),  # one of them on a CPU
    ],
)
def test_every_rank_needs_a_device_of_its_own_to_travel_directly(places: list[Place], directly: bool) -> None:
    assert travels_directly(places) == directly


@pytest.mark.parametrize(
    ("own", "before", "inside"),
    [
        ({}, None, "0"),
        ({NCCL: "2"}, "2", "2"),  # the user's
        ({OTHER_NAME: "1"}, None, None),
        ({NCCL: "1"}, "1", "1"),
        ({NCCL: "1", "TORCHELASTIC_RUN_ID": "none"}, "1", "0"),  # not the user's, but torchrun's
    ],
)
def test_a_group_leaves_the_end_of_the_process_to_us_unless_the_user_says_otherwise(
    own: dict[str, str], before: str | None, inside: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (NCCL, OTHER_NAME, "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    with survivors_go_on():
        assert os.environ.get(NCCL) == inside
    assert os.environ.get(NCCL) == before


def test_our_group_is_made_so(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def new_group(**options) -> SimpleNamespace:
        made.append((options["backend"], os.environ.get(NCCL)))
        return SimpleNamespace(group_name="ours")

    monkeypatch.delenv(NCCL, raising=False)
    monkeypatch.setattr(dist, "new_group", new_group)
    monkeypatch.setattr(joining.core, "RankGroup", lambda name, device: (name, device))
    _, native = joining._made("nccl", torch.device("cuda:1"))
    assert made == [("nccl", "0")]
    assert native == ("ours", torch.device("cuda:1"))


@pytest.mark.parametrize(
    ("local_rank", "rank", "bound", "expected"),
    [
        ("1", 5, None, "xpu:1"),
        ("3", 3, None, "xpu:1"),  # more ranks than devices
        (None, 1, None, "xpu:1"),  # started by mp.spawn
        (None, 4, None, "xpu:0"),
        ("0", 0, torch.device("xpu:1"), "xpu:1"),
    ],
)
def test_each_rank_has_its_device(
    local_rank: str | None,
    rank: int,
    bound: torch.device | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "accelerators", lambda: [torch.device("xpu", k) for k in range(2)])
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    if bound is not None:
        group = SimpleNamespace(bound_device_id=bound)
        monkeypatch.setattr(dist, "is_initialized", lambda: True)
        monkeypatch.setattr(dist.distributed_c10d, "_get_default_group", lambda: group)
    assert identity.local_device(rank) == expected


def test_a_card_is_told_from_others_whatever_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(get_device_properties=lambda device: SimpleNamespace(uuid="GPU-7"))
    monkeypatch.setattr(torch, "get_device_module", lambda device: properties)
    assert devices.card_of(torch.device("cuda:0")) == "GPU-7"
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())
    assert devices.card_of(torch.device("mps:0")) == "mps:0"
    assert devices.card_of(torch.device("cpu")) == ""


@pytest.mark.parametrize("backend", ["none", "gloo", "cpu:gloo,cuda:fake", "cuda:fake"])
def test_a_group_of_the_scripts_own(backend: str) -> None:
    assert succeeded(run_ranks(2, "own_group.py", backend)).count(PASSED) == 2
