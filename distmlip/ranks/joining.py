"""How the ranks of a run find each other, when all of them have come to their first calculation."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]
from torch.distributed.constants import default_pg_timeout

from distmlip._native import core
from distmlip.errors import RankError
from distmlip.machine.devices import card_of
from distmlip.ranks.collectives import broadcast, gather
from distmlip.ranks.heartbeat import TIMEOUT_VARIABLE, Heartbeat, rank_timeout
from distmlip.ranks.identity import ALONE, Identity

NO_TIMEOUT = timedelta(days=365)
"""Of the collectives: a slow rank is no lost rank. Lost and missing ranks are found by their heartbeats."""

JOIN_TIMEOUTS = 10
"""Ranks come to their first calculation within so many timeouts: some load their model more slowly."""

NCCL_ERROR_HANDLING = ("TORCH_NCCL_ASYNC_ERROR_HANDLING", "NCCL_ASYNC_ERROR_HANDLING")
"""What torch reads when it makes a group; 0: the watchdog leaves the process alone."""

QUIET = 10.0
"""Seconds of waiting after which a rank says for whom it waits."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connection:
    """What a rank has once all of them are there."""

    native: core.RankGroup
    heartbeat: Heartbeat
    device: torch.device
    """Where tensors are that go to other ranks."""
    on_this_machine: int
    """How many ranks share its memory."""
    on_this_device: int
    """How many ranks have this GPU, if they have GPUs."""


class Place(NamedTuple):
    """Where a rank computes."""

    machine: str
    card: str
    backend: str
    """By which tensors on its device travel as they are; that of the host, if they have to go there first."""


def join(identity: Identity, device: torch.device) -> Connection:
    """Wait until every rank has called this, and make a group of them for distmlip alone. ``device``: of this
    rank's calculators, as far as that is known.

    Raises:
        RankError: some have not called it in time; the message names them.
    """
    limit = JOIN_TIMEOUTS * rank_timeout()
    if dist.is_initialized():
        limit = min(limit, _timeout_of_group())
        store = dist.distributed_c10d._get_default_store()
        _wait_for_all(PrefixStore("distmlip", store), identity, limit)
        return _connect(device, _backends_of_group(), identity)
    store = _store_of_run(identity, limit)
    _wait_for_all(PrefixStore("distmlip", store), identity, limit)
    dist.init_process_group(
        "gloo",
        store=PrefixStore("distmlip world", store),
        rank=identity.rank,
        world_size=identity.size,
    )
    known = dist.Backend.default_device_backend_map.items()
    available = {kind: name for kind, name in known if dist.is_backend_available(name)}
    return _connect(device, available, identity)


def _connect(device: torch.device, backends: Mapping[str, str], identity: Identity) -> Connection:
    """``backends``: of kinds of devices."""
    cpu = torch.device("cpu")
    of_host = backends.get("cpu", "gloo")
    group, native, where = *_made(of_host, cpu), cpu
    own = Place(socket.gethostname(), card_of(device), backends.get(device.type, of_host))
    places = gather(native, where, own)
    if own.backend != of_host and travels_directly(places):
        group, native, where = *_made(own.backend, device), device
    # The heartbeats' own store, which rank 0 keeps.
    host = identity.store[0] if identity.store else os.environ.get("MASTER_ADDR", socket.gethostname())
    kept = TCPStore(host, 0, is_master=True, wait_for_workers=False) if native.rank == 0 else None
    host, port = broadcast(native, where, (host, kept.port if kept else 0))
    patience = max(_timeout_of_group(), JOIN_TIMEOUTS * rank_timeout())
    heartbeat = Heartbeat(native, (host, port, kept), timeout=rank_timeout(), patience=patience)
    dist.distributed_c10d._set_pg_timeout(NO_TIMEOUT, group)
    on_this_machine = [place.machine for place in places].count(own.machine)
    return Connection(native, heartbeat, where, on_this_machine, places.count(own))


def travels_directly(places: Sequence[Place]) -> bool:
    """Whether each rank has a device of its own, all of one kind: NCCL refuses one that is given twice."""
    return len(set(places)) == len(places) and len({place.backend for place in places}) == 1


def _made(backend: str, device: torch.device) -> tuple[dist.ProcessGroup, core.RankGroup]:
    """A group of all ranks."""
    # Until there are heartbeats, a rank that dies now must not be waited for for ever.
    limit = timedelta(seconds=JOIN_TIMEOUTS * rank_timeout())
    with survivors_go_on():
        group = dist.new_group(timeout=limit, backend=backend)
    return group, core.RankGroup(group.group_name, device)


@contextmanager
def survivors_go_on() -> Iterator[None]:
    """A group that is made in the block does not end this process when another rank is lost: NCCL's watchdog
    would, before heartbeats have said which rank that was. What the user set counts; a 1 is torchrun's."""
    name, *others = NCCL_ERROR_HANDLING
    before = os.environ.get(name)
    is_of_torchrun = before == "1" and "TORCHELASTIC_RUN_ID" in os.environ
    if any(other in os.environ for other in others) or not (before is None or is_of_torchrun):
        yield
        return
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _backends_of_group() -> dict[str, str]:
    """Of kinds of devices, in the script's own process group, such as ``cpu:gloo,cuda:nccl``."""
    pairs = dist.get_backend_config().split(",")
    return dict(pair.split(":") for pair in pairs)


