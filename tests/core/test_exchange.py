"""The exchange primitives as torch operators, against plain indexing, and their derivatives."""

from __future__ import annotations

from itertools import combinations, permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import distmlip  # noqa: F401  (registers the operators)

ops = torch.ops.distmlip
EXCHANGES = ["gather", "halo", "fold", "add", "scatter", "swap", "all_sum"]


class Case:
    """Random rows and a random plan over ``n`` partitions, some of which may be empty."""

    def __init__(
        self, n: int, seed: int, width: tuple[int, ...] = (2,), symmetric: bool = False, pools: int = 0
    ) -> None:
        """``pools``: 0: all partitions in one, 1: each in its own, 2: every third together."""
        generator = torch.Generator().manual_seed(seed)
        sizes = [int(k) for k in torch.randint(0, 5, (n,), generator=generator)]
        self.x = [torch.randn(size, *width, generator=generator, dtype=torch.float64) for size in sizes]
        # groups[p][q]: rows of p that q reads
        self.groups: list[list[torch.Tensor]] = [[torch.empty(0, dtype=torch.int64)] * n for _ in range(n)]
        for p, q in (combinations if symmetric else permutations)(range(n), 2):
            if not sizes[p] or (symmetric and not sizes[q]):
                continue
            count = int(torch.randint(0, 4, (1,), generator=generator))
            self.groups[p][q] = torch.randint(0, sizes[p], (count,), generator=generator)
            if symmetric:
                self.groups[q][p] = torch.randint(0, sizes[q], (count,), generator=generator)
        self.rows = [torch.cat(groups) for groups in self.groups]
        self.pools = [[0] * n, list(range(n)), [p % 3 for p in range(n)]][pools]
        self.halo_plan = self._plan(self.groups, sizes)
        # Of tensors that have only the rows with a copy: the k-th of p for q is the k-th of q for p.
        numbers = [
            list(torch.arange(len(rows)).split([len(group) for group in groups]))
            for rows, groups in zip(self.rows, self.groups, strict=True)
        ]
        self.copy_plan = self._plan(numbers, [len(rows) for rows in self.rows])

    def _plan(
        self, groups: list[list[torch.Tensor]], sizes: list[int]
    ) -> tuple[list[torch.Tensor], list[int], list[torch.Tensor]]:
        """Sources, pools and imports, as the header of the exchange defines them."""
        n_pools = max(self.pools) + 1
        members = [(torch.tensor(self.pools) == d).nonzero().flatten().tolist() for d in range(n_pools)]
        first = [
            sum(sizes[other] for other in members[d][: members[d].index(p)]) for p, d in enumerate(self.pools)
        ]
        read = {(p, q): first[p] + group for p, of_p in enumerate(groups) for q, group in enumerate(of_p)}
        imports, at = [torch.empty(0, dtype=torch.int64)] * n_pools**2, dict(read)
        n_rows = [sum(sizes[p] for p in of_pool) for of_pool in members]
        for e, d in product(range(n_pools), repeat=2):
            for p, q in product(members[d], members[e]) if d != e else ():
                imports[d * n_pools + e] = torch.cat([imports[d * n_pools + e], read[p, q]])
                at[p, q] = n_rows[e] + torch.arange(len(read[p, q]))
                n_rows[e] += len(read[p, q])
        everyone = range(len(sizes))
        sources = [torch.cat([at[p, q] for p in everyone]) for q in everyone]
        return (sources, [], []) if n_pools == 1 else (sources, self.pools, imports)

    def gathered(self) -> list[torch.Tensor]:
        n = len(self.x)
        return [torch.cat([self.x[p][self.groups[p][q]] for p in range(n)]) for q in range(n)]

    def call(self, name: str, *x: torch.Tensor) -> list[torch.Tensor]:
        return getattr(ops, name)(list(x), *self.plan(name))

    def plan(self, name: str) -> tuple[Any, ...]:
        """What the operator takes besides the tensors."""
        special: dict[str, tuple[Any, ...]] = {
            "scatter": (*self.halo_plan, [len(t) for t in self.x]),
            "swap": self.copy_plan,
            "add": (*self.copy_plan, self.rows),
            "all_sum": (),
        }
        return special.get(name, self.halo_plan)

    def inputs(self, name: str) -> list[torch.Tensor]:
        if name == "swap":
            return [x[rows] for x, rows in zip(self.x, self.rows, strict=True)]
        if name == "all_sum":
            return [x.sum(dim=0) for x in self.x]
        if name == "scatter":
            return self.gathered()
        if name == "fold":
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
def test_gather_and_halo_are_indexing(case: Case) -> None:
    for x, expected, gathered, local in zip(
        case.x, case.gathered(), case.call("gather", *case.x), case.call("halo", *case.x), strict=True
    ):
        assert torch.equal(gathered, expected)
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


