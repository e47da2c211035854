"""Recursively embedded atom neural networks (Zhang, Xia and Jiang, Phys. Rev. Lett. 127, 156002 (2021)).

An atom is embedded in the orbitals of its neighbours: Gaussians times monomials x^a y^b z^c, multiplied by
coefficients of the neighbour, summed, contracted and squared, which gives densities. A network makes new
coefficients of an atom's densities, and with these come new densities: one *recursion*. After the last one
another network makes the atom's energy. There are networks and orbitals for every element.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor, nn


class ByElement(nn.Module):
    """A network for every element."""

    def __init__(self, n_elements: int, sizes: Sequence[int]) -> None:
        """``sizes``: of the input, the hidden layers and the output."""
        super().__init__()
        self.width = sizes[-1]
        self.networks = nn.ModuleList(self._network(sizes) for _ in range(n_elements))

    @staticmethod
    def _network(sizes: Sequence[int]) -> nn.Sequential:
        layers: list[nn.Module] = []
        for size_in, size_out in itertools.pairwise(sizes):
            layers += [nn.Linear(size_in, size_out), nn.SiLU()]
        return nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor, elements: Tensor) -> Tensor:
        """(n, width) from features (n, size of the input) and the index of each atom's element (n,)."""
        found = features.new_zeros(len(features), self.width)
        for k, network in enumerate(self.networks):
            (rows,) = torch.nonzero(elements == k, as_tuple=True)
            found = found.index_copy(0, rows, network(features[rows]))
        return found