def _timeout_of_group() -> float:
    """Seconds that the script's own process group waits for a rank."""
    group, kind = dist.distributed_c10d._get_default_group(), next(iter(_backends_of_group()))
    try:
        timeout: timedelta = group._get_backend(torch.device(kind)).options._timeout
    except (AttributeError, RuntimeError):  # another backend
        timeout = default_pg_timeout
    return timeout.total_seconds()


def _store_of_run(identity: Identity, limit: float) -> Store:
    """The store of torchrun's agent, or one that rank 0 keeps."""
    if identity.store is not None:
        return _store_at(*identity.store, identity, identity.rank == 0, limit)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    agent_keeps_it = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = _store_at(host, port, identity, identity.rank == 0 and not agent_keeps_it, limit)
    # The agent's store outlives ranks that it starts again, and has what they wrote.
    return PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _store_at(host: str, port: int, identity: Identity, is_master: bool, limit: float) -> Store:
    if not is_master:
        _wait_for_answer(host, port, identity, limit)
    try:
        return TCPStore(
            host,
            port,
            is_master=is_master,
            wait_for_workers=False,
            multi_tenant=True,  # this process may have a store there already
            timeout=timedelta(seconds=limit),
        )
    except dist.DistError as error:
        raise RankError(
            f"rank {identity.rank} cannot {'listen on' if is_master else 'reach'} port {port} of {host} "
            f"({str(error).splitlines()[0]}); another process, perhaps the one that started this one, "
            f"may have it; {ALONE}"
        ) from error


def _wait_for_answer(host: str, port: int, identity: Identity, limit: float) -> None:
    """Until rank 0 listens. Not by the store: it cannot be interrupted meanwhile and fills the terminal."""
    waiting = _Waiting(identity, limit)
    while True:
        try:
            with socket.create_connection((host, port), timeout=2.0):
                return
        except OSError as error:
            waiting.go_on(lambda: [0], f"MASTER_ADDR={host}, MASTER_PORT={port} do not answer ({error})")


def _wait_for_all(store: Store, identity: Identity, limit: float) -> None:
    store.set_timeout(timedelta(seconds=limit))
    own, all_keys = f"joined/{identity.rank}", [f"joined/{rank}" for rank in range(identity.size)]
    this_process = f"process {identity.pid} on {socket.gethostname()}"
    waiting = _Waiting(identity, limit)
    try:
        first = store.compare_set(own, "", this_process).decode()
        if first != this_process:
            raise RankError(
                f"rank {identity.rank} of this run is {first} already; {this_process}, perhaps started by "
                f"it, cannot be the same rank: {ALONE}"
            )
        while not store.check(all_keys):
            if store.check(["failed"]):
                raise RankError(store.get("failed").decode())
            try:
                waiting.go_on(
                    lambda: [rank for rank, key in enumerate(all_keys) if not store.check([key])],
                    f"rank {identity.rank} is in its first calculation",
                )
            except RankError as error:
                store.set("failed", str(error))
                raise
    except dist.DistError as error:
        raise RankError(f"the store that ranks meet in does not answer: {error}") from error


class _Waiting:
    """Waits for ranks up to a limit, and says for whom."""

    SHORTEST, LONGEST = 0.01, 0.5
    """Seconds between two looks; in a large run the store has many to answer."""

    def __init__(self, identity: Identity, limit: float) -> None:
        self._begin = time.monotonic()
        self._limit = limit
        self._quiet = min(QUIET, limit / 2)
        self._rank = identity.rank

    def go_on(self, missing: Callable[[], list[int]], why: str) -> None:
        """Until the next look.

        Raises:
            RankError: it has waited long enough.
        """
        waited = time.monotonic() - self._begin
        if waited < min(self._quiet, self._limit):
            time.sleep(min(max(waited / 10, self.SHORTEST), self.LONGEST))
            return
        late = missing()
        if not late:  # the last one came just now
            return
        names = ranks_in_words(late)
        if waited >= self._limit:
            raise RankError(
                f"{names} did not come within {self._limit:.0f} s: {why}. Every rank has to make the same "
                f"calculations in the same order; {ALONE}, or set {TIMEOUT_VARIABLE} (now "
                f"{rank_timeout():g} s) higher if they are only slow"
            )
        self._quiet = float("inf")
        log.warning("rank %d waits for %s, up to %.0f s: %s", self._rank, names, self._limit, why)


def ranks_in_words(ranks: list[int]) -> str:
    """``rank 1``, ``ranks 1 and 2``, ``ranks 1, 2, 3 and 60 others``."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    shown, rest = (ranks[:3], f"{len(ranks) - 3} others") if len(ranks) > 4 else (ranks[:-1], str(ranks[-1]))
    return f"ranks {', '.join(map(str, shown))} and {rest}"
