"""The toy model with trouble on rank 1: the one that the environment variable TROUBLE names."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import torch
from support.toy import ToyAdapter
from torch import nn

from distmlip.models.interface import EagerStage, Stage


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("no memory on purpose")


def slow() -> None:
    time.sleep(8.0)  # more than DISTMLIP_RANK_TIMEOUT in the test


class Troubled(ToyAdapter):
    """On rank 1 the second evaluation ends in trouble, inside of its second stage."""

    n_runs = 0

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        first, second, last = super().stages(module, recompute)
        assert isinstance(second, EagerStage)
        function = second.function

        def troubled(*arguments: Any) -> Any:
            self.n_runs += 1
            if os.environ.get("RANK") == "1" and self.n_runs == 2 and os.environ["TROUBLE"] in globals():
                globals()[os.environ["TROUBLE"]]()
            return function(*arguments)

        return [first, EagerStage(**{**vars(second), "function": troubled}), last]
