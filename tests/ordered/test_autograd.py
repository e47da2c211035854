"""Torch's autograd on the device: streams, several devices."""

from __future__ import annotations

import torch
from ordered.device import watched
from ordered.test_operators import INDEX, compare

A, B = "ordered:0", "ordered:1"


def stream(device: str = A) -> torch.Stream:
    return torch.Stream(device=device)


def test_backward() -> None:
    def gradients(x):
        x = x.detach().requires_grad_()
        rows = torch.tensor(INDEX, device=x.device)
        y = torch.tanh(x.index_select(0, rows) @ x[:4].T)
        (g,) = torch.autograd.grad((x[:4].index_add(0, rows, y @ x[:4]) ** 2).sum(), x, create_graph=True)
        return torch.autograd.grad(g.norm(), x)[0]

    compare(gradients, (5, 4))


def test_backward_across_devices() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    with watched() as found:
        a = x.to(A).requires_grad_()
        b = (a * 2).to(B)
        c = torch.cat([b, b.index_select(0, torch.tensor(INDEX, device=B))]).sin()
        loss = c.sum() + a.sum().to(B)
        loss.backward()
    expected = x.clone().requires_grad_()
    d = expected * 2
    (torch.cat([d, d[INDEX]]).sin().sum() + expected.sum()).backward()
    torch.testing.assert_close(a.grad.cpu(), expected.grad)
    assert not found


def test_backward_runs_on_the_stream_of_the_forward() -> None:
    s = stream()
    with watched() as found:
        x = torch.ones(3, device=A, requires_grad=True)
        s.wait_stream(torch.accelerator.current_stream(0))
        with s:
            y = (x * 2).sin()
        torch.accelerator.current_stream(0).wait_stream(s)
        z = y.sum()
        z.backward()  # torch itself joins s and the default stream
        x.grad.cpu()
    assert not found


def test_backward_with_a_missing_wait_in_the_forward_is_found() -> None:
    s = stream()
    with watched() as found:
        x = torch.ones(3, device=A, requires_grad=True)
        with s:
            (x * 2).sin()
    assert any("read by aten::mul" in text and "/stream" in text for text in found)
