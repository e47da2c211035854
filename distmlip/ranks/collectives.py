"""Python objects among the processes of a run; classes of a script travel, too (ranks trust each other)."""

from __future__ import annotations

import pickle
from typing import TypeVar

import cloudpickle
import torch

from distmlip._native import core

T = TypeVar("T")


def broadcast(native: core.RankGroup, device: torch.device, value: T | None) -> T:
    """Rank 0's value. ``native``: the core's group; ``device``: where its tensors are."""
    data = cloudpickle.dumps(value) if native.rank == 0 else b""
    size = torch.tensor([len(data)], dtype=torch.int64, device=device)
    native.broadcast(size)
    if native.rank == 0:
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    else:
        buffer = torch.empty(int(size), dtype=torch.uint8, device=device)
    native.broadcast(buffer)
    if native.rank == 0 and value is not None:
        return value
    received: T = pickle.loads(buffer.cpu().numpy().tobytes())
    return received


def gather(native: core.RankGroup, device: torch.device, value: T) -> list[T]:
    """What every rank has given, by rank."""
    sent = torch.frombuffer(bytearray(cloudpickle.dumps(value)), dtype=torch.uint8).to(device)
    received, counts = native.all_to_all(sent.repeat(native.size), [len(sent)] * native.size)
    data, begin, values = received.cpu().numpy(), 0, []
    for count in counts:
        values.append(pickle.loads(data[begin : begin + count].tobytes()))
        begin += count
    return values
