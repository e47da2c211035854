"""The operators of native stages against plain torch, with gradients, on every instruction set."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from support.operators import (
    CHANNELS,
    CUTOFF,
    GRID,
    NUMBERS,
    SMALL,
    Graph,
    Irreps,
    Precision,
    Tensors,
    assert_agrees,
    graph,
    joined,
    parts,
    run,
    uniform,
    width,
)
from torch import Tensor

from distmlip._native import core
from distmlip.errors import InvalidInputError

torch.serialization.add_safe_globals([slice])  # that e3nn 0.4.4 loads

# ---- atoms


@pytest.mark.parametrize("channels", CHANNELS)
def test_linear_maps(channels: int, precision: Precision) -> None:
    source: Irreps = [(0, channels), (1, channels), (0, 5)]
    target: Irreps = [(1, 7), (0, channels), (2, 2)]  # nothing leads to the last one
    own, of_species = uniform(channels, channels), uniform(len(NUMBERS), channels, 7, seed=2)
    other, added = uniform(5, channels, seed=3), uniform(len(NUMBERS), 5, channels, seed=4)
    builder = precision.builder()
    x, y = (builder.input(name, source, of_senders=False) for name in "xy")
    maps = [
        core.LinearMap(0, 1, [own.numpy()]),
        core.LinearMap(2, 1, [other.numpy()]),
        core.LinearMap(1, 0, list(of_species.numpy())),
    ]
    z = builder.linear(x, target, maps)
    builder.add_linear(y, z, [core.LinearMap(2, 1, list(added.numpy()))])
    builder.output("z", z)
    species = SMALL.species[: SMALL.n_owned]

    def reference(_: Tensor, inputs: Tensors) -> Tensors:
        (s, v, t), (_, _, other_t) = parts(inputs["x"], source), parts(inputs["y"], source)
        scalars = torch.einsum("ncm,cd->ndm", s, own) + torch.einsum("ncm,cd->ndm", t, other)
        scalars = scalars + torch.einsum("ncm,ncd->ndm", other_t, added[species])
        vectors = torch.einsum("ncm,ncd->ndm", v, of_species[species])
        return {"z": joined([vectors, scalars, torch.zeros(len(s), 2, 5, dtype=torch.float64)])}

    inputs = {name: uniform(SMALL.n_owned, width(source), seed=5 + len(name)) for name in "xy"}
    assert_agrees(builder.stage(), precision, SMALL, inputs, reference)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("n_owned", [1, 65])
def test_contraction(channels: int, n_owned: int, precision: Precision) -> None:
    source: Irreps = [(0, channels), (1, channels), (2, channels), (3, channels)]
    target: Irreps = [(0, channels), (1, channels)]
    random = np.random.default_rng(0)
    possible = [
        (output, monomial)
        for output in (0, 1, 3)  # one component of the vector is zero
        for degree in (1, 2, 3)
        for monomial in itertools.combinations_with_replacement(range(16), degree)
    ]
    terms = sorted(possible[k] for k in random.choice(len(possible), 60, replace=False))
    coefficients = uniform(len(NUMBERS), len(terms), channels)
    builder = precision.builder()
    x = builder.input("x", source, of_senders=False)
    outputs, monomials = [output for output, _ in terms], [list(monomial) for _, monomial in terms]
    builder.output("y", builder.contraction(x, target, outputs, monomials, list(coefficients.numpy())))
    of = graph([0] * n_owned, n_local=n_owned)

    def reference(_: Tensor, inputs: Tensors) -> Tensors:
        components = torch.cat(parts(inputs["x"], source), dim=2)
        out = [torch.zeros(n_owned, channels, dtype=torch.float64) for _ in range(4)]
        for k, (output, monomial) in enumerate(terms):
            product = coefficients[of.species][:, k]
            for i in monomial:
                product = product * components[:, :, i]
            out[output] = out[output] + product
        return {"y": joined([out[0][:, :, None], torch.stack(out[1:], dim=2)])}

    assert_agrees(builder.stage(), precision, of, {"x": uniform(n_owned, width(source))}, reference)


@pytest.mark.parametrize("channels", CHANNELS)
def test_gates(channels: int, precision: Precision) -> None:
    source: Irreps = [(0, channels), (0, channels), (2, channels), (0, 3), (0, 2)]
    target: Irreps = [(0, channels), (2, channels), (0, 3), (0, 2)]
    builder = precision.builder()
    x = builder.input("x", source, of_senders=False)
    gated = [
        core.Gated(0, 0, -1, "silu", 1.7),
        core.Gated(2, 1, 1, "tanh", 0.6),
        core.Gated(3, 2, -1, "none", -2.0),
        core.Gated(4, 3, -1, "tanh", 1.0),
    ]
    builder.output("y", builder.gate(x, target, gated))

    def reference(_: Tensor, inputs: Tensors) -> Tensors:
        scalars, gates, tensors, plain, others = parts(inputs["x"], source)
        activated = 1.7 * torch.nn.functional.silu(scalars)
        return {"y": joined([activated, 0.6 * torch.tanh(gates) * tensors, -2 * plain, torch.tanh(others)])}

    x_values = 6 * uniform(SMALL.n_owned, width(source))
    x_values[0] *= 20  # where exponentials are very large and very small
    assert_agrees(builder.stage(), precision, SMALL, {"x": x_values}, reference)


def test_rows_over_one_plus_density(precision: Precision) -> None:
    irreps: Irreps = [(0, 3), (1, 20)]
    builder = precision.builder()
    x, density = builder.input("x", irreps, False), builder.input("density", [(0, 1)], False)
    builder.output("y", builder.normalised(x, density))
    builder.output("e", density, in_float64=True, is_flat=True, factor=-3.0, shift=0.5)

    def reference(_: Tensor, inputs: Tensors) -> Tensors:
        return {"y": inputs["x"] / (1 + inputs["density"]), "e": 0.5 - 3.0 * inputs["density"][:, 0]}

    inputs = {"x": uniform(SMALL.n_owned, width(irreps)), "density": 1.1 + uniform(SMALL.n_owned, 1)}
    assert_agrees(builder.stage(), precision, SMALL, inputs, reference)


def test_what_depends_on_species_only(precision: Precision) -> None:
    values, references = uniform(len(NUMBERS), 6), [0.1, -7.0, 1e5 / 3]
    builder = precision.builder()
    builder.output(
        "c",
        builder.linear(
            builder.constant([(0, 6)], values.numpy()), [(0, 6)], [core.LinearMap(0, 0, [np.eye(6)])]
        ),
    )
    builder.constant_output("e", references)
    builder.edge_count_output("n")
    outputs, pullback = run(builder.stage(), SMALL, precision.dtype, {})
    species = SMALL.species[: SMALL.n_owned]
    torch.testing.assert_close(outputs["c"].double(), values[species], rtol=0, atol=0)
    assert outputs["e"].tolist() == [references[s] for s in species]
    assert outputs["n"].item() == len(SMALL.senders)
    assert not pullback({})[1].any()


# ---- functions of the length


def chebyshev(lengths: Tensor, coefficients: Tensor) -> Tensor:
    """Of tables (n_cells, n_coefficients, n_functions) on the cells of GRID: by cosines."""
    n = coefficients.shape[1]
    ends = torch.tensor(GRID.ends, dtype=torch.float64)
    cell = torch.bucketize(lengths.detach(), ends, right=True) - 1
    t = 2 * (lengths - ends[cell]) / (ends[cell + 1] - ends[cell]) - 1
    polynomials = torch.cos(torch.arange(n) * torch.arccos(t)[:, None])
    return torch.einsum("ed,edc->ec", polynomials, coefficients[cell])


def tables(
    builder: Any, columns: list[int], by_species: bool
) -> tuple[int, Callable[[Tensor, Tensor], Tensor]]:
    """Random ones, and their values at lengths, for species pairs."""
    n_pairs = len(NUMBERS) ** 2
    of_pair = [(5 * pair) % 4 for pair in range(n_pairs)] if by_species else [0]
    n_cells = len(GRID.ends) - 1
    cells = uniform(max(of_pair) + 1, n_cells, GRID.n_coefficients, sum(columns))
    number = builder.tables(GRID.n_coefficients, columns, of_pair, list(cells.flatten(0, 1).numpy()))

    def values(lengths: Tensor, pairs: Tensor) -> Tensor:
        table = torch.tensor(of_pair)[pairs] if by_species else torch.zeros_like(pairs)
        found = torch.stack([chebyshev(lengths, of_table) for of_table in cells])
        return found[table, torch.arange(len(lengths))]

    return number, values


def basis(lengths: Tensor, power: int) -> Tensor:
    """Four Bessel functions under a polynomial envelope."""
    waves = torch.sin(lengths[:, None] * torch.arange(1, 5) * torch.pi / CUTOFF) / lengths[:, None]
    x, p = lengths / CUTOFF, power
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    return 0.7 * waves * envelope[:, None]


BASIS = core.RadialBasis((np.arange(1, 5) * np.pi / CUTOFF).tolist(), 0.7, CUTOFF, 5)


def through(layers: list[Tensor], lengths: Tensor) -> Tensor:
    rows = basis(lengths, 5)
    for layer in layers:
        rows = 1.6 * torch.nn.functional.silu(rows @ layer)
    return rows


def network(builder: Any, columns: list[int]) -> tuple[int, Callable[[Tensor, Tensor], Tensor]]:
    layers, groups = [uniform(4, 10), uniform(10, 7, seed=2)], [uniform(7, n, seed=3 + n) for n in columns]
    number = builder.network(BASIS, [m.numpy() for m in layers], 1.6, [m.numpy() for m in groups])

    def values(lengths: Tensor, pairs: Tensor) -> Tensor:
        rows = through(layers, lengths)
        return torch.cat([rows @ group for group in groups], dim=1)

    return number, values


def hidden(builder: Any, columns: list[int]) -> tuple[int, Callable[[Tensor, Tensor], Tensor]]:
    """One group, of as many numbers as the network has in its last layer."""
    layers = [uniform(4, 10), uniform(10, columns[0], seed=2)]
    number = builder.hidden(BASIS, [m.numpy() for m in layers], 1.6)
    return number, lambda lengths, pairs: through(layers, lengths)


RADIAL: dict[str, Callable[..., Any]] = {
    "tables": lambda builder, columns: tables(builder, columns, by_species=False),
    "tables by species": lambda builder, columns: tables(builder, columns, by_species=True),
    "network": network,
}


@pytest.mark.parametrize("radial", [*RADIAL, "hidden"])
@pytest.mark.parametrize("columns", [1, 17, 40])
def test_sums_over_edges(radial: str, columns: int, precision: Precision) -> None:
    builder = precision.builder()
    number, values = (RADIAL | {"hidden": hidden})[radial](builder, [columns])
    summed = builder.edge_sum(number)
    padded = -(-columns // 16) * 16
    pick = np.eye(padded, columns)
    builder.output("y", builder.linear(summed, [(0, columns)], [core.LinearMap(0, 0, [pick])]))

    def reference(vectors: Tensor, _: Tensors) -> Tensors:
        rows = values(vectors.norm(dim=1), SMALL.pairs)
        return {
            "y": torch.zeros(SMALL.n_owned, columns, dtype=torch.float64).index_add(0, SMALL.receivers, rows)
        }

    assert_agrees(builder.stage(), precision, SMALL, {}, reference)


def test_density(precision: Precision) -> None:
    weights = uniform(4, 1)
    builder = precision.builder()
    of = core.RadialBasis((np.arange(1, 5) * np.pi / CUTOFF).tolist(), 0.7, CUTOFF, 6)
    summed = builder.edge_sum(builder.density(of, weights.numpy()))
    builder.output("y", builder.linear(summed, [(0, 1)], [core.LinearMap(0, 0, [np.eye(16, 1)])]))

    def reference(vectors: Tensor, _: Tensors) -> Tensors:
        rows = torch.tanh((basis(vectors.norm(dim=1), 6) @ weights) ** 2)
        return {"y": torch.zeros(SMALL.n_owned, 1, dtype=torch.float64).index_add(0, SMALL.receivers, rows)}

    assert_agrees(builder.stage(), precision, SMALL, {}, reference)


def test_repulsion(precision: Precision) -> None:
    n_pairs = len(NUMBERS) ** 2
    charges, lengths = 10 + 5 * uniform(n_pairs), 0.3 + 0.1 * uniform(n_pairs, seed=2)
    cutoffs, weights = 2.5 + uniform(n_pairs, seed=3), [0.2, 0.5, 0.3]
    exponents = [3.2, 0.9, 0.4]
    builder = precision.builder()
    lists = [values.tolist() for values in (charges, lengths, cutoffs)]
    builder.output("e", builder.repulsion(core.Repulsion(*lists, weights, exponents, 6)), is_flat=True)

    def reference(vectors: Tensor, _: Tensors) -> Tensors:
        r, pairs = vectors.norm(dim=1), SMALL.pairs
        screening = sum(
            w * torch.exp(-e * r / lengths[pairs]) for w, e in zip(weights, exponents, strict=True)
        )
        x = r / cutoffs[pairs]
        envelope = torch.where(x < 1, 1 - 28 * x**6 + 48 * x**7 - 21 * x**8, torch.zeros_like(x))
        rows = charges[pairs] / (2 * r) * screening * envelope
        return {"e": torch.zeros(SMALL.n_owned, dtype=torch.float64).index_add(0, SMALL.receivers, rows)}

    assert_agrees(builder.stage(), precision, SMALL, {}, reference)


# ---- convolutions


@dataclass(frozen=True)
class Product:
    """Paths between irreps of senders and of a message, which has room for two paths of each degree."""

    source: Irreps
    message: Irreps
    paths: list[tuple[int, int, int]]
    """Source, target, first channel."""
    couplings: list[Tensor]

    @classmethod
    def between(cls, degrees: list[tuple[int, int]], channels: int) -> Product:
        padded = -(-channels // 16) * 16
        sources, targets = (sorted({pair[k] for pair in degrees}) for k in (0, 1))
        used = dict.fromkeys(targets, 0)
        paths, couplings = [], []
        for seed, (l_in, l_out) in enumerate(degrees):
            paths.append((sources.index(l_in), targets.index(l_out), used[l_out] * padded))
            used[l_out] += 1
            couplings.append(uniform(16, 2 * l_in + 1, 2 * l_out + 1, seed=seed))
        message = [(degree, used[degree] * padded) for degree in targets]
        return cls([(degree, channels) for degree in sources], message, paths, couplings)

    @property
    def columns(self) -> list[int]:
        return [self.source[path[0]][1] for path in self.paths]

    def core_paths(self) -> list[core.ConvolutionPath]:
        return [
            core.ConvolutionPath(*path, group, coupling.flatten(1).numpy())
            for group, (path, coupling) in enumerate(zip(self.paths, self.couplings, strict=True))
        ]

    def message_of(self, of: Graph, senders: list[Tensor], harmonics: Tensor, radial: Tensor) -> Tensor:
        """``senders``: rows of each edge's."""
        out = [
            torch.zeros(of.n_owned, channels, 2 * degree + 1, dtype=torch.float64)
            for degree, channels in self.message
        ]
        first = 0
        for (i, o, place), coupling in zip(self.paths, self.couplings, strict=True):
            channels = self.source[i][1]
            weights = radial[:, first : first + channels]
            first += channels
            rows = torch.einsum("ec,eci,ey,yim->ecm", weights, senders[i], harmonics, coupling)
            summed = torch.zeros(of.n_owned, *rows.shape[1:], dtype=torch.float64)
            summed = summed.index_add(0, of.receivers, rows)
            behind = out[o].shape[1] - place - channels
            out[o] = out[o] + torch.nn.functional.pad(summed, (0, 0, place, behind))
        return joined(out)


