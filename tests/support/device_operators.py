"""What the tests of operators for devices share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from distmlip._native import core

in_both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
RELATIVE = {torch.float64: 1e-13, torch.float32: 1e-5}


def uniform(*shape: int, seed: int) -> Tensor:
    """In float64, exact in float32."""
    random = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(*shape, generator=random, dtype=torch.float64) - 1).float().double()


def assert_close(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> None:
    assert (ours.shape, ours.dtype) == (theirs.shape, dtype)
    size = theirs.abs().max().item() if theirs.numel() else 1.0
    np.testing.assert_allclose(
        ours.cpu().double().numpy(), theirs.numpy(), rtol=0, atol=RELATIVE[dtype] * max(size, 1.0)
    )


def gradients_of(output: Tensor, seed: Tensor, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Of all leaves, also of those that the output does not depend on."""
    total = (seed * output).sum() + 0 * sum(leaf.sum() for leaf in leaves)
    return torch.autograd.grad(total, list(leaves))


@dataclass(frozen=True)
class Graph:
    edges_of: list[int]
    """Of each row that receives."""
    n_local: int

    @property
    def senders(self) -> Tensor:
        """Of each edge; the last row sends nothing."""
        return torch.arange(sum(self.edges_of)).square() % max(self.n_local - 1, 1)

    @property
    def receivers(self) -> Tensor:
        counts = torch.tensor(self.edges_of, dtype=torch.int64)
        return torch.arange(len(self.edges_of)).repeat_interleave(counts)

    def on(self, device: str) -> core.DeviceEdges:
        senders, receivers = self.senders.to(device), self.receivers.to(device)
        return core.DeviceEdges(len(self.edges_of), self.n_local, senders, receivers)


GRAPHS = {
    "some": Graph([3, 0, 5, 70, 1, 0], 9),
    "no edges": Graph([0, 0], 3),
    "no rows": Graph([], 0),
}
