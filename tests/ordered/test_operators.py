"""Operators of the device give what the CPU gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ordered.device import watched

A, B = "ordered:0", "ordered:1"


def compare(function: Callable[..., Any], *shapes: tuple[int, ...], device: str = A) -> None:
    cpu = [
        torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        for shape in shapes
    ]
    with watched() as found:
        there = function(*[x.to(device) for x in cpu])
        here = function(*cpu)
    there = there if isinstance(there, (tuple, list)) else [there]
    here = here if isinstance(here, (tuple, list)) else [here]
    for x, y in zip(there, here, strict=True):
        assert x.device == torch.device(device)
        torch.testing.assert_close(x.cpu(), y)
    assert not found


INDEX = [2, 0, 1, 1]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1,
        lambda x: x.T.contiguous() @ x,
        lambda x: x.index_select(0, torch.tensor(INDEX, device=x.device)),
        lambda x: x[:4].index_add(0, torch.tensor(INDEX, device=x.device), x[:4]),
        lambda x: torch.cat([x, x[1:2]]),
        lambda x: x[x[:, 0] > 0],
        lambda x: x[:, None].expand(-1, 2, -1).reshape(-1).narrow(0, 1, 4).clone(),
        lambda x: x.sort(dim=0)[0],
        lambda x: torch.linalg.vector_norm(x, dim=1),
        lambda x: torch.nn.functional.silu(x).cumsum(0),
        lambda x: x.split(2)[1] * 2,
        lambda x: torch.linalg.eigh(x.T @ x)[0],
        lambda x: torch.einsum("ab,cb->ac", x, x),
        lambda x: x.unfold(0, 2, 1).sum(-1),
        lambda x: torch.nn.functional.one_hot(torch.tensor(INDEX, device=x.device)).to(x.dtype),
        lambda x: x.masked_fill(x > 0, 0.0),
        lambda x: x.view(torch.complex128).real,
        lambda x: torch.where(x > 0, x, 0.0).max(dim=1)[1],
        lambda x: torch.segment_reduce(x, "sum", lengths=torch.tensor([2, 3], device=x.device)),
        lambda x: torch.bincount(torch.tensor(INDEX, device=x.device)),
        lambda x: torch.nn.functional.layer_norm(x, (4,)),
        lambda x: x.index_put((torch.tensor(INDEX, device=x.device),), x[:4]),
    ],
)
def test_operators_agree_with_the_cpu(function: Callable[..., Any]) -> None:
    compare(function, (5, 4))


def test_in_place_and_out() -> None:
    x = torch.zeros(4, 3, device=A)
    x[1:3].add_(1)
    x.view(12)[::2].mul_(3)
    out = torch.empty(0, device=A)
    torch.add(x, 1, out=out)
    assert out.cpu().tolist() == (x.cpu() + 1).tolist()
    x.resize_(8, 3)
    assert x.cpu()[:4].sum() == out.cpu().sum() - 12


def test_views_share_memory() -> None:
    x = torch.zeros(6, device=A)
    x.view(2, 3).T[1].fill_(2)
    assert x.cpu().tolist() == [0, 2, 0, 0, 2, 0]


def test_other_devices_are_refused() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        torch.ones(3, device=A) + torch.ones(3, device=B)
    with pytest.raises(RuntimeError, match=r"same device|on the CPU"):
        torch.ones(3, device=A) + torch.ones(3)


def test_new_memory_is_poison() -> None:
    assert torch.empty(3, device=A).cpu().isnan().all()
    torch.ones(3, device=A)
    assert torch.empty(3, device=A).cpu().isnan().all()