def harmonics_of(vectors: Tensor, sign: int) -> Tensor:
    o3 = pytest.importorskip("e3nn.o3", reason="harmonics are compared with e3nn's")
    return o3.spherical_harmonics([0, 1, 2, 3], sign * vectors, normalize=True, normalization="component")


def check_convolution(product: Product, of: Graph, precision: Precision, radial: str, sign: int = 1) -> None:
    builder = precision.builder(sign)
    number, values = RADIAL[radial](builder, product.columns)
    x = builder.input("x", product.source, of_senders=True)
    builder.output("y", builder.convolution(x, number, product.message, product.core_paths()))

    def reference(vectors: Tensor, inputs: Tensors) -> Tensors:
        senders = [rows[of.senders] for rows in parts(inputs["x"], product.source)]
        weights = values(vectors.norm(dim=1), of.pairs)
        return {"y": product.message_of(of, senders, harmonics_of(vectors, sign), weights)}

    inputs = {"x": uniform(len(of.species), width(product.source))}
    assert_agrees(builder.stage(), precision, of, inputs, reference)


DEGREES = list(itertools.product(range(4), range(4)))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("degrees", DEGREES, ids=str)
def test_convolution_between_all_degrees(degrees: tuple[int, int], sign: int, precision: Precision) -> None:
    check_convolution(Product.between([degrees], 24), SMALL, precision, "tables", sign)


