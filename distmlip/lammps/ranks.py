"""The MPI ranks of a LAMMPS run as ranks of ours: features travel by torch.distributed among them."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING, Any

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from distmlip.errors import RankError
from distmlip.machine.devices import accelerators
from distmlip.ranks.group import Ranks
from distmlip.ranks.identity import Identity

if TYPE_CHECKING:
    from mpi4py.MPI import Comm

REACH_TIMEOUT = 2.0
"""Seconds in which a host answers that can be reached."""


def ranks_of(communicator: Comm | None) -> Ranks | None:
    """The group of a communicator's processes, which all call this; None if there is one. What torchrun or a
    scheduler may have said of ranks does not count.

    Raises:
        RankError: the others cannot be reached.
    """
    if communicator is None or communicator.size == 1:
        return None
    here = _on_this_machine(communicator)
    usable = accelerators()
    device = str(usable[here.rank % len(usable)]) if usable else "cpu"
    # Kept until all have joined: it is the one that they meet in.
    store = (
        TCPStore("localhost", 0, is_master=True, wait_for_workers=False, multi_tenant=True)
        if communicator.rank == 0
        else None
    )
    hosts = ["127.0.0.1"] if here.size == communicator.size else _names_of_this_machine()
    hosts, port = communicator.bcast((hosts, store.port if store is not None else 0))
    host = _that_all_reach(communicator, hosts, port)
    ranks = Ranks(Identity(communicator.rank, communicator.size, device, os.getpid(), (host, port)))
    ranks.connect()
    return ranks


def all_have_come(communicator: Any, seconds: float) -> bool:
    """Whether all processes of a communicator have called this, or do so within some time."""
    request, end = communicator.Ibarrier(), time.monotonic() + seconds
    while not request.Test():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _on_this_machine(communicator: Comm) -> Comm:
    from mpi4py import MPI

    return communicator.Split_type(MPI.COMM_TYPE_SHARED)


def _names_of_this_machine() -> list[str]:
    """The addresses of its interfaces as far as its name says them, and the name."""
    name = socket.gethostname()
    try:
        addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, socket.AF_INET)]
    except OSError:
        addresses = []
    others = [address for address in addresses if not address.startswith("127.")]
    return list(dict.fromkeys([*others, name, socket.getfqdn()]))


def _that_all_reach(communicator: Comm, hosts: list[str], port: int) -> str:
    for host in hosts:
        if all(communicator.allgather(_answers(host, port))):
            return host
    raise RankError(
        f"rank 0 of the LAMMPS run listens on port {port}, and not all ranks can reach it by any of its "
        f"names {', '.join(hosts)} within {REACH_TIMEOUT:g} s; machines of a run must reach each other by "
        "TCP, and know the host name of rank 0"
    )


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=REACH_TIMEOUT):
            return True
    except OSError:
        return False
