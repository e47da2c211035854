"""Which devices there are, and which partitions each one computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
        """Wait until all GPUs have done what they were given."""
        for device in self.devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)

    def of_partitions(self, n_partitions: int) -> list[int]:
        """Index of the device of each partition: neighbouring partitions share a device."""
        return [p * len(self.devices) // n_partitions for p in range(n_partitions)]


def resolve_devices(devices: DeviceLike | Sequence[DeviceLike]) -> Devices:
    """Devices from ``"auto"`` (every visible GPU, else the CPU), one device, or a list of them.

    ``"cpu"`` may stand in a list several times: each gets a worker thread of its own.

    Raises:
        DeviceError: a device does not exist or is not a CPU or CUDA device.
        InvalidInputError: the list is empty or names a GPU twice.
    """
    if isinstance(devices, str) and devices == "auto":
        n_gpus = torch.cuda.device_count()
        devices = [f"cuda:{k}" for k in range(n_gpus)] or ["cpu"]
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
        if device.type == "cuda" and seen[device]:
            raise InvalidInputError(
                f"devices names {device} twice; name it once and give it several partitions (partitions=...)"
            )
        slots.append(2 * (device.index or 0) + 1 if device.type == "cuda" else 2 * seen[device])
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
    if device.type != "cuda":
        raise DeviceError(f"device {name!r} is of type {device.type!r}; supported are 'cpu' and 'cuda'")
    n_gpus = torch.cuda.device_count()
    index = device.index or 0
    if index >= n_gpus:
        raise DeviceError(
            f"device {name!r} does not exist: torch {torch.__version__} sees {n_gpus} CUDA devices; "
            "use devices='auto' or 'cpu'"
        )
    return torch.device("cuda", index)