@pytest.mark.parametrize("radial", RADIAL)
@pytest.mark.parametrize("channels", CHANNELS)
def test_convolution_of_any_number_of_channels(channels: int, radial: str, precision: Precision) -> None:
    product = Product.between([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], channels)
    check_convolution(product, SMALL, precision, radial)


def test_convolution_over_all_degrees_at_once(precision: Precision) -> None:
    check_convolution(Product.between(DEGREES, 3), SMALL, precision, "network")


def test_many_atoms_and_many_edges(precision: Precision) -> None:
    """More atoms than are added up together, and more edges than go through an operator together."""
    of = graph([300, *([0, 1, 4] * 180), 129, 128], n_local=700)
    check_convolution(Product.between([(0, 1), (1, 0)], 5), of, precision, "tables by species")


def test_senders_that_are_constants_of_their_species(precision: Precision) -> None:
    product = Product.between([(0, 0), (0, 3)], 20)
    rows = uniform(len(NUMBERS), 20)
    builder = precision.builder()
    number, values = RADIAL["tables"](builder, product.columns)
    senders = builder.constant(product.source, rows.numpy())
    builder.output("y", builder.convolution(senders, number, product.message, product.core_paths()))

    def reference(vectors: Tensor, _: Tensors) -> Tensors:
        of_edges = [rows[SMALL.species[SMALL.senders]][:, :, None]]
        weights = values(vectors.norm(dim=1), SMALL.pairs)
        return {"y": product.message_of(SMALL, of_edges, harmonics_of(vectors, 1), weights)}

    assert_agrees(builder.stage(), precision, SMALL, {}, reference)


