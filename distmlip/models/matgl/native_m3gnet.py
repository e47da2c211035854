"""M3GNet's blocks as native stages. What crosses them is that of the eager ones (m3gnet.py).

Where a function of the angle is a Legendre polynomial, the sum over angles is made of sums over edges; with
``use_phi`` it is evaluated angle by angle. All that depends on a length alone is a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matgl.layers._core import GatedMLP
from matgl.utils.cutoff import polynomial_cutoff
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError, type_name
from distmlip.models.directed_layers import (
    LARGEST_DEGREE,
    by_number,
    end_atoms,
    gated_layer,
    legendre,
    require_padded,
)
from distmlip.models.exchanges import Halo
from distmlip.models.length_tables import Function, length_tables
from distmlip.models.linear_layers import linears_of
from distmlip.models.matgl.architecture import MARGIN
from distmlip.models.native import NativeStage
from distmlip.models.stages import EagerStage, Stage, Tensors

if TYPE_CHECKING:
    from matgl.models import M3GNet

    from distmlip.models.matgl.m3gnet import M3GNetArchitecture

FUNCTIONS, EDGE_WEIGHTS, ATOM_WEIGHTS, EMBEDDING = range(4)
"""Groups of functions of the length; the embedding is the first block's."""


class NativeM3GNet:
    """The native stages of a network."""

    def __init__(self, architecture: M3GNetArchitecture, dtype: torch.dtype) -> None:
        """``dtype``: of the stages.

        Raises:
            NotNativeError: a part of the model is of a kind that native stages do not know; so do methods.
        """
        # Weights are folded in float64; those of a model in float32 are exact there.
        self.exact = architecture.copy(torch.float64)
        self.replica = architecture.copy(dtype)
        self.network: M3GNet = self.exact.network
        self.numbers = architecture.numbers
        self.dtype = dtype
        embedding = self.network.embedding
        self.atoms, self.edges = int(embedding.dim_node_embedding), int(embedding.dim_edge_embedding)
        require_padded(atoms=self.atoms, edges=self.edges)
        self.degree = int(self.network.three_body_interactions[0].update_network_bond.in_feats)

    def stages(self) -> list[Stage]:
        """One per block, then the readout."""
        with torch.no_grad():
            blocks = [self._block(k) for k in range(self.exact.last + 1)]
        readout = EagerStage(
            name="readout",
            function=lambda _graph, _vectors, inputs: self._read_out(inputs["atoms"]),
            reads=("atoms",),
            results=("energy",),
            computes=("atoms",),
        )
        return [*blocks, readout]

    def _read_out(self, atoms: Tensor) -> Tensors:
        return {"energy": self.replica.scaled(self.replica.network.final_layer(atoms).view(-1))}

    def _block(self, k: int) -> NativeStage:
        first, last = k == 0, k == self.exact.last
        names = ("atoms", "end_atoms", "edges")
        return NativeStage(
            name=f"block {k}",
            before=() if first else (Halo("atoms", (self.atoms,)), Halo("end_atoms", (self.degree,))),
            reads=() if first else names,
            writes=("atoms",) if last else names,
            computes=("atoms", "edges", "angles"),
            compiled=self._compiled(k),
        )

    def _compiled(self, k: int) -> core.NativeStage:
        network = self.network
        first, last = k == 0, k == self.exact.last
        conv = network.graph_layers[k].conv
        groups: list[Function] = [
            self._functions_of_length,
            lambda lengths: conv.edge_weight_func(network.bond_expansion(lengths)),
            lambda lengths: conv.node_weight_func(network.bond_expansion(lengths)),
        ]
        if first:
            groups.append(self._edge_embedding)
        species = self._atom_embedding() if first else None
        return core.directed_block(
            is_double=self.dtype == torch.float64,
            atoms=self.atoms,
            edges=self.edges,
            tables=self._tables(groups),
            embedding=EMBEDDING if first else -1,
            species=None if species is None else by_number(self.numbers, species),
            end_species=None if species is None else by_number(self.numbers, self._end_atoms(0, species)),
            three_body=self._three_body(k),
            edge_update=core.WeightedLayer(self._layer(conv.edge_update_func), EDGE_WEIGHTS),
            messages=core.WeightedLayer(self._layer(conv.node_update_func), ATOM_WEIGHTS),
            end_atoms=None if last else self._end_atom_network(k + 1),
            gives_edges=not last,
        )

    def _tables(self, groups: list[Function]) -> core.LengthTables:
        network = self.network
        return length_tables(groups, float(network.cutoff), [float(network.threebody_cutoff)], self.dtype)

    def _layer(self, mlp: GatedMLP) -> core.GatedLayer:
        """Of receivers, senders and edges, side by side."""
        return gated_layer(_both(mlp), (0, 1, 2), (self.atoms, self.atoms, self.edges))

    # ---- atoms and edges before the first block

    def _atom_embedding(self) -> Tensor:
        """(n_elements, width)"""
        layer = self.network.embedding.layer_node_embedding
        if type(layer) is not nn.Embedding:
            raise NotNativeError(
                f"atoms are embedded by a {type_name(layer)}; native stages know nn.Embedding"
            )
        return layer.weight.detach()

    def _edge_embedding(self, lengths: Tensor) -> Tensor:
        embedded: Tensor = self.network.embedding.layer_edge_embedding(self.network.bond_expansion(lengths))
        return embedded

    # ---- three-body sums

    def _end_atoms(self, k: int, atoms: Tensor) -> Tensor:
        end_atoms: Tensor = self.network.three_body_interactions[k].end_atom_network(atoms)
        return end_atoms

    def _end_atom_network(self, k: int) -> core.EndAtoms:
        layers = list(self.network.three_body_interactions[k].end_atom_network.layers)
        if [type(layer) for layer in layers] != [nn.Linear, nn.Sigmoid]:
            raise NotNativeError("what three-body sums read of atoms is no sigmoid of a linear layer")
        return end_atoms(layers[0])

    def _three_body(self, k: int) -> core.ThreeBodySums:
        functions, of_column, degrees = self._functions_of_angle()
        mlp = self.network.three_body_interactions[k].update_network_bond
        return core.ThreeBodySums(
            functions=functions,
            of_column=of_column,
            degrees=degrees,
            margin=MARGIN,
            functions_of_length=FUNCTIONS,
            reads_centres=False,
            layer=gated_layer(_both(mlp), (0,), (self.degree,)),
        )

    def _functions_of_length(self, lengths: Tensor) -> Tensor:
        """(n, degree + 1): what is multiplied with functions of the angle, then the cutoff."""
        basis = self.network.basis_expansion
        cutoff = polynomial_cutoff(lengths, self.network.threebody_cutoff)[:, None]
        radial = basis.sbf(lengths)
        orders = 2 * np.arange(basis.max_l) + 1 if basis.use_phi else np.ones(basis.max_l, dtype=int)
        repeats = np.repeat(orders, basis.max_n)
        expanded = radial.repeat_interleave(torch.as_tensor(repeats), dim=1)
        return torch.cat([expanded * torch.as_tensor(self._scales()) * cutoff, cutoff], dim=1)

    def _scales(self) -> np.ndarray:
        """(degree,): how many times the core's functions of the angle the model's own are."""
        basis = self.network.basis_expansion
        if basis.use_phi:
            return np.ones(self.degree)
        at_one = _angular(basis.shf, np.array([1.0]))[0]
        return np.repeat(at_one / (2 * np.arange(basis.max_l) + 1), basis.max_n)

    def _functions_of_angle(self) -> tuple[list[core.AngularFunction], list[int], list[int]]:
        """Those of the core, which of them each column has, and their degrees if they are 2 l + 1 times
        Legendre polynomials."""
        basis = self.network.basis_expansion
        degrees = list(range(basis.max_l))
        if not basis.use_phi:
            functions = [legendre(degree) for degree in degrees]
            by_edges = degrees[-1] <= LARGEST_DEGREE
            return functions, np.repeat(degrees, basis.max_n).tolist(), degrees if by_edges else []
        functions, of_column = [], []
        for degree in degrees:
            of_degree = range(len(functions), len(functions) + 2 * degree + 1)
            functions += [
                _fitted(basis.shf, index, degree, abs(order))
                for index, order in zip(of_degree, range(-degree, degree + 1), strict=True)
            ]
            of_column += [*of_degree] * basis.max_n
        return functions, of_column, []


def _both(mlp: Any) -> tuple[list[nn.Linear], list[nn.Linear]]:
    """The linear layers of a gated perceptron: of core and of gate."""
    if type(mlp) is not GatedMLP:
        raise NotNativeError(f"a {type_name(mlp)}; native stages know matgl's GatedMLP")
    return linears_of(mlp.layers, nn.SiLU), linears_of(mlp.gates, nn.Sigmoid)


def _angular(functions: Any, cosines: np.ndarray) -> np.ndarray:
    """(n, n_functions)"""
    given = torch.as_tensor(cosines)
    values: np.ndarray = functions(given, torch.zeros_like(given)).numpy().real
    return values


def _fitted(functions: Any, index: int, degree: int, order: int) -> core.AngularFunction:
    """A real spherical harmonic at phi = 0: sin^order times a polynomial."""
    cosines = np.cos(np.pi * (np.arange(degree + 3) + 0.5) / (degree + 3))
    factors = _angular(functions, cosines)[:, index] / np.sqrt(1 - cosines**2) ** order
    fit = Chebyshev.fit(cosines, factors, degree - order, domain=[-1, 1]).convert(kind=Polynomial)
    return core.AngularFunction(fit.coef.tolist(), order)
