"""Partitions of several processes in one autograd graph, each process with its share of it.

Every rank runs the same calls in the same order, the loss and its backward among them. Inside of autograd the
engine of each rank decides what comes next, and ranks whose graphs differ (one has no atoms, say) would meet
in different collectives. So all that crosses ranks hangs on one chain: each crossing takes a *token* from the
one before and gives one to the next. The token is a zero that never travels. Sums end with its square, so
that gradients, and gradients of gradients, run along the whole chain, in its order, on every rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from distmlip._native import core
from distmlip.models.interface import LocalGraph
from distmlip.ranks.group import Ranks
from distmlip.training.stages import Context, LocalCrossing, applied


class RankCrossing(LocalCrossing):
    """What crosses the partitions of all ranks."""

    def __init__(
        self, ranks: Ranks, crossing: core.Crossing, graphs: Sequence[LocalGraph], dtype: torch.dtype
    ) -> None:
        super().__init__(crossing, graphs, dtype)
        self.ranks = ranks
        self._is_going_back = False  # whether what crosses belongs to a backward that ends with parameters
        self._is_trained = False
        self._start = graphs[0].vectors.new_zeros((), dtype=torch.float64).requires_grad_()
        self._token: Tensor = self._start

    @property
    def tokens(self) -> list[Tensor]:
        """The beginning of the chain."""
        return [self._start]

    def parameters(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """The same tensors; their gradients are summed over ranks, after everything else."""
        if not parameters:
            return []
        self._is_trained = True
        token, *shared = applied(_Shared, self.ranks, self._start, *parameters)
        # Not the token itself: gradients of it would need those of all parameters.
        self._start = self._token = token.clone()
        return list(shared)

    def follow(self, gradients: Sequence[Tensor]) -> None:
        """The chain goes on where these gradients end."""
        (self._token,) = gradients

    def end(self) -> None:
        """Frees the chain: it belongs to the graph now."""
        self._is_going_back = self._is_trained
        del self._token, self._start  # nodes of the graph know this object, and would never be freed

    def go_back(self) -> None:
        """This rank notes that a backward that ends with parameters has begun."""
        if self._is_going_back:
            self.ranks.begin_backward()

    def total(self, tensors: Sequence[Tensor]) -> Tensor:
        """The sum over partitions, on all ranks. A loss of it is every rank's own and counts once."""
        shapes = self.ranks.gather(tensors[0].shape if tensors else None)
        shape = next((shape for shape in shapes if shape is not None), ())
        nothing = self._start.detach().new_zeros(shape)
        mine = super().total([nothing, *tensors]) + self._token.square()
        total: Tensor = applied(_Sum, self.ranks, mine)
        return total


class _Sum(torch.autograd.Function):
    """The sum over ranks; all of them compute the same from it, so its gradient is that of each addend."""

    @staticmethod
    def forward(_: Context, ranks: Ranks, tensor: Tensor) -> Tensor:
        return ranks.total(tensor)

    @staticmethod
    def backward(_: Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return None, gradients[0]


class _Shared(torch.autograd.Function):
    """Tensors that all ranks have, and that each uses for its own part: gradients are summed. What a backward
    comes to last."""

    @staticmethod
    def forward(context: Context, ranks: Ranks, token: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        context.ranks = ranks
        return token.clone(), *(tensor.view_as(tensor) for tensor in tensors)

    @staticmethod
    def backward(context: Context, token: Tensor, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat = torch.cat([gradient.double().reshape(-1) for gradient in gradients])
        sums = applied(_Sum, context.ranks, flat).split([gradient.numel() for gradient in gradients])
        context.ranks.end_backward()
        whole = (total.view_as(mine).to(mine) for total, mine in zip(sums, gradients, strict=True))
        return None, token, *whole