@pytest.mark.parametrize("radial", [*RADIAL, "hidden", "one group per degree"])
@pytest.mark.parametrize("largest_degree", [0, 3])
def test_expansions_by_species(largest_degree: int, radial: str, precision: Precision) -> None:
    columns, n_degrees = 20, largest_degree + 1
    builder = precision.builder()
    if radial == "one group per degree":
        groups = list(range(n_degrees))
        number, values = RADIAL["tables"](builder, [columns] * n_degrees)
    else:
        groups = [0] * n_degrees
        number, values = (RADIAL | {"hidden": hidden})[radial](builder, [columns])
    padded = 32
    message = [(degree, len(NUMBERS) * padded) for degree in range(n_degrees)]
    pick = np.kron(np.eye(len(NUMBERS)), np.eye(padded, columns))
    irreps = [(degree, len(NUMBERS) * columns) for degree in range(n_degrees)]
    maps = [core.LinearMap(degree, degree, [pick]) for degree in range(n_degrees)]
    builder.output("y", builder.linear(builder.expansion(number, message, groups), irreps, maps))

    def reference(vectors: Tensor, _: Tensors) -> Tensors:
        functions = values(vectors.norm(dim=1), SMALL.pairs).reshape(len(vectors), -1, columns)
        harmonics = harmonics_of(vectors, 1)
        of_sender = torch.eye(len(NUMBERS), dtype=torch.float64)[SMALL.species[SMALL.senders]]
        rows = []
        for degree, group in enumerate(groups):
            of_degree = harmonics[:, degree**2 : (degree + 1) ** 2]
            of_edges = torch.einsum("es,ec,em->escm", of_sender, functions[:, group], of_degree)
            summed = torch.zeros(SMALL.n_owned, *of_edges.shape[1:], dtype=torch.float64)
            rows.append(summed.index_add(0, SMALL.receivers, of_edges))
        return {"y": joined(rows)}

    assert_agrees(builder.stage(), precision, SMALL, {}, reference)


