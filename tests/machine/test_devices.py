"""Devices of any kind: a torch that has some is made up, because there are none here."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator, DistModel
from distmlip.errors import DeviceError, InvalidInputError
from distmlip.machine import devices, memory

KINDS = ["cuda", "xpu", "mps"]


def give(monkeypatch: pytest.MonkeyPatch, kind: str, n_devices: int) -> None:
    """As if torch could use so many devices of this kind."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: n_devices)


def give_memory(monkeypatch: pytest.MonkeyPatch, free: int, reserved: int, allocated: int) -> None:
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (free, 10**12))
    monkeypatch.setattr(torch.accelerator, "memory_reserved", lambda device: reserved)
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda device: allocated)


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)
    assert devices.resolve_devices("auto").devices == (torch.device("cpu"),)


@pytest.mark.parametrize("kind", KINDS)
def test_auto_is_every_device_of_the_accelerator(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, kind, 3)
    found = devices.resolve_devices("auto")
    assert found.devices == tuple(torch.device(kind, index) for index in range(3))
    assert len(set(found.slots)) == 3
    assert not found.on_cpu


@pytest.mark.parametrize("kind", KINDS)
def test_devices_may_be_mixed_with_the_cpu(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, kind, 2)
    found = devices.resolve_devices(["cpu", f"{kind}:1", "cpu", kind])
    assert list(map(str, found.devices)) == ["cpu", f"{kind}:1", "cpu", f"{kind}:0"]
    assert len(set(found.slots)) == 4
    assert found.slots[1] == devices.resolve_devices(f"{kind}:1").slots[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_that_is_not_there_is_named_with_those_that_are(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    give(monkeypatch, kind, 2)
    for wrong in (f"{kind}:2", "hpu:0", "meta"):
        with pytest.raises(DeviceError, match=rf"{wrong}.* sees cpu and {kind}:0, {kind}:1; use one of"):
            devices.resolve_devices(wrong)
    with pytest.raises(InvalidInputError, match=f"names {kind}:1 twice"):
        devices.resolve_devices([f"{kind}:1", f"{kind}:1"])


@pytest.mark.parametrize("kind", KINDS)
def test_devices_are_waited_for_by_what_all_kinds_have(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, kind, 2)
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waited.append)
    devices.resolve_devices(["cpu", f"{kind}:1"]).synchronize()
    assert waited == [torch.device(kind, 1)]


def test_a_device_has_its_makers_name_where_torch_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    named = SimpleNamespace(get_device_name=lambda device: f"card {device.index}")
    monkeypatch.setattr(torch, "get_device_module", lambda device: named)
    assert devices.name_of(torch.device("xpu:1")) == "card 1"
    monkeypatch.setattr(torch, "get_device_module", lambda device: SimpleNamespace())
    assert devices.name_of(torch.device("mps:0")) == "mps:0"
    assert devices.name_of(torch.device("cpu"))


def give_dtypes(monkeypatch: pytest.MonkeyPatch, kind: str, dtypes: set[torch.dtype]) -> None:
    """As if devices of this kind had them. The meta device stands for one: tensors on it have no numbers."""
    give(monkeypatch, kind, 1)
    monkeypatch.setattr(
        torch.accelerator, "get_device_capability", lambda device: {"supported_dtypes": dtypes}
    )
    devices.has_float64.cache_clear()


@pytest.fixture
def meta_without_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    give_dtypes(monkeypatch, "meta", {torch.float32})
    yield
    devices.has_float64.cache_clear()


@pytest.mark.usefixtures("meta_without_float64")
def test_sums_are_made_on_the_host_where_a_device_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype))
    moved = devices.in_float64(torch.zeros(3, device="meta"))
    assert (moved.device.type, moved.dtype) == ("cpu", torch.float64)
    kept = devices.in_float64(torch.zeros(3))
    assert (kept.device.type, kept.dtype) == ("cpu", torch.float64)


@pytest.mark.usefixtures("meta_without_float64")
def test_a_device_without_float64_is_given_float32() -> None:
    meta, charge = torch.device("meta"), torch.ones((), dtype=torch.float64)
    assert devices.on_device(charge, meta).dtype == torch.float32
    assert devices.on_device(torch.ones(2, dtype=torch.int64), meta).dtype == torch.int64
    assert devices.on_device(charge, torch.device("cpu")) is charge


def test_a_model_in_float64_is_refused_where_a_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    give(monkeypatch, "mps", 1)
    with pytest.raises(DeviceError, match="computes in float64, which mps:0 does not have; give dtype="):
        DistCalculator(ToyAdapter([ToyModel()]), devices="auto")
    with pytest.raises(DeviceError, match="sums in float64, which mps:0 does not have; give devices='cpu'"):
        DistModel(ToyAdapter([ToyModel()]), devices=["cpu", "mps"])


def test_which_devices_have_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    give_dtypes(monkeypatch, "xpu", {torch.float32, torch.float64})
    assert devices.has_float64(torch.device("xpu:0"))
    assert devices.has_float64(torch.device("cpu"))
    assert not devices.has_float64(torch.device("mps:0"))
    devices.has_float64.cache_clear()


@pytest.mark.parametrize("kind", KINDS)
def test_free_memory_includes_what_torch_does_not_use(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give_memory(monkeypatch, free=1000, reserved=300, allocated=100)
    assert memory.available_bytes(torch.device(kind, 0)) == 1200
    assert memory.available_bytes(torch.device(kind, 0), n_processes=4) == 300


def test_a_device_that_does_not_say_what_is_free_is_an_error_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(device: torch.device) -> tuple[int, int]:
        raise NotImplementedError("getMemoryInfo is not implemented for this allocator yet.\nTrace")

    monkeypatch.setattr(torch.accelerator, "get_memory_info", refuse)
    with pytest.raises(DeviceError, match=r"mps:0 does not say .*not implemented .* yet.\), .* partitions="):
        memory.available_bytes(torch.device("mps:0"))


@pytest.mark.parametrize("kind", KINDS)
def test_unused_memory_of_any_kind_of_device_is_given_back(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back = []

    def empty_cache() -> None:
        given_back.append(kind)
        raise RuntimeError("the allocator of this kind keeps nothing")

    give(monkeypatch, kind, 1)
    monkeypatch.setattr(torch.accelerator, "empty_cache", empty_cache)
    memory.release_unused()
    assert given_back == [kind]