class REANN(nn.Module):
    """Energies in eV from positions in Å."""

    def __init__(
        self,
        numbers: Sequence[int],
        *,
        cutoff: float = 5.0,
        degree: int = 2,
        n_gaussians: int = 8,
        n_orbitals: int = 16,
        n_recursions: int = 2,
        hidden: Sequence[int] = (32, 32),
        energies: Sequence[float] | None = None,
    ) -> None:
        """``numbers``: atomic numbers of the elements; ``degree``: the largest sum of a monomial's powers;
        ``energies``: eV, of an atom of each element."""
        super().__init__()
        self.numbers = tuple(numbers)
        self.cutoff = cutoff
        self.n_gaussians = n_gaussians
        self.n_recursions = n_recursions
        n_elements = len(self.numbers)
        powers = [p for p in itertools.product(range(degree + 1), repeat=3) if sum(p) <= degree]
        self.register_buffer("powers", torch.tensor(powers))
        multiplicity = [math.factorial(sum(p)) / math.prod(map(math.factorial, p)) for p in powers]
        self.register_buffer("multiplicity", torch.tensor(multiplicity))
        self.centers = nn.Parameter(torch.linspace(0.5, cutoff - 0.5, n_gaussians).repeat(n_elements, 1))
        self.exponents = nn.Parameter(torch.full((n_elements, n_gaussians), (n_gaussians / cutoff) ** 2 / 2))
        self.coefficients = nn.Parameter(torch.randn(n_elements, n_gaussians))
        shape = (n_recursions + 1, degree + 1, n_gaussians, n_orbitals)
        self.contractions = nn.Parameter(torch.randn(*shape) / n_gaussians**0.5)
        self.recursions = nn.ModuleList(
            ByElement(n_elements, (n_orbitals, *hidden, n_gaussians)) for _ in range(n_recursions)
        )
        self.readout = ByElement(n_elements, (n_orbitals, *hidden, 1))
        self.register_buffer("shifts", torch.tensor(energies if energies is not None else [0.0] * n_elements))
        lookup = torch.full((max(self.numbers) + 1,), -1)
        lookup[list(self.numbers)] = torch.arange(n_elements)
        self.register_buffer("lookup", lookup)

    def elements(self, numbers: Tensor) -> Tensor:
        """The index of each atom's element, from atomic numbers (n,)."""
        found: Tensor = self.lookup[numbers]
        return found

    def orbitals(self, vectors: Tensor, senders: Tensor) -> tuple[Tensor, Tensor]:
        """Gaussians (n_edges, n_gaussians) and monomials (n_edges, n_monomials) of edge vectors (n_edges, 3).

        ``senders``: (n_edges,), the element of the atom whose orbitals they are.
        """
        lengths = vectors.norm(dim=1, keepdim=True)
        envelope = (0.5 + 0.5 * torch.cos(math.pi * lengths / self.cutoff)) ** 2
        gaussians = torch.exp(-self.exponents[senders] * (lengths - self.centers[senders]) ** 2) * envelope
        monomials = ((vectors / self.cutoff)[:, None] ** self.powers).prod(dim=2)
        return gaussians, monomials

    def densities(
        self, k: int, coefficients: Tensor, gaussians: Tensor, monomials: Tensor, edges: Tensor, n_atoms: int
    ) -> Tensor:
        """(n_atoms, n_orbitals) of recursion ``k``, from the coefficients of all senders.

        ``edges``: (2, n_edges), senders and receivers; receivers are the first ``n_atoms`` rows.
        """
        senders, receivers = edges
        weighted = coefficients[senders] * gaussians
        of_edges = monomials[:, :, None] * weighted[:, None]
        summed = of_edges.new_zeros(n_atoms, *of_edges.shape[1:]).index_add(0, receivers, of_edges)
        contraction = self.contractions[k][self.powers.sum(dim=1)]
        orbitals = torch.einsum("nag,ago->nao", summed, contraction)
        return torch.einsum("nao,a->no", orbitals**2, self.multiplicity)

    def updated(self, k: int, coefficients: Tensor, densities: Tensor, elements: Tensor) -> Tensor:
        """The coefficients that atoms have after recursion ``k``."""
        found: Tensor = coefficients + self.recursions[k](densities, elements)
        return found

    def energies(self, densities: Tensor, elements: Tensor) -> Tensor:
        """(n_atoms,) eV"""
        found: Tensor = self.readout(densities, elements)[:, 0] + self.shifts[elements]
        return found

    def forward(self, numbers: Tensor, vectors: Tensor, edges: Tensor) -> Tensor:
        """(n_atoms,) energies of a whole structure: its atomic numbers, edge vectors, and senders and
        receivers (2, n_edges)."""
        elements = self.elements(numbers)
        orbitals = self.orbitals(vectors, elements[edges[0]])
        coefficients = self.coefficients[elements]
        for k in range(self.n_recursions):
            densities = self.densities(k, coefficients, *orbitals, edges, len(numbers))
            coefficients = self.updated(k, coefficients, densities, elements)
        densities = self.densities(self.n_recursions, coefficients, *orbitals, edges, len(numbers))
        return self.energies(densities, elements)


class REANNCalculator(Calculator):
    """The undivided model, in its dtype."""

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012  as ASE's

    def __init__(self, model: REANN) -> None:
        super().__init__()
        self.model = model

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """See ASE."""
        super().calculate(atoms, properties, system_changes)
        dtype = self.model.coefficients.dtype
        receivers, senders, found = neighbor_list("ijD", self.atoms, self.model.cutoff)
        with torch.enable_grad():
            vectors = torch.tensor(found.reshape(-1, 3), dtype=dtype, requires_grad=True)
            edges = torch.from_numpy(np.stack([senders, receivers]))
            energies = self.model(torch.from_numpy(self.atoms.numbers), vectors, edges)
            (slopes,) = torch.autograd.grad(energies.sum(), vectors)
        forces = torch.zeros(len(self.atoms), 3, dtype=dtype)
        forces = forces.index_add(0, edges[1], slopes).index_add(0, edges[0], -slopes)
        energies = energies.detach().double().numpy()
        energy = float(energies.sum())
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": energies,
            "forces": forces.double().numpy(),
        }
        if self.atoms.cell.volume > 0:
            strain = (vectors.detach().T @ slopes).double().numpy()
            self.results["stress"] = (
                full_3x3_to_voigt_6_stress((strain + strain.T) / 2) / self.atoms.cell.volume
            )