def test_a_partition_without_edges(precision: Precision) -> None:
    check_convolution(Product.between([(1, 1)], 3), graph([0, 0], n_local=2), precision, "network")


def test_a_toy_of_all_operators_has_the_same_bits_every_time(precision: Precision) -> None:
    product = Product.between([(0, 0), (0, 1)], 16)
    builder = precision.builder()
    number, _ = RADIAL["network"](builder, product.columns)
    x = builder.input("x", product.source, of_senders=True)
    message = builder.convolution(x, number, product.message, product.core_paths())
    squares = builder.contraction(
        message, [(0, 16)], [0, 0], [[0, 0], [1, 1]], [uniform(2, 16).numpy()] * len(NUMBERS)
    )
    builder.output("y", squares)
    stage, inputs = builder.stage(), {"x": uniform(9, 16)}
    bits = []
    for _ in range(2):
        outputs, pullback = run(stage, SMALL, precision.dtype, inputs)
        for _ in range(2):  # a pullback may be asked twice
            back, edges = pullback({"y": torch.ones_like(outputs["y"])})
            bits.append((outputs["y"], back["x"], edges))
    assert all(all(map(torch.equal, bits[0], other)) for other in bits[1:])


# ---- what is refused


def with_input(irreps: Irreps, of_senders: bool = False) -> tuple[Any, int]:
    builder = core.StageBuilder64(list(NUMBERS), 1, GRID.cells)
    return builder, builder.input("x", irreps, of_senders)


