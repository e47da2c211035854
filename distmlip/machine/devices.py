"""Which devices there are, and which partitions each one computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from distmlip.errors import DeviceError, InvalidInputError

DeviceLike = str | torch.device


@dataclass(frozen=True)
class Devices:
    """The devices of a calculator, each with a worker thread."""

    devices: tuple[torch.device, ...]
    slots: tuple[int, ...]
    """Number of each device's worker thread; calculators on the same device share it."""

    def __len__(self) -> int:
        return len(self.devices)

    @property
    def on_cpu(self) -> bool:
        """Whether all of them are the CPU."""
        return all(device.type == "cpu" for device in self.devices)

    def synchronize(self) -> None:
        """Wait until all accelerators have done what they were given."""
        for device in self.devices:
            if device.type != "cpu":
                torch.accelerator.synchronize(device)

    def require_float64(self, who_needs_it: str, remedy: str) -> None:
        """
        Raises:
            DeviceError: one of them does not have it.
        """
        for device in self.devices:
            if not has_float64(device):
                raise DeviceError(f"{who_needs_it} float64, which {device} does not have; give {remedy}")

    def of_partitions(self, n_partitions: int) -> list[int]:
        """Index of the device of each partition: neighbouring partitions share a device."""
        return [p * len(self.devices) // n_partitions for p in range(n_partitions)]


def accelerators() -> list[torch.device]:
    """The devices beside the CPU that torch can use here. They are of one kind: CUDA (AMD's have that name,
    too), XPU, MPS or one that a package brings; torch knows no two kinds in a process."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return []
    return [torch.device(accelerator.type, index) for index in range(torch.accelerator.device_count())]


def name_of(device: torch.device) -> str:
    """As its maker calls it, where torch knows that."""
    if device.type == "cpu":
        return _processor()
    get_name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(device) if get_name is None else str(get_name(device))


def card_of(device: torch.device) -> str:
    """What tells it from the other devices of the machine, whatever its number in this process; empty for the
    CPU."""
    if device.type == "cpu":
        return ""
    get_properties = getattr(torch.get_device_module(device), "get_device_properties", None)
    properties = None if get_properties is None else get_properties(device)
    return str(getattr(properties, "uuid", device))


@cache
def has_float64(device: torch.device) -> bool:
    """MPS and some XPU do not."""
    if device.type in ("cpu", "mps"):  # before 2.12 torch does not say it of MPS
        return device.type == "cpu"
    return torch.float64 in torch.accelerator.get_device_capability(device)["supported_dtypes"]


def in_float64(tensor: Tensor) -> Tensor:
    """On the tensor's device, or, if it does not have float64, on the host."""
    return (tensor if has_float64(tensor.device) else tensor.cpu()).double()


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """In the same dtype, but float64 in float32 where the device does not have it."""
    is_float64 = tensor.dtype == torch.float64
    return (tensor.float() if is_float64 and not has_float64(device) else tensor).to(device)


def resolve_devices(devices: DeviceLike | Sequence[DeviceLike]) -> Devices:
    """Devices from ``"auto"`` (every accelerator, else the CPU), one device, or a list of them.

    ``"cpu"`` may stand in a list several times: each gets a worker thread of its own.

    Raises:
        DeviceError: a device does not exist or is not of a kind that torch can use here.
        InvalidInputError: the list is empty or names an accelerator twice.
    """
    if isinstance(devices, str) and devices == "auto":
        devices = accelerators() or ["cpu"]
    elif isinstance(devices, str | torch.device):
        devices = [devices]
    if not isinstance(devices, Sequence):
        raise InvalidInputError(
            f"devices={devices!r}; give 'auto', a device such as 'cpu', or a list of them"
        )
    checked = [_checked(device) for device in devices]
    if not checked:
        raise InvalidInputError('devices is empty; give at least one, for example devices=["cpu"]')
    seen: Counter[torch.device] = Counter()
    slots = []
    for device in checked:
        if device.type != "cpu" and seen[device]:
            raise InvalidInputError(
                f"devices names {device} twice; name it once and give it several partitions (partitions=...)"
            )
        slots.append(2 * seen[device] if device.type == "cpu" else 2 * device.index + 1)
        seen[device] += 1
    return Devices(tuple(checked), tuple(slots))


def _checked(name: DeviceLike) -> torch.device:
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"{name!r} is not a device; use 'cpu', 'cuda:0' and so on, or devices='auto'"
        ) from error
    if device.type == "cpu":
        return torch.device("cpu")
    found = torch.device(device.type, device.index or 0)
    usable = accelerators()
    if found not in usable:
        seen = "no device but the CPU" if not usable else f"cpu and {', '.join(map(str, usable))}"
        raise DeviceError(
            f"device {name!r} cannot be used: torch {torch.__version__} sees {seen}; use one of these, or "
            "devices='auto'"
        )
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return "cpu"
