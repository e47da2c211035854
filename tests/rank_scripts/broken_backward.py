"""Rank 1 fails in the backward of a loss and goes on as if nothing had happened; rank 0 must hear of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch
from support.originals import loss_of
from support.structures import oxide
from support.toy import ToyAdapter, ToyModel
from torch import Tensor, nn

from distmlip import DistModel
from distmlip.errors import RankError
from distmlip.models.interface import EagerStage, Stage


class Breaking(torch.autograd.Function):
    is_broken = False

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        if Breaking.is_broken:
            raise torch.OutOfMemoryError("no memory on purpose")
        return gradient.clone()


class Broken(ToyAdapter):
    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        first, *others = super().stages(module, recompute)
        assert isinstance(first, EagerStage)
        function = first.function

        def breaking(*arguments: Any) -> Any:
            return {name: Breaking.apply(tensor) for name, tensor in function(*arguments).items()}

        return [EagerStage(**{**vars(first), "function": breaking}), *others]


def main() -> None:
    distributed = DistModel(Broken([ToyModel()]), partitions=2, devices="cpu")
    atoms = oxide().atoms
    loss_of(distributed(atoms)).backward()
    prediction = distributed(atoms)
    Breaking.is_broken = os.environ["RANK"] == "1"
    start = time.monotonic()
    try:
        loss_of(prediction).backward()
    except torch.OutOfMemoryError:
        print("went on", flush=True)
    except RankError as error:
        print(f"after {time.monotonic() - start:.1f} s: {error}", flush=True)
    try:
        distributed(atoms)
    except RankError as error:
        print(f"again: {error}", flush=True)
        sys.exit(3)


if __name__ == "__main__":
    main()