def convolved(product: Product, **changes: Any) -> None:
    builder, x = with_input(product.source, changes.get("of_senders", True))
    number, _ = RADIAL["tables"](builder, changes.get("columns", product.columns))
    builder.convolution(x, number, changes.get("message", product.message), changes["paths"])


def path(*numbers: int, couplings: tuple[int, int] = (16, 1)) -> core.ConvolutionPath:
    return core.ConvolutionPath(*numbers, np.zeros(couplings))


SCALARS = Product.between([(0, 0)], 16)
MISTAKES: dict[str, tuple[str, Callable[[], Any]]] = {
    "no elements": ("no elements", lambda: core.StageBuilder64([], 1, GRID.cells)),
    "sign": ("sign is 2", lambda: core.StageBuilder64([1], 2, GRID.cells)),
    "no cell": ("cells of tables with 1 ends", lambda: core.Cells([0.0])),
    "cells": ("a cell of tables from 2 to 2", lambda: core.Cells([0.0, 2.0, 2.0])),
    "no channels": ("irrep|channels", lambda: with_input([(0, 0)])),
    "negative degree": ("irrep|degree", lambda: with_input([(-1, 2)])),
    "constant": (
        "a constant",
        lambda: core.StageBuilder64([1], 1, GRID.cells).constant([(0, 2)], np.zeros((1, 3))),
    ),
    "coefficients": ("tables of 17 coefficients", lambda: with_input([(0, 1)])[0].tables(17, [1], [0], [])),
    "number of cells": (
        "must be a multiple",
        lambda: with_input([(0, 1)])[0].tables(4, [1], [0], [np.zeros((4, 1))] * 10),
    ),
    "shape of a cell": (
        "a cell",
        lambda: with_input([(0, 1)])[0].tables(4, [1], [0], [np.zeros((4, 2))] * 9),
    ),
    "a table that is not there": (
        "table 1 of 1",
        lambda: with_input([(0, 1)])[0].tables(4, [1], [1] * 9, [np.zeros((4, 1))] * 9),
    ),
    "pairs of tables": (
        "2 species pairs; there are 9",
        lambda: with_input([(0, 1)])[0].tables(4, [1], [0, 0], [np.zeros((4, 1))] * 9),
    ),
    "layer": (
        "a layer of 4 inputs behind 2",
        lambda: with_input([(0, 1)])[0].network(
            core.RadialBasis([1.0, 2.0], 1.0, CUTOFF, 6), [np.zeros((4, 1))], 1.0, []
        ),
    ),
    "matrix of a map": (
        r"\(2, 2\)",
        lambda: _mapped([(0, 2)], [(0, 3)], core.LinearMap(0, 0, [np.zeros((2, 2))])),
    ),
    "matrices of a map": (
        "2 matrices for 3 species",
        lambda: _mapped([(0, 2)], [(0, 2)], core.LinearMap(0, 0, [np.zeros((2, 2))] * 2)),
    ),
    "map between degrees": (
        "degree 0 to 1",
        lambda: _mapped([(0, 2)], [(1, 2)], core.LinearMap(0, 0, [np.zeros((2, 2))])),
    ),
    "segment of a map": (
        "segment|irrep",
        lambda: _mapped([(0, 2)], [(0, 2)], core.LinearMap(4, 0, [np.zeros((2, 2))])),
    ),
    "order of monomials": ("monomial 1 .* out of order", lambda: _contracted([[1], [0]])),
    "degree of a monomial": ("monomial 0 .* out of range", lambda: _contracted([[0, 0, 0, 0], [1]])),
    "input of a monomial": ("monomial 1 .* out of range", lambda: _contracted([[0], [4]])),
    "activation": ("activation is 'relu'", lambda: core.Gated(0, 0, -1, "relu", 1.0)),
    "gate": ("gate", lambda: _gated(core.Gated(1, 0, 1, "silu", 1.0))),
    "degrees of a convolution": (
        "from degree 4",
        lambda: convolved(Product([(4, 16)], [(0, 16)], [], []), columns=[16], paths=[path(0, 0, 0, 0)]),
    ),
    "first channel": ("channels 8 to 24", lambda: convolved(SCALARS, paths=[path(0, 0, 8, 0)])),
    "channels of a message": ("channels 16 to 32", lambda: convolved(SCALARS, paths=[path(0, 0, 16, 0)])),
    "couplings": ("couplings", lambda: convolved(SCALARS, paths=[path(0, 0, 0, 0, couplings=(16, 3))])),
    "group": ("radial functions that do not fit", lambda: convolved(SCALARS, paths=[path(0, 0, 0, 1)])),
    "columns of a group": (
        "radial functions that do not fit",
        lambda: convolved(SCALARS, columns=[17], paths=[path(0, 0, 0, 0)]),
    ),
    "senders": ("no rows of senders", lambda: convolved(SCALARS, of_senders=False, paths=[path(0, 0, 0, 0)])),
    "channels of an expansion": (
        "degree 0 of an expansion with 32 channels",
        lambda: _expanded([(0, 32)], [0]),
    ),
    "degrees of an expansion": ("must be degree 0", lambda: _expanded([(1, 48)], [0])),
    "groups of an expansion": (
        "2 groups of radial functions and 1 degrees",
        lambda: _expanded([(0, 48)], [0, 0]),
    ),
    "group of an expansion": ("radial functions that do not fit", lambda: _expanded([(0, 48)], [1])),
    "register": ("register 7 of 1", lambda: with_input([(0, 1)])[0].linear(7, [(0, 1)], [])),
    "no outputs": ("without outputs", with_input([(0, 1)])[0].stage),
    "flat": ("no scalar", lambda: with_input([(0, 2)])[0].output("y", 0, is_flat=True)),
    "rows of senders as atoms": (
        "rows of senders",
        lambda: with_input([(0, 2)], of_senders=True)[0].linear(0, [(0, 2)], []),
    ),
    "rows of senders as an output": (
        "rows of senders",
        lambda: with_input([(0, 2)], of_senders=True)[0].output("y", 0),
    ),
    "atomic numbers": ("atomic number", lambda: core.StageBuilder64([-1], 1, GRID.cells)),
    "lists of a repulsion": (
        "differ in length",
        lambda: with_input([(0, 1)])[0].repulsion(core.Repulsion([1.0] * 9, [1.0], [1.0], [1.0], [1.0], 6)),
    ),
}


