"""The processes of a run that share its partitions: who they are, and what they tell each other.

Every rank runs the same calls in the same order. Atoms are those of rank 0; results are known to all.
"""

from __future__ import annotations

import atexit
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import cloudpickle
import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from distmlip._native import core
from distmlip.devices import DeviceLike, Devices, resolve_devices
from distmlip.errors import InvalidInputError, RankError
from distmlip.heartbeat import Heartbeat

if TYPE_CHECKING:
    from ase import Atoms

T = TypeVar("T")

TIMEOUT_VARIABLE = "DISTMLIP_RANK_TIMEOUT"
DEFAULT_TIMEOUT = 30.0
"""Seconds without a sign of life after which a rank is lost."""

NO_TIMEOUT = timedelta(days=365)
"""Of the collectives: a slow rank is no lost rank. Lost ranks are found by their heartbeats."""

_all: dict[int, Ranks] = {}


class AgreedError(InvalidInputError):
    """What is wrong with the input, raised by all ranks alike."""


@dataclass(frozen=True)
class Ranks:
    """The group of processes, seen from one of them."""

    core: Any
    heartbeat: Heartbeat
    device: torch.device
    """Where tensors are that go to other ranks."""
    on_this_machine: int
    """How many ranks share its memory."""
    on_this_device: int
    """How many ranks have this GPU, if they have GPUs."""
    _is_going_back: threading.Event = field(default_factory=threading.Event)

    @property
    def rank(self) -> int:
        return int(self.core.rank)

    @property
    def size(self) -> int:
        return int(self.core.size)

    def first_partitions(self, n_partitions: int) -> list[int]:
        """Where the partitions of each rank begin, and the number of all: ranks have neighbouring ones.

        Raises:
            InvalidInputError: there is not one for each rank.
        """
        if n_partitions < self.size:
            raise AgreedError(
                f"partitions={n_partitions} for {self.size} ranks; every rank needs at least one, give "
                f"partitions={self.size} or more, or start fewer ranks"
            )
        return [n_partitions * rank // self.size for rank in range(self.size + 1)]

    @property
    def abandoned(self) -> bool:
        """Whether a rank was lost: nothing can be done together any more."""
        return bool(self.core.abandoned)

    def require_same_devices(self, device: torch.device) -> None:
        """
        Raises:
            InvalidInputError: some ranks have a GPU and some a CPU.
        """
        types = self.gather(device.type)
        if len(set(types)) > 1:
            raise AgreedError(
                f"ranks with devices of several kinds, {', '.join(types)}; give devices='cpu', or a GPU each"
            )

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value. Classes of its script travel, too."""
        return _broadcast(self.core, self.device, value)

    def atoms_of_first(self, atoms: Atoms) -> Atoms:
        """Rank 0's atoms."""
        shared: Atoms = self.broadcast(without_constraints(atoms) if self.rank == 0 else None)
        return shared

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over ranks, the same to the last bit on each."""
        return np.asarray(self.total(torch.from_numpy(np.ascontiguousarray(array))).numpy())

    def total(self, tensor: Tensor) -> Tensor:
        """The same of a tensor, on its device."""
        total = tensor.detach().contiguous().to(self.device, copy=True)
        self.core.all_sum(total)
        return total.to(tensor.device)

    def gather(self, value: Any) -> list[Any]:
        """What every rank has given, by rank."""
        return _gather(self.core, self.device, value)

    def begin_backward(self) -> None:
        """A backward of the user's has begun to exchange something. It may be left at any place."""
        self._is_going_back.set()

    def end_backward(self) -> None:
        """It has exchanged all that it had to."""
        self._is_going_back.clear()

    def report_broken_backward(self) -> None:
        """Tell the others, if a backward has begun and not ended."""
        if self._is_going_back.is_set():
            self.heartbeat.report(f"rank {self.rank} failed in a backward")

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Where all ranks work together: an exception of one of them ends it for all.

        Raises:
            RankError: another rank failed or is lost.
        """
        self.report_broken_backward()
        try:
            yield
            self.core.check()
        except (RankError, AgreedError):
            raise
        except BaseException as error:
            self.heartbeat.report(f"rank {self.rank} failed in {what}: {type(error).__name__}: {error}")
            raise

    def agree(self, work: Callable[[], T]) -> T:
        """``work()``; if it finds something wrong with the input on any rank, all raise that and can go on.

        Raises:
            InvalidInputError: the first rank's that has one.
        """
        value, complaint = None, None
        try:
            value = work()
        except InvalidInputError as error:
            complaint = str(error)
        found = next((text for text in self.gather(complaint) if text is not None), None)
        if found is not None:
            raise AgreedError(found)
        return cast(T, value)


def without_constraints(atoms: Atoms) -> Atoms:
    """A copy of what a calculator needs of atoms."""
    copy = atoms.copy()
    copy.set_constraint()
    return copy


def ranks_of_this_run() -> Ranks | None:
    """The ranks, if this process is one of several: torch.distributed is initialised, or torchrun started it.

    The first call on every rank makes a group for distmlip alone, and waits for all of them.
    """
    if not dist.is_available():
        return None
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
            return None
        device = torch.device(local_device())
        on_gpu = device.type == "cuda" and dist.is_nccl_available()
        dist.init_process_group("nccl" if on_gpu else "gloo", device_id=device if on_gpu else None)
    if dist.get_world_size() == 1:
        return None
    pid = os.getpid()
    if pid not in _all:
        _all[pid] = _make_ranks()
    return _all[pid]


def local_device() -> str:
    """The GPU of this rank, or the CPU."""
    n_gpus = torch.cuda.device_count()
    return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % n_gpus}" if n_gpus else "cpu"


def device_of_rank(devices: DeviceLike | Sequence[DeviceLike]) -> Devices:
    """The device of this rank; ``"auto"``: the GPU with its local rank, or the CPU.

    Raises:
        InvalidInputError: there are several.
    """
    is_auto = isinstance(devices, str) and devices == "auto"
    resolved = resolve_devices(local_device() if is_auto else devices)
    if len(resolved) != 1:
        raise InvalidInputError(
            f"devices={devices!r} for one rank; a rank has one device, start a process for each"
        )
    return resolved


def _make_ranks() -> Ranks:
    backend = dist.get_backend()
    group = dist.new_group(timeout=NO_TIMEOUT, backend=backend)
    device = torch.device(local_device() if backend == "nccl" else "cpu")
    native = core.Ranks(group.group_name, device)
    # The heartbeats' own store, which rank 0 keeps.
    host = os.environ.get("MASTER_ADDR", socket.gethostname())
    store = TCPStore(host, 0, is_master=True, wait_for_workers=False) if native.rank == 0 else None
    host, port = _broadcast(native, device, (host, store.port if store else None))
    heartbeat = Heartbeat(native, (host, port, store), timeout=rank_timeout())
    machine, own = socket.gethostname(), local_device()
    card = "" if own == "cpu" else str(torch.cuda.get_device_properties(own).uuid)
    places = _gather(native, device, (machine, card))
    on_this_machine = [place[0] for place in places].count(machine)
    ranks = Ranks(native, heartbeat, device, on_this_machine, places.count((machine, card)))
    atexit.register(heartbeat.stop)
    atexit.register(ranks.report_broken_backward)  # who was registered last is called first
    return ranks


def _broadcast(native: Any, device: torch.device, value: Any) -> Any:
    data = cloudpickle.dumps(value) if native.rank == 0 else b""
    size = torch.tensor([len(data)], dtype=torch.int64, device=device)
    native.broadcast(size)
    if native.rank == 0:
        buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device)
    else:
        buffer = torch.empty(int(size), dtype=torch.uint8, device=device)
    native.broadcast(buffer)
    return value if native.rank == 0 else pickle.loads(buffer.cpu().numpy().tobytes())


def _gather(native: Any, device: torch.device, value: Any) -> list[Any]:
    sent = torch.frombuffer(bytearray(cloudpickle.dumps(value)), dtype=torch.uint8).to(device)
    received, counts = native.all_to_all(sent.repeat(native.size), [len(sent)] * native.size)
    data, begin, values = received.cpu().numpy(), 0, []
    for count in counts:
        values.append(pickle.loads(data[begin : begin + count].tobytes()))
        begin += count
    return values


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
