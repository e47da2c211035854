"""What crosses partitions, against plain indexing, and its derivatives."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distmlip._native import core
from distmlip.models.interface import Add, AllSum, Exchange, Fold, Halo, Swap
from distmlip.training.stages import LocalCrossing

EXCHANGES: dict[str, tuple[Exchange, bool]] = {
    "halo": (Halo("x", ()), False),
    "fold": (Fold("x", ()), False),
    "folded back": (Halo("x", ()), True),
    "add": (Add("x", ()), False),
    "swap": (Swap("x", ()), False),
    "all_sum": (AllSum("x", ()), False),
}
"""By name, and whether the adjoint is meant."""


class Case:
    """Random rows and random routes over ``n`` partitions, some of which may be empty."""

    def __init__(
        self, n: int, seed: int, width: tuple[int, ...] = (2,), symmetric: bool = False, pools: int = 0
    ) -> None:
        """``pools``: 0: all partitions in one, 1: each in its own, 2: every third together."""
        generator = torch.Generator().manual_seed(seed)
        self.sizes = [int(k) for k in torch.randint(0, 5, (n,), generator=generator)]
        self.x = [torch.randn(size, *width, generator=generator, dtype=torch.float64) for size in self.sizes]
        # groups[p][q]: rows of p that q reads
        self.groups: list[list[torch.Tensor]] = [[torch.empty(0, dtype=torch.int64)] * n for _ in range(n)]
        for p, q in (combinations if symmetric else permutations)(range(n), 2):
            if not self.sizes[p] or (symmetric and not self.sizes[q]):
                continue
            count = int(torch.randint(0, 4, (1,), generator=generator))
            self.groups[p][q] = torch.randint(0, self.sizes[p], (count,), generator=generator)
            if symmetric:
                self.groups[q][p] = torch.randint(0, self.sizes[q], (count,), generator=generator)
        self.rows = [torch.cat(groups) for groups in self.groups]
        self.pools = [[0] * n, list(range(n)), [p % 3 for p in range(n)]][pools]

    def members(self) -> list[list[int]]:
        """The partitions of each pool."""
        return [[p for p, pool in enumerate(self.pools) if pool == d] for d in range(max(self.pools) + 1)]

    def first(self, packed: list[torch.Tensor], q: int) -> int:
        """Where the packed rows of q begin in its pool."""
        return sum(len(packed[p]) for p in range(q) if self.pools[p] == self.pools[q])

    def routes(self, packed: list[torch.Tensor], read: list[list[torch.Tensor]]) -> dict[str, Any]:
        """As the header of routes defines them. ``read[p][q]``: the packed rows of p that q reads."""
        members, everyone = self.members(), range(len(self.sizes))
        n_pools = len(members)
        first = [self.first(packed, q) for q in everyone]
        at = {(p, q): first[p] + read[p][q] for p, q in product(everyone, repeat=2)}
        n_rows = [sum(map(len, (packed[p] for p in of_pool))) for of_pool in members]
        sent = [[torch.empty(0, dtype=torch.int64)] * n_pools for _ in members]
        for e, d in permutations(range(n_pools), 2):
            for p, q in product(members[d], members[e]):
                sent[d][e] = torch.cat([sent[d][e], at[p, q]])
                at[p, q] = n_rows[e] + torch.arange(len(read[p][q]))
                n_rows[e] += len(read[p][q])
        return {
            "packed": packed,
            "sources": [torch.cat([at[p, q] for p in everyone]) for q in everyone],
            "pools": self.pools,
            "sent": [torch.cat(of_pool) for of_pool in sent],
            "send_counts": [[len(rows) for rows in of_pool] for of_pool in sent],
        }

    def halo_routes(self) -> dict[str, Any]:
        packed = [rows.unique() for rows in self.rows]
        read = [
            [torch.searchsorted(rows, group) for group in groups]
            for rows, groups in zip(packed, self.groups, strict=True)
        ]
        return self.routes(packed, read)

    def copy_routes(self) -> dict[str, Any]:
        """Of rows with a copy: the k-th of p for q is the k-th of q for p."""
        numbers = [
            list(torch.arange(len(rows)).split([len(group) for group in groups]))
            for rows, groups in zip(self.rows, self.groups, strict=True)
        ]
        return self.routes(self.rows, numbers)

    def crossing(self) -> Any:
        atoms, bonds = core.Routes(**self.halo_routes()), core.Routes(**self.copy_routes())
        return core.Crossing(self.sizes, self.sizes, atoms, bonds)

    def gathered(self) -> list[torch.Tensor]:
        n = len(self.x)
        return [torch.cat([self.x[p][self.groups[p][q]] for p in range(n)]) for q in range(n)]

    def call(self, name: str, *x: torch.Tensor) -> list[torch.Tensor]:
        """As in training."""
        exchange, adjoint = EXCHANGES[name]
        return LocalCrossing(self.crossing(), [], torch.float64).crossed([exchange], [x], adjoint)[0]

    def inputs(self, name: str) -> list[torch.Tensor]:
        if name == "swap":
            return [x[rows] for x, rows in zip(self.x, self.rows, strict=True)]
        if name == "all_sum":
            return [x.sum(dim=0) for x in self.x]
        if name in ("fold", "folded back"):
            return [torch.cat([own, halo]) for own, halo in zip(self.x, self.gathered(), strict=True)]
        return self.x


def case(name: str, pools: int = 0) -> Case:
    return Case(3, 3, symmetric=name in ("add", "swap"), pools=pools)


pools = st.integers(0, 2)
cases = st.builds(
    Case, st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([(), (2,), (3, 2)]), pools=pools
)
symmetric_cases = st.builds(
    Case, st.integers(1, 5), st.integers(0, 10**6), symmetric=st.just(True), pools=pools
)


@given(cases)
def test_halo_is_indexing(case: Case) -> None:
    for x, expected, local in zip(case.x, case.gathered(), case.call("halo", *case.x), strict=True):
        assert torch.equal(local, torch.cat([x, expected]))


@given(symmetric_cases)
def test_add_sums_both_copies(case: Case) -> None:
    for x, rows, gathered, summed in zip(
        case.x, case.rows, case.gathered(), case.call("add", *case.x), strict=True
    ):
        expected = x.clone()
        for row, value in zip(rows.tolist(), gathered, strict=True):
            expected[row] += value
        torch.testing.assert_close(summed, expected)


@given(symmetric_cases)
def test_swap_hands_over_the_other_copies(case: Case) -> None:
    for swapped, gathered in zip(case.call("swap", *case.inputs("swap")), case.gathered(), strict=True):
        assert torch.equal(swapped, gathered)


@given(cases)
def test_all_sum_gives_everyone_the_sum(case: Case) -> None:
    x = case.inputs("all_sum")
    for total in case.call("all_sum", *x):
        torch.testing.assert_close(total, torch.stack(x).sum(dim=0))


@given(symmetric_cases, st.sampled_from(list(EXCHANGES)))
def test_adjoint(case: Case, name: str) -> None:
    """<A x, y> = <x, A^T y> for a y of its own."""
    x = case.inputs(name)
    forward = case.call(name, *x)
    y = [torch.randn_like(rows) for rows in forward]
    back = case.call({"halo": "fold", "fold": "halo", "folded back": "halo"}.get(name, name), *y)
    left = sum((a * b).sum() for a, b in zip(forward, y, strict=True))
    right = sum((a * b).sum() for a, b in zip(x, back, strict=True))
    torch.testing.assert_close(left, right)


@given(symmetric_cases)
def test_all_that_crosses_at_once_is_what_crosses_alone(case: Case) -> None:
    """Also where exchanges differ in dtype and width."""
    names = ("halo", "add", "swap", "all_sum")
    x = [case.inputs(name) for name in names]
    x[0] = [tensor.float()[:, :1] for tensor in x[0]]
    x[1] = [(9 * tensor).long() for tensor in x[1]]
    crossed = case.crossing().cross([EXCHANGES[name][0] for name in names], x, adjoint=False)
    for name, tensors, together in zip(names, x, crossed, strict=True):
        for a, b in zip(case.call(name, *tensors), together, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("pools", [0, 1])
@pytest.mark.parametrize("name", EXCHANGES)
def test_gradients(name: str, pools: int) -> None:
    example = case(name, pools)
    inputs = [x.clone().requires_grad_() for x in example.inputs(name)]

    def function(*x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(example.call(name, *x))

    assert sum(map(len, example.groups[0])) > 0
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(lambda *x: tuple(y**2 for y in function(*x)), inputs)


@pytest.mark.parametrize("name", EXCHANGES)
def test_who_receives_nothing_keeps_its_tensor(name: str) -> None:
    exchange, adjoint = EXCHANGES[name]
    alone = Case(1, 3)
    (x,) = alone.inputs(name)
    assert alone.crossing().cross([exchange], [[x]], adjoint)[0][0].data_ptr() == x.data_ptr()
    if name == "all_sum":
        return
    lonely = case(name)
    for p in range(3):
        lonely.groups[1][p] = lonely.groups[p][1] = lonely.groups[1][1]
    lonely.groups[0][2] = lonely.groups[2][0] = torch.tensor([0])
    lonely.rows = [torch.cat(groups) for groups in lonely.groups]
    tensors = lonely.inputs(name)
    tensors[1] = torch.ones(0, 2) if name == "swap" else tensors[1]
    crossed = lonely.crossing().cross([exchange], [tensors], adjoint)[0]
    assert crossed[1].data_ptr() == tensors[1].data_ptr()
    assert crossed[0].data_ptr() != tensors[0].data_ptr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sent": [], "send_counts": []}, "peers has 0 entries, but 1 pools need 1"),
        ({"pools": [0, 1, 1]}, "peers has 1 entries, but 2 pools need 2"),
        ({"pools": [0, 1]}, "pools has 2 entries for 3"),
        ({"pools": [0, -1, 0]}, r"pools\[1\] is -1"),
        ({"pools": [1, 1, 1], "sent": 2 * [torch.tensor([0])], "send_counts": [[0, 1], [1, 0]]}, "gaps"),
        ({"send_counts": [[2]]}, "pool 0 sends 0 rows, but 2"),
        ({"packed": []}, "packed has 0 entries for 3"),
        ({"sources": 3 * [torch.tensor([0], dtype=torch.int32)]}, "1-D int64"),
    ],
)
def test_routes_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=message):
        core.Routes(**(case("halo").halo_routes() | change))


def test_rows_that_are_not_there() -> None:
    example = case("halo")
    routes = example.halo_routes()
    routes["sources"] = [sources + 100 for sources in routes["sources"]]
    atoms = core.Routes(**routes)
    with pytest.raises((RuntimeError, IndexError), match="out of range"):
        core.Crossing(example.sizes, example.sizes, atoms, atoms).cross([Halo("x", ())], [example.x], False)


def test_tensors_that_do_not_fit() -> None:
    example = case("swap")
    crossing, x = example.crossing(), example.inputs("swap")
    with pytest.raises((ValueError, RuntimeError), match="one tensor per partition"):
        crossing.cross([Swap("x", (2,))], [x[:-1]], False)
    with pytest.raises((ValueError, RuntimeError), match=f"must have {len(x[0])} rows"):
        crossing.cross([Swap("x", (2,))], [[torch.ones(len(x[0]) + 1, 2), *x[1:]]], False)
    with pytest.raises((ValueError, RuntimeError), match="must agree"):
        crossing.cross([AllSum("x", (2,))], [[torch.ones(2), torch.ones(3), torch.ones(2)]], False)
