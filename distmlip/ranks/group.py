"""The processes of a run that share its partitions: who they are, and what they tell each other.

Every rank runs the same calls in the same order. Atoms are those of rank 0; results are known to all.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distmlip._native import core
from distmlip.errors import InvalidInputError, RankError
from distmlip.machine.devices import DeviceLike, Devices, resolve_devices
from distmlip.ranks.collectives import broadcast, gather
from distmlip.ranks.identity import ALONE, Identity, identity_of_this_process
from distmlip.ranks.joining import Connection, join

T = TypeVar("T")


class AgreedError(InvalidInputError):
    """What is wrong with the input, raised by all ranks alike."""


class OneAtATime:
    """Around a calculation, by the thread whose turn it is: that one can only come here again out of a signal
    handler, which runs in the midst of what it interrupts."""

    def __init__(self) -> None:
        self._is_busy = False

    def __enter__(self) -> None:
        """
        Raises:
            InvalidInputError: a calculation is under way.
        """
        if self._is_busy:
            raise InvalidInputError(
                "a calculation is asked for in the midst of another one, as by a signal handler; set a flag "
                "there and calculate when the other one has ended"
            )
        self._is_busy = True

    def __exit__(self, *_: object) -> None:
        self._is_busy = False


class Ranks:
    """The group of processes, seen from one of them.

    Making one waits for nobody: the ranks find each other at the first thing that they do together.
    """

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._lock = threading.RLock()
        self._connection: Connection | None = None
        self._device = torch.device(identity.device)
        self._why_not_joined = ""
        self._is_going_back = threading.Event()
        self._numbers = itertools.count()
        self.work = OneAtATime()
        """Whatever ranks do together."""

    @property
    def connection(self) -> Connection:
        """Made by the first call, which waits for all ranks.

        Raises:
            RankError: some did not come.
            InvalidInputError: this process is a child of the rank.
        """
        if self._connection is not None and self.is_this_process:
            return self._connection
        with self.turn():
            if self._connection is None:
                self._connection = self._join()
            return self._connection

    def _join(self) -> Connection:
        if self._why_not_joined:  # who did not come once is not waited for again
            raise RankError(self._why_not_joined)
        try:
            connection = join(self.identity, self._device)
        except RankError as error:
            self._why_not_joined = str(error)
            raise
        atexit.register(self._end)
        return connection

    def turn(self) -> threading.RLock:
        """Held from the first message of what ranks do together to its end: threads take turns.

        Raises:
            InvalidInputError: this process is a child of the rank.
        """
        if not self.is_this_process:
            raise InvalidInputError(
                f"process {os.getpid()} is a child of rank {self.rank} (process {self.identity.pid}) and "
                f"cannot calculate together with the other ranks; {ALONE}"
            )
        return self._lock

    def use(self, device: torch.device) -> None:
        """A calculator of this rank is on this device."""
        self._device = device

    def connect(self) -> None:
        """Find the other ranks now."""
        _ = self.connection

    @property
    def native(self) -> core.RankGroup:
        """The core's group."""
        return self.connection.native

    @property
    def on_this_machine(self) -> int:
        """How many ranks share its memory."""
        return self.connection.on_this_machine

    @property
    def on_this_device(self) -> int:
        """How many ranks have this GPU, if they have GPUs."""
        return self.connection.on_this_device

    @property
    def rank(self) -> int:
        """Of this process, from 0."""
        return self.identity.rank

    @property
    def size(self) -> int:
        """How many there are."""
        return self.identity.size

    @property
    def is_this_process(self) -> bool:
        """Not so in a forked child of the rank."""
        return self.identity.pid == os.getpid()

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
        return self._connection is not None and bool(self._connection.native.abandoned)

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

    def broadcast(self, value: T | None) -> T:
        """Rank 0's value, which others need not have. Classes of its script travel, too."""
        return broadcast(self.native, self.connection.device, value)

    def sum(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over ranks, the same to the last bit on each."""
        return np.asarray(self.total(torch.from_numpy(np.ascontiguousarray(array))).numpy())

    def total(self, tensor: Tensor) -> Tensor:
        """The same of a tensor, on its device."""
        total = tensor.detach().contiguous().to(self.connection.device, copy=True)
        self.native.all_sum(total)
        return total.to(tensor.device)

    def gather(self, value: T) -> list[T]:
        """What every rank has given, by rank."""
        return gather(self.native, self.connection.device, value)

    def begin_backward(self) -> None:
        """A backward of the user's has begun to exchange something. It may be left at any place."""
        self._is_going_back.set()

    def end_backward(self) -> None:
        """It has exchanged all that it had to."""
        self._is_going_back.clear()

    def report_broken_backward(self) -> None:
        """Tell the others, if a backward has begun and not ended."""
        if self._is_going_back.is_set():
            self.connection.heartbeat.report(f"rank {self.rank} failed in a backward")

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """Where all ranks work together: an exception of one of them ends it for all.

        Raises:
            RankError: another rank failed or is lost.
        """
        with self.turn():
            native = self.native
            self.report_broken_backward()
            try:
                yield
                native.check()
            except (RankError, AgreedError):
                raise
            except BaseException as error:
                self.connection.heartbeat.report(
                    f"rank {self.rank} failed in {what}: {type(error).__name__}: {error}"
                )
                raise

    def agree(self, work: Callable[[], T]) -> list[T]:
        """What ``work()`` gives on every rank; if it finds something wrong with the input on any of them, all
        raise that and can go on.

        Raises:
            InvalidInputError: the first rank's that has one.
        """
        value, complaint = None, None
        try:
            value = work()
        except InvalidInputError as error:
            complaint = str(error)
        everyone = self.gather((value, complaint))
        found = next((text for _, text in everyone if text is not None), None)
        if found is not None:
            raise AgreedError(found)
        return [cast(T, value) for value, _ in everyone]

    def begin_call(self, what: str) -> None:
        """Where every rank runs the script: it has come to the next thing that all of them do."""
        self.connection.heartbeat.begin_call(what)

    def next_number(self) -> int:
        """Of what ranks use together: the same on all of them, if they use them in the same order."""
        return next(self._numbers)

    def _end(self) -> None:
        """The script of this rank has ended."""
        if self.is_this_process:  # a forked child that ends is nobody's loss
            self.report_broken_backward()
            self.connection.heartbeat.stop()


class _Known:
    """The ranks that this process is one of, once it has asked."""

    ranks: Ranks | None = None


def ranks_of_this_run() -> Ranks | None:
    """The ranks, if this process is one of several (:mod:`distmlip.ranks.identity`). Waits for nobody."""
    known = _Known.ranks
    if known is None or not known.is_this_process:
        identity = identity_of_this_process()
        _Known.ranks = known = None if identity is None else Ranks(identity)
    return known


def device_of_rank(ranks: Ranks, devices: DeviceLike | Sequence[DeviceLike]) -> Devices:
    """The device of this rank; ``"auto"``: the accelerator with its local rank, or the CPU.

    Raises:
        InvalidInputError: there are several.
    """
    is_auto = isinstance(devices, str) and devices == "auto"
    resolved = resolve_devices(ranks.identity.device if is_auto else devices)
    if len(resolved) != 1:
        raise InvalidInputError(
            f"devices={devices!r} for one rank; a rank has one device, start a process for each"
        )
    ranks.use(resolved.devices[0])
    return resolved
