"""Blocks of gated messages of edges and angles against torch, with gradients, on every instruction set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.gated import (
    BOND_CUTOFF,
    BOND_FREQUENCIES,
    BOND_POWER,
    CUTOFF,
    SHORT_FREQUENCIES,
    SHORT_POWER,
    Block,
    Spec,
    angles_between,
    bonded,
    built,
    random_graph,
    sines,
    waves,
    with_parts,
)
from support.operators import Graph, Precision, Tensors, assert_agrees, run, uniform
from torch import Tensor

from distmlip.errors import InvalidInputError

SMALL = random_graph(n_owned=8, n_halo=6, n_bonds=34)
KINDS: dict[str, Spec] = {
    "first": Spec(0),
    "second": Spec(1, updates=1),
    "third": Spec(2, updates=2, keeps=True),
    "fourth": Spec(3, updates=3, keeps=True),
    "third without updates of angles": Spec(2, keeps=True),
    "last": Spec(2, sends=False),
    "last of two": Spec(1, sends=False),
    "only one": Spec(0, sends=False),
}


def assert_block_agrees(
    spec: Spec, precision: Precision, of: Graph, scale: float = 1.0, **options: Any
) -> None:
    """``scale``: of each second atom."""
    block, stage = Block(spec), Block(spec).stage(precision.dtype)
    inputs = block.inputs(of)
    if "atoms" in inputs:
        inputs["atoms"][::2] *= scale
    assert_agrees(stage, precision, of, inputs, lambda *given: block.reference(of, *given), **options)


@pytest.mark.parametrize("hidden", [0, 32])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks(kind: str, normalised: bool, hidden: int, precision: Precision) -> None:
    assert_block_agrees(replace(KINDS[kind], normalised=normalised, hidden=hidden), precision, SMALL)


@pytest.mark.parametrize("hidden", [0, 16, 64])
@pytest.mark.parametrize("channels", [48, 64, 128])
def test_channels(channels: int, hidden: int, precision: Precision) -> None:
    spec = Spec(2, updates=2, channels=channels, hidden=hidden, normalised=True)
    assert_block_agrees(spec, precision, SMALL)


@pytest.mark.parametrize("hidden", [0, 16])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("out_biased", [False, True])
@pytest.mark.parametrize("kind", ["first", "third", "last"])
def test_biases(kind: str, out_biased: bool, biased: bool, hidden: int, precision: Precision) -> None:
    spec = replace(KINDS[kind], biased=biased, out_biased=out_biased, hidden=hidden)
    assert_block_agrees(spec, precision, SMALL)


# ---- graphs

LONG, SHORT = 3.0, 1.2
RING = [(atom, (atom + 1) % 6, LONG) for atom in range(6)]
STAR = [(0, k, SHORT + k / 20) for k in range(1, 12)]
GRAPHS: dict[str, Graph] = {
    "no short bonds": bonded(6, 8, [*RING, (0, 6, LONG)]),
    "short bonds without angles": bonded(6, 8, [*RING, (0, 1, SHORT), (2, 7, SHORT)]),
    "short bonds only": bonded(4, 6, [(0, 1, SHORT), (0, 2, 1.5), (1, 2, 1.7), (2, 5, SHORT)]),
    "without angles": bonded(6, 8, [*RING, (0, 1, SHORT), (2, 7, SHORT)], n_angles_elsewhere=0),
    "angles at one atom": bonded(1, 12, STAR, n_angles_elsewhere=0),
    "halves of bonds only": bonded(3, 6, [(a, 3 + b, 1.0 + (a + b) / 5) for a in range(3) for b in range(3)]),
    "long bonds with own images": bonded(2, 2, [(0, 0, LONG), (0, 0, 3.3), (0, 1, SHORT), (0, 1, 1.5)]),
    "one atom": bonded(1, 1, [(0, 0, LONG)], n_angles_elsewhere=0),
    "no edges": bonded(3, 4, []),
    "no atoms": bonded(0, 0, []),
    "many chunks": random_graph(n_owned=1100, n_halo=620, n_bonds=4200),
}


def test_graphs_are_what_they_are_called() -> None:
    bonds = {name: of.bonds for name, of in GRAPHS.items() if of.bonds is not None}
    assert len(bonds["no short bonds"].short_bonds) == 0
    lonely = bonds["short bonds without angles"]
    assert len(lonely.angles) == 0 < min(lonely.n_angles_total, len(lonely.short_bonds))
    assert bonds["without angles"].n_angles_total == 0 < len(bonds["without angles"].short_bonds)
    assert (bonds["halves of bonds only"].reverse_edges() == -1).all()
    many = bonds["many chunks"]
    assert min(len(many.short_bonds), len(many.angles) // 2, len(GRAPHS["many chunks"].species)) > 1536
    assert len(many.cut) > 0
    assert len(GRAPHS["many chunks"].receivers.unique()) < 1100


@pytest.mark.parametrize("kind", ["first", "second", "third", "last"])
@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str, kind: str, precision: Precision) -> None:
    assert_block_agrees(replace(KINDS[kind], hidden=16), precision, GRAPHS[name])


@pytest.mark.parametrize("kind", ["first", "third"])
def test_short_bonds_with_own_images(kind: str, precision: Precision) -> None:
    """Their two edges make an angle of 180 degrees, which is less exact in float32."""
    images = [(0, 0, 1.1), (0, 0, 1.6), (1, 1, 1.9), (1, 1, LONG), (0, 1, 1.3), (1, 2, 1.4)]
    assert_block_agrees(
        KINDS[kind],
        precision,
        bonded(2, 3, images),
        relative={torch.float64: 1e-11, torch.float32: 1e-3},
    )


@pytest.mark.parametrize("n", [1, 2, 23, 24, 25, 47, 48, 49, 97])
def test_any_number_of_pairs_goes_through_products(n: int, precision: Precision) -> None:
    """A fan of bonds: so many pairs of the first one with others, and longer bonds."""
    of = bonded(1, n + 2, [(0, k, 0.9 + k / (n + 9)) for k in range(1, n + 2)])
    assert of.bonds is not None
    with_first = (of.bonds.angles == 0).any(dim=1)
    of = with_parts(of, angles=of.bonds.angles[with_first])
    assert_block_agrees(Spec(1, updates=1), precision, of)


def test_large_sums_in_gates(precision: Precision) -> None:
    """Where exponentials are very large and very small."""
    assert_block_agrees(Spec(1, updates=1), precision, SMALL, scale=150.0)


# ---- ways back


def seeds_for(outputs: Tensors) -> Tensors:
    return {name: uniform(*output.shape).to(output.dtype) for name, output in outputs.items()}


def test_gradients_of_some_outputs_add_up_to_those_of_all(precision: Precision) -> None:
    block = Block(KINDS["third"])
    outputs, pullback = run(block.stage(precision.dtype), SMALL, precision.dtype, block.inputs(SMALL))
    seeds = seeds_for(outputs)
    assert sorted(seeds) == ["atoms", "atoms 2", "bond_messages", "bonds 2", "cut_messages"]
    inputs, vectors = pullback(seeds)
    sums = {name: torch.zeros_like(gradient) for name, gradient in inputs.items()}
    of_vectors = torch.zeros_like(vectors)
    for name, seed in seeds.items():
        of_inputs, of_edges = pullback({name: seed})
        of_vectors += of_edges
        for of, gradient in of_inputs.items():
            sums[of] += gradient
    tolerance = 1e-12 if precision.dtype == torch.float64 else 1e-4
    torch.testing.assert_close(of_vectors, vectors, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(sums, inputs, rtol=tolerance, atol=tolerance)
    _, of_nothing = pullback({})
    assert not of_nothing.any()


def test_rows_of_other_memory_give_the_same_bits_and_stay(precision: Precision) -> None:
    """Inputs and gradients that are not contiguous."""
    block = Block(KINDS["third"])
    stage, found = block.stage(precision.dtype), []
    inputs = {name: tensor.to(precision.dtype) for name, tensor in block.inputs(SMALL).items()}
    for transposed in (False, True):
        given, seeds = inputs, seeds_for(run(stage, SMALL, precision.dtype, inputs)[0])
        if transposed:
            given, seeds = (
                {name: rows.T.contiguous().T for name, rows in of.items()} for of in (given, seeds)
            )
        before = [rows.clone() for rows in (*given.values(), *seeds.values())]
        outputs, pullback = run(stage, SMALL, precision.dtype, given)
        gradients, edges = pullback(seeds)
        found.append([*outputs.values(), *gradients.values(), edges])
        assert all(map(torch.equal, before, [*given.values(), *seeds.values()]))
    assert all(map(torch.equal, *found))


# ---- bases


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_given_bases_give_the_same_bits(kind: str, precision: Precision) -> None:
    block = Block(KINDS[kind])
    stage, inputs = block.stage(precision.dtype), block.inputs(SMALL)
    bases, _ = run(block.bases(precision.dtype), SMALL, precision.dtype, {})
    if not block.spec.sends:
        bases = {"bond_basis": bases["bond_basis"]}
    found = []
    for given in (inputs, {**inputs, **bases}):
        for keep in (True, False):
            outputs, pullback = run(stage, SMALL, precision.dtype, given, keep)
            gradients, edges = pullback(seeds_for(outputs))
            assert set(gradients) == set(inputs)
            found.append([*outputs.values(), *gradients.values(), edges])
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


@pytest.mark.parametrize("with_envelope", [False, True])
@pytest.mark.parametrize("name", ["small", "many chunks", "no edges", "no short bonds"])
def test_bases(name: str, with_envelope: bool, precision: Precision) -> None:
    of = {**GRAPHS, "small": SMALL}[name]
    bases, pullback = run(Block(Spec()).bases(precision.dtype, with_envelope), of, precision.dtype, {})
    assert pullback({}) == ({}, None)
    assert of.bonds is not None
    short = of.bonds.short_bonds
    is_long = torch.ones(of.bonds.n_bonds, dtype=torch.bool).index_fill(0, short, False)
    order = torch.cat([short, is_long.nonzero().flatten()])
    lengths = of.vectors[of.bonds.bond_edge[order]].norm(dim=1)
    pairs = of.bonds.angles[of.bonds.angles[:, 0] < of.bonds.angles[:, 1]]
    angles = angles_between(of.vectors, pairs)
    powers = (BOND_POWER, SHORT_POWER) if with_envelope else (0, 0)
    expected = {
        "bond_basis": (lambda x: sines(x, BOND_FREQUENCIES, CUTOFF, powers[0]), lengths),
        "short_basis": (
            lambda x: sines(x, SHORT_FREQUENCIES, BOND_CUTOFF, powers[1]),
            lengths[: len(short)],
        ),
        "angle_basis": (waves, angles),
    }
    assert set(bases) == set(expected)
    for basis, (function, arguments) in expected.items():
        values, slopes = torch.autograd.functional.jvp(function, arguments, torch.ones_like(arguments))
        # Angles themselves are less exact where they are nearly 0 or 180 degrees.
        sizes = torch.sin(arguments)[:, None] if basis == "angle_basis" else torch.ones(len(arguments), 1)
        for ours, theirs in zip(bases[basis].chunk(2, dim=1), (values, slopes), strict=True):
            assert ours.dtype == precision.dtype
            size = np.abs(theirs.numpy()).max(initial=1.0)
            difference = ((ours.double() - theirs) * sizes).abs().numpy().max(initial=0.0)
            assert difference < {torch.float64: 1e-13, torch.float32: 3e-6}[precision.dtype] * size


# ---- what does not fit

THIRD = KINDS["third"]


def run_with(of: Graph = SMALL, kind: Spec = THIRD, without: str = "", **inputs: Tensor) -> None:
    block = Block(kind)
    given = {**block.inputs(of), **{name.replace("_of_", " "): tensor for name, tensor in inputs.items()}}
    given.pop(without, None)
    run(block.stage(torch.float64), of, torch.float64, given)


@pytest.mark.parametrize("name", Block(THIRD).inputs(SMALL))
def test_missing_inputs_are_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"there is no '{name}'"):
        run_with(without=name)


@pytest.mark.parametrize("name", Block(THIRD).inputs(SMALL))
def test_inputs_of_other_shapes_are_refused(name: str) -> None:
    n = len(Block(THIRD).inputs(SMALL)[name])
    for shape in ((n + 1, 16), (n, 32), (16 * n,)):
        with pytest.raises(InvalidInputError, match=rf"'{name}' must be \({n}, 16\)"):
            run_with(**{name.replace(" ", "_of_"): uniform(*shape)})


def test_graphs_without_bonds_and_incomplete_bases_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="the graph has no bonds"):
        run_with(replace(SMALL, bonds=None), Spec(0))
    bases, _ = run(Block(THIRD).bases(torch.float64), SMALL, torch.float64, {})
    with pytest.raises(InvalidInputError, match="there is no 'short_basis'"):
        run_with(bond_basis=bases["bond_basis"])
    with pytest.raises(InvalidInputError, match=r"'bond_basis' must be \(34, 32\)"):
        run_with(bond_basis=bases["bond_basis"][1:])


INDICES = {"senders": 14, "receivers": 8, "edge_bond": 34, "short_bonds": 34, "cut": 34}
INDICES |= {"bond_edge": len(SMALL.senders), "angles": len(SMALL.senders)}


@pytest.mark.parametrize("part", INDICES)
def test_indices_out_of_range_are_refused(part: str) -> None:
    limit, before = INDICES[part], getattr(SMALL, part, None)
    for index in (-1, limit):
        changed = (getattr(SMALL.bonds, part) if before is None else before).clone()
        changed.view(-1)[0] = index
        with pytest.raises(InvalidInputError, match=f"index {index} of {limit}"):
            run_with(with_parts(SMALL, **{part: changed}), Spec(0))


BONDS = SMALL.bonds
assert BONDS is not None
LONG_BOND = min(set(range(BONDS.n_bonds)) - set(BONDS.short_bonds.tolist()))
LAST = len(SMALL.senders) - 1
N_LOCAL = len(SMALL.species)
GRAPHS_THAT_DO_NOT_FIT: dict[str, tuple[str, dict[str, Any]]] = {
    "many edges of a bond": (r"a bond of \d+ edges", {"edge_bond": torch.zeros_like(BONDS.edge_bond)}),
    "fewer edges": ("parts do not fit together", {"edge_bond": BONDS.edge_bond[1:]}),
    "int32": ("senders must be contiguous int64", {"senders": SMALL.senders.int()}),
    "angle at two atoms": (f"an angle of edges 0 and {LAST}", {"angles": torch.tensor([[0, LAST]])}),
    "cut bond that is long": ("cut bond 0 is not a short one", {"cut": torch.tensor([LONG_BOND])}),
    "fewer vectors": ("vectors must be contiguous", {"vectors": SMALL.vectors[1:]}),
    "vectors of other memory": ("vectors must be contiguous", {"vectors": SMALL.vectors.T.contiguous().T}),
    "more atoms": (f"n_owned is {N_LOCAL + 1} of {N_LOCAL}", {"n_owned": N_LOCAL + 1}),
}


@pytest.mark.parametrize("name", GRAPHS_THAT_DO_NOT_FIT)
def test_graphs_that_do_not_fit_are_refused(name: str) -> None:
    words, changes = GRAPHS_THAT_DO_NOT_FIT[name]
    of, first = with_parts(SMALL, **changes), Block(Spec(0))
    for stage in (first.stage(torch.float64), first.bases(torch.float64)):
        with pytest.raises(InvalidInputError, match=words):
            run(stage, of, torch.float64, {})


NUMBERS: dict[str, tuple[str, Tensor]] = {
    "unknown": ("atomic number 92, for which", torch.full((N_LOCAL,), 92)),
    "negative": ("atomic number -1, for which", torch.full((N_LOCAL,), -1)),
    "of other memory": ("numbers must be contiguous int64", torch.full((N_LOCAL, 2), 8)[:, 0]),
    "int32": ("numbers must be contiguous int64", torch.full((N_LOCAL,), 8).int()),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_known_ones_in_int64(name: str) -> None:
    (words, numbers), of = NUMBERS[name], SMALL
    with pytest.raises(InvalidInputError, match=words):
        Block(Spec(0)).stage(torch.float64).run(
            of.n_owned, numbers, of.senders, of.receivers, of.vectors, {}, True, of.bonds
        )


WRONG = 80
PARTS = {
    "atoms": ("receivers", "senders", "bonds", "out"),
    **dict.fromkeys(["bonds", "angles 0", "angles 1"], ("first", "second", "angles", "centres")),
    "basis": ("bond_embedding", "bond_weights", "short_weights", "angle_embedding"),
}
MATRICES = ["update", *(f"{of} {name}" for of, names in PARTS.items() for name in names)]


def refused(path: str, change: Callable[[Any], Any], words: str, spec: Spec) -> None:
    """The arguments in which what stands at a path is changed."""
    arguments = Block(spec).arguments(torch.float64)
    *parents, last = (int(part) if part.isdecimal() else part for part in path.split())
    place: Any = arguments
    for part in parents:
        place = place[part]
    place[last] = change(place[last])
    with pytest.raises(InvalidInputError, match=words):
        built(arguments)


@pytest.mark.parametrize("axis", ["rows", "columns"])
@pytest.mark.parametrize("path", MATRICES)
def test_matrices_that_do_not_fit_are_refused(path: str, axis: str) -> None:
    def change(matrix: np.ndarray) -> np.ndarray:
        return np.zeros((WRONG, matrix.shape[1]) if axis == "rows" else (matrix.shape[0], WRONG))

    refused(path, change, str(WRONG), replace(THIRD, biased=False, out_biased=False))


def test_species_that_do_not_fit_are_refused() -> None:
    refused("species", lambda _: np.zeros((27, WRONG)), str(WRONG), Spec(0))


VECTORS = ["atoms out_bias", "update_bias", "embedding_shift"]
VECTORS += [f"{of} bias" for of in ("atoms", "bonds", "angles 0")]
VECTORS += [f"{of} perceptron {name}" for of in ("atoms", "bonds") for name in ("bias", "scales", "shifts")]


@pytest.mark.parametrize("path", VECTORS)
def test_vectors_that_do_not_fit_are_refused(path: str) -> None:
    refused(path, lambda _: [1.0] * WRONG, str(WRONG), replace(THIRD, hidden=16, normalised=True))


def test_matrices_have_two_axes_and_hidden_layers_are_of_core_and_gate() -> None:
    spec, path = replace(THIRD, hidden=16), "atoms perceptron hidden"
    refused("atoms out", lambda _: np.zeros(16), "a matrix with 1 axes", spec)
    refused(path, lambda layers: layers[:1], "1 hidden layers", spec)
    refused(path, lambda layers: layers, r"a matrix \(24, 16\): both must be", replace(spec, hidden=24))
    refused(path, lambda _: [np.zeros((WRONG, 16))] * 2, rf"a hidden layer \({WRONG}, 16\) of 32 sums", spec)


def test_blocks_follow_each_other() -> None:
    words = "the first block has species, later ones have the bonds' update"
    refused("update", lambda _: None, words, THIRD)
    refused("index", lambda _: 0, words, THIRD)
    refused("index", lambda _: 1, "more updates of angles than blocks before", THIRD)