@given(cases, st.sampled_from(["gather", "halo"]))
def test_adjoint(case: Case, name: str) -> None:
    """<A x, y> = <x, A^T y> for a y of its own."""
    forward = case.call(name, *case.x)
    y = [torch.randn_like(rows) for rows in forward]
    back = case.call({"gather": "scatter", "halo": "fold"}[name], *y)
    left = sum((a * b).sum() for a, b in zip(forward, y, strict=True))
    right = sum((a * b).sum() for a, b in zip(case.x, back, strict=True))
    torch.testing.assert_close(left, right)


@pytest.mark.parametrize("pools", [0, 1])
@pytest.mark.parametrize("name", EXCHANGES)
def test_gradients(name: str, pools: int) -> None:
    example = case(name, pools)
    inputs = [x.clone().requires_grad_() for x in example.inputs(name)]

    def function(*x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(example.call(name, *x))

    assert sum(map(len, example.halo_plan[0])) > 0
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(lambda *x: tuple(y**2 for y in function(*x)), inputs)


@pytest.mark.parametrize("pools", [0, 1])
@pytest.mark.parametrize("name", EXCHANGES)
def test_opcheck(name: str, pools: int) -> None:
    example = case(name, pools)
    inputs = [x.clone().requires_grad_() for x in example.inputs(name)]
    torch.library.opcheck(getattr(ops, name).default, (inputs, *example.plan(name)))


def test_compile_records_one_operator() -> None:
    example = case("halo")
    x = [t.clone().requires_grad_() for t in example.x]

    def loss(x: list[torch.Tensor]) -> torch.Tensor:
        return sum((y**2).sum() for y in ops.halo(x, *example.plan("halo")))

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    gradients = torch.autograd.grad(compiled(x), x)
    expected = torch.autograd.grad(loss(x), x)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, sources: (x[:-1], sources, [], []), "one tensor per partition"),
        (lambda x, sources: (x, sources, [], sources[:1]), "imports has 1 entries, but 1 pools need 0"),
        (lambda x, sources: (x, sources, [0, 1, 1], []), "imports has 0 entries, but 2 pools need 4"),
        (lambda x, sources: (x, sources, [0, 1], []), "pools has 2 entries for 3"),
        (lambda x, sources: (x, sources, [0, -1, 0], []), r"pools\[1\] is -1"),
        (lambda x, sources: (x, sources, [0, 2, 2], []), "gaps"),
        (lambda x, sources: (x, [s + 100 for s in sources], [], []), "out of range"),
        (lambda x, sources: (x, [s.int() for s in sources], [], []), "1-D int64"),
    ],
)
def test_plan_that_does_not_fit(change, message: str) -> None:
    example = case("gather")
    with pytest.raises((ValueError, RuntimeError, IndexError), match=message):
        ops.gather(*change(example.x, example.halo_plan[0]))


def test_copies_that_do_not_match_and_shapes_that_differ() -> None:
    x = [torch.ones(2, 3), torch.ones(2, 3)]
    one = torch.tensor([0])
    with pytest.raises((ValueError, RuntimeError), match="must have 1 rows"):
        ops.swap(x, [one, one], [], [])
    with pytest.raises((ValueError, RuntimeError), match="rows has 1 entries for 2 partitions"):
        ops.add(x, [one, one], [], [], [one])
    with pytest.raises((ValueError, RuntimeError), match="must agree"):
        ops.all_sum([x[0], x[1][:1]])
