"""The processes of a run that share its partitions: who they are, and what they tell each other.

Every rank runs the same calls in the same order. Atoms are those of rank 0; results are known to all.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from distmlip._native import core
from distmlip.devices import DeviceLike, Devices, resolve_devices
from distmlip.errors import InvalidInputError, RankError
from distmlip.heartbeat import Heartbeat

if TYPE_CHECKING:
    from ase import Atoms

TIMEOUT_VARIABLE = "DISTMLIP_RANK_TIMEOUT"
DEFAULT_TIMEOUT = 30.0
"""Seconds without a sign of life after which a rank is lost."""

NO_TIMEOUT = timedelta(days=365)
"""Of the collectives: a slow rank is no lost rank. Lost ranks are found by their heartbeats."""

_all: dict[int, Ranks] = {}


@dataclass(frozen=True)
class Ranks:
    """The group of processes, seen from one of them."""

    core: Any
    heartbeat: Heartbeat
    device: torch.device
    """Where tensors are that go to other ranks."""

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
            raise InvalidInputError(
                f"partitions={n_partitions} for {self.size} ranks; every rank needs at least one, give "
                f"partitions={self.size} or more, or start fewer ranks"
            )
        return [n_partitions * rank // self.size for rank in range(self.size + 1)]

    def atoms_of_first(self, atoms: Atoms) -> Atoms:
        """Rank 0's atoms, without their constraints and calculator."""
        if self.rank != 0:
            shared: Atoms = pickle.loads(self._broadcast_bytes(b""))
            return shared
        copy = atoms.copy()
        copy.set_constraint()
        self._broadcast_bytes(_pickled(copy))
        return atoms

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over ranks, the same to the last bit on each."""
        tensor = torch.from_numpy(np.ascontiguousarray(array)).to(self.device, copy=True)
        self.core.all_sum(tensor)
        return np.asarray(tensor.cpu().numpy())

    def gather(self, value: Any) -> list[Any]:
        """What every rank has given, by rank."""
        sent = torch.frombuffer(bytearray(_pickled(value)), dtype=torch.uint8).to(self.device)
        received, counts = self.core.all_to_all(sent.repeat(self.size), [len(sent)] * self.size)
        data, begin, values = received.cpu().numpy(), 0, []
        for count in counts:
            values.append(pickle.loads(data[begin : begin + count].tobytes()))
            begin += count
        return values

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Where all ranks work together: an exception of one of them ends it for all.

        Raises:
            RankError: another rank failed or is lost.
        """
        try:
            yield
            self.core.check()
        except RankError:
            raise
        except BaseException as error:
            self.heartbeat.report(f"rank {self.rank} failed in {what}: {type(error).__name__}: {error}")
            raise

    def _broadcast_bytes(self, data: bytes) -> bytes:
        size = torch.tensor([len(data)], dtype=torch.int64, device=self.device)
        self.core.broadcast(size)
        if self.rank == 0:
            buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        else:
            buffer = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        self.core.broadcast(buffer)
        return b"" if self.rank == 0 else buffer.cpu().numpy().tobytes()


def ranks_of_this_run() -> Ranks | None:
    """The ranks, if this process is one of several: torch.distributed is initialised, or torchrun started it.

    The first call on every rank makes a group for distmlip alone, and waits for all of them.
    """
    if not dist.is_available():
        return None
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
            return None
        dist.init_process_group(_backend())
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


def _backend() -> str:
    return "nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"


def _make_ranks() -> Ranks:
    backend = dist.get_backend()
    group = dist.new_group(timeout=NO_TIMEOUT, backend=backend)
    device = torch.device(local_device() if backend == "nccl" else "cpu")
    native = core.Ranks(group.group_name)
    heartbeat = Heartbeat(native, _store(native.rank), timeout=_timeout())
    atexit.register(heartbeat.stop)
    return Ranks(native, heartbeat, device)


def _store(rank: int) -> tuple[str, int, dist.TCPStore | None]:
    """A store of our own, which rank 0 keeps: host, port, and the store itself on rank 0."""
    host = os.environ.get("MASTER_ADDR", "localhost")
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    port: Sequence[Any] = [store.port if store is not None else None]
    dist.broadcast_object_list(port, src=0)  # type: ignore[arg-type]
    return host, int(port[0]), store


def _timeout() -> float:
    text = os.environ.get(TIMEOUT_VARIABLE, str(DEFAULT_TIMEOUT))
    try:
        timeout = float(text)
    except ValueError:
        timeout = 0.0
    if not timeout >= 1:
        raise InvalidInputError(f"{TIMEOUT_VARIABLE}={text!r}; give seconds, at least 1")
    return timeout


def _pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    pickle.dump(value, buffer, protocol=pickle.HIGHEST_PROTOCOL)
    return buffer.getvalue()