def _mapped(source: Irreps, target: Irreps, of: core.LinearMap) -> None:
    builder, x = with_input(source)
    builder.linear(x, target, [of])


def _expanded(message: Irreps, groups: list[int]) -> None:
    builder, _ = with_input([(0, 1)])
    number, _ = RADIAL["tables"](builder, [16])
    builder.expansion(number, message, groups)


def _contracted(monomials: list[list[int]]) -> None:
    builder, x = with_input([(0, 2), (1, 2)])
    builder.contraction(x, [(0, 2)], [0, 0], monomials, [np.zeros((2, 2))] * len(NUMBERS))


def _gated(of: core.Gated) -> None:
    builder, x = with_input([(0, 2), (1, 2)])
    builder.gate(x, [(1, 2)], [of])


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_does_not_fit_together_is_refused(mistake: str) -> None:
    words, build = MISTAKES[mistake]
    with pytest.raises(InvalidInputError, match=words):
        build()


def test_what_nothing_reads_is_refused() -> None:
    builder, _ = with_input([(0, 1)])
    number, _ = RADIAL["tables"](builder, [1])
    summed = builder.edge_sum(number)
    builder.output("y", builder.linear(builder.constant([(0, 1)], np.zeros((3, 1))), [(0, 1)], []))
    with pytest.raises(InvalidInputError, match=f"register {summed}"):
        builder.stage()


