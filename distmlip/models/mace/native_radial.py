"""MACE's functions of the length as radial functions of native stages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from e3nn.nn import FullyConnectedNet
from mace.modules.radial import AgnesiTransform, BesselBasis, ZBLBasis
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models import e3nn_native as e3
from distmlip.models.native import Builder, StageMaker

if TYPE_CHECKING:
    from mace.modules import MACE

COULOMB = 14.3996
"""eV·Å, and the weights and exponents of the screening function: as in MACE's ``ZBLBasis``."""
SCREENING = (3.2, 0.9423, 0.4028, 0.2016)
BOHR = 0.529


class RadialFunctions:
    """Of a model in float64, for the species of its stages; by tables or exact, as was chosen.

    Methods raise ``NotNativeError`` for what native stages do not know.
    """

    def __init__(self, model: MACE, maker: StageMaker, one_hot: Tensor) -> None:
        """``one_hot``: (n_species, n_elements), the model's element of each species."""
        self._model = model
        self._maker = maker
        self._one_hot = one_hot
        if maker.choice.table is not None:
            maker.fit(self._roughest, self._by_species)

    def of_convolution(self, builder: Builder, layer: int, convolved: e3.Convolved) -> int:
        """Weights of the paths of a layer's convolution."""
        net, part = self.network(layer), self._name_of_network(layer)
        if self._maker.choice.table is None:
            layers, last, factor = e3.network(net, part)
            groups = [np.ascontiguousarray(last[:, of]) for of in convolved.weights]
            return builder.network(self._basis(), layers, factor, groups)
        return self._maker.tables(builder, partial(self._functions, net), convolved.columns, self._by_species)

    def hidden(self, builder: Builder, layer: int) -> int:
        """What the last layer of a convolution's network reads."""
        net = self.network(layer)
        if self._maker.choice.table is None:
            layers, _, factor = e3.network(net, self._name_of_network(layer))
            return builder.hidden(self._basis(), layers, factor)
        functions = partial(self._functions, e3.hidden(net))
        return self._maker.tables(builder, functions, [net.hs[-2]], self._by_species)

    def network(self, layer: int) -> FullyConnectedNet:
        """Of a layer's convolution."""
        net = self._model.interactions[layer].conv_tp_weights
        if not isinstance(net, FullyConnectedNet):
            part, kind = self._name_of_network(layer), type(net).__name__
            raise NotNativeError(f"{part} is a {kind}, which native stages do not know")
        return net

    def _name_of_network(self, layer: int) -> str:
        return f"interactions.{layer}.conv_tp_weights"

    def _roughest(self, lengths: Tensor, receiver: int, sender: int) -> Tensor:
        """What the networks of all layers have in their last but one layers."""
        nets = [e3.hidden(self.network(layer)) for layer in range(len(self._model.interactions))]
        return torch.cat([self._functions(net, lengths, receiver, sender) for net in nets], dim=1)

    def of_density(self, builder: Builder, layer: int) -> int:
        """What an interaction block with a density adds up over edges."""
        part, net = f"interactions.{layer}.density_fn", self._model.interactions[layer].density_fn
        if self._maker.choice.table is not None:

            def density(lengths: Tensor, receiver: int, sender: int) -> Tensor:
                return torch.tanh(self._functions(net, lengths, receiver, sender) ** 2)

            return self._maker.tables(builder, density, [1], self._by_species)
        if len(net) != 1:
            raise NotNativeError(f"{part} has hidden layers")
        return builder.density(self._basis(), e3.weights_of(net[0]))

    def _functions(self, net: nn.Module, lengths: Tensor, receiver: int, sender: int) -> Tensor:
        """A network of the model at these lengths, for a receiver and a sender of two species."""
        ends = torch.stack([self._one_hot[sender], self._one_hot[receiver]])
        edge = torch.tensor([[0], [1]]).expand(2, len(lengths))
        features, _ = self._model.radial_embedding(lengths[:, None], ends, edge, self._model.atomic_numbers)
        values: Tensor = net(features)
        return values

    @property
    def _by_species(self) -> bool:
        return hasattr(self._model.radial_embedding, "distance_transform")

    def _basis(self) -> core.RadialBasis:
        embedding = self._model.radial_embedding
        bessel, transform = embedding.bessel_fn, getattr(embedding, "distance_transform", None)
        if not isinstance(bessel, BesselBasis):
            raise NotNativeError(
                f"radial_embedding.bessel_fn is a {type(bessel).__name__}; exact radial "
                "functions of native stages are Bessel's"
            )
        agnesi = None
        if transform is not None:
            if not isinstance(transform, AgnesiTransform):
                raise NotNativeError(
                    f"radial_embedding.distance_transform is a {type(transform).__name__}; "
                    "exact radial functions of native stages know Agnesi's"
                )
            radii = transform.covalent_radii[list(self._maker.choice.numbers)].tolist()
            means = [(radii[r] + radii[s]) / 2 for r, s in self._maker.species_pairs()]
            agnesi = core.Agnesi(float(transform.a), float(transform.q), float(transform.p), means)
        cutoff = embedding.cutoff_fn
        return core.RadialBasis(
            bessel.bessel_weights.tolist(),
            float(bessel.prefactor),
            float(cutoff.r_max),
            int(cutoff.p),
            transform=agnesi,
        )

    def repulsion(self, zbl: ZBLBasis) -> core.Repulsion:
        """ZBL's, of every species pair."""
        numbers = self._maker.choice.numbers
        pairs = self._maker.species_pairs()
        powers = [float(number ** float(zbl.a_exp)) for number in numbers]
        radii = zbl.covalent_radii[list(numbers)].tolist()
        length = float(zbl.a_prefactor) * BOHR
        # As there in torch's default dtype, which is that of a number times integers.
        charges = COULOMB * torch.tensor([numbers[s] for _, s in pairs])
        charges = charges * torch.tensor([numbers[r] for r, _ in pairs])
        return core.Repulsion(
            charges.double().tolist(),
            [length / (powers[r] + powers[s]) for r, s in pairs],
            [radii[r] + radii[s] for r, s in pairs],
            zbl.c.tolist(),
            list(SCREENING),
            int(zbl.p),
        )