def tampered(**changes: Any) -> dict[str, Any]:
    given = {
        "n_owned": SMALL.n_owned,
        "numbers": torch.tensor(NUMBERS)[SMALL.species],
        "senders": SMALL.senders,
        "receivers": SMALL.receivers,
        "vectors": SMALL.vectors,
        "inputs": {"x": uniform(SMALL.n_owned, 2)},
        "keep": True,
    }
    return {**given, **changes}


BAD_TENSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "element": ("atomic number 3", {"numbers": torch.full((9,), 3)}),
    "negative element": ("atomic number -1", {"numbers": torch.full((9,), -1)}),
    "dtype": ("vectors must be", {"vectors": SMALL.vectors.float()}),
    "number of vectors": ("vectors must be", {"vectors": SMALL.vectors[:-1]}),
    "strided vectors": ("vectors must be", {"vectors": SMALL.vectors.T.contiguous().T}),
    "order of receivers": ("edge 1 is out of order", {"receivers": SMALL.receivers.flip(0)}),
    "sender": ("edge 0 is out of order or out of range", {"senders": SMALL.senders + 9}),
    "int32": ("senders must be", {"senders": SMALL.senders.int()}),
    "no input": ("there is no 'x'", {"inputs": {}}),
    "width of an input": ("'x' must be", {"inputs": {"x": uniform(SMALL.n_owned, 3)}}),
    "rows of an input": ("'x' must be", {"inputs": {"x": uniform(SMALL.n_owned + 1, 2)}}),
    "more owned atoms than there are": ("n_owned is 10", {"n_owned": 10}),
    "fewer owned atoms than none": ("n_owned is -1", {"n_owned": -1}),
}


@pytest.mark.parametrize("mistake", BAD_TENSORS)
def test_tensors_that_do_not_fit_are_refused(mistake: str) -> None:
    words, changes = BAD_TENSORS[mistake]
    builder, x = with_input([(0, 2)])
    builder.output("y", builder.linear(x, [(0, 2)], [core.LinearMap(0, 0, [np.eye(2)])]))
    stage = builder.stage()
    with pytest.raises(InvalidInputError, match=words):
        stage.run(**tampered(**changes))
    outputs, pullback = stage.run(**tampered())
    torch.testing.assert_close(outputs["y"], tampered()["inputs"]["x"], rtol=0, atol=0)
    for gradient in (torch.ones(SMALL.n_owned, 3, dtype=torch.float64), torch.ones(SMALL.n_owned, 2)):
        with pytest.raises(InvalidInputError, match="gradient of 'y'"):
            pullback({"y": gradient})
