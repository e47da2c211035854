"""MACE's layers as native stages, of the blocks that its published models are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from e3nn import o3
from mace.modules import blocks
from mace.modules.irreps_tools import mask_head
from mace.modules.radial import BesselBasis, GaussianBasis
from torch import Tensor, nn

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.machine.devices import in_float64
from distmlip.models import e3nn_native as e3
from distmlip.models.exchanges import Halo
from distmlip.models.mace.contractions import contraction_of
from distmlip.models.mace.native_radial import RadialFunctions
from distmlip.models.native import Builder, Irreps, Matrix, NativeChoice, NativeStage, StageMaker
from distmlip.models.replicate import replicate
from distmlip.models.stages import Stage

if TYPE_CHECKING:
    from mace.modules import MACE

INTERACTIONS = (
    blocks.RealAgnosticInteractionBlock,
    blocks.RealAgnosticResidualInteractionBlock,
    blocks.RealAgnosticDensityInteractionBlock,
    blocks.RealAgnosticDensityResidualInteractionBlock,
)
WITH_DENSITY = INTERACTIONS[2:]
WITH_SKIP = INTERACTIONS[1::2]
"""Whose ``skip_tp`` leads past the product; that of the others belongs to the message."""
SCALAR: Irreps = [(0, 1)]


def native_stages(
    model: MACE, dtype: torch.dtype, choice: NativeChoice, head: int, energy_unit: float
) -> list[Stage]:
    """The stages of a model in this dtype: one per interaction layer.

    Raises:
        NotNativeError: a part of the model is of a kind that native stages do not know.
    """
    return _Layers(model, dtype, choice, head, energy_unit).stages()


class _Layers:
    def __init__(
        self, model: MACE, dtype: torch.dtype, choice: NativeChoice, head: int, energy_unit: float
    ) -> None:
        _require_known(model)
        # Weights are folded in float64; those of a model in float32 are exact there.
        self.model = replicate(model, torch.device("cpu"), torch.float64)
        self.dtype = dtype
        self.head = head
        self.energy_unit = energy_unit
        self.maker = StageMaker(choice, dtype, float(model.r_max), sign=-1)
        known = model.atomic_numbers.tolist()
        self.elements = [known.index(number) for number in choice.numbers]
        self.one_hot = torch.eye(len(known), dtype=torch.float64)[self.elements]
        self.radial = RadialFunctions(self.model, self.maker, self.one_hot)
        self.n_layers = len(model.interactions)

    def stages(self) -> list[Stage]:
        with torch.no_grad():
            return [self._stage(layer) for layer in range(self.n_layers)]

    def _stage(self, layer: int) -> Stage:
        first, last = layer == 0, layer == self.n_layers - 1
        block = self.model.interactions[layer]
        builder = self.maker.builder()
        inputs = _Inputs(self, builder, layer)
        message = self._message(builder, layer, inputs)
        features = self._product(builder, layer, message, inputs)
        energy = self._site_energy(builder, layer, features, inputs.site_energy)
        before: tuple[Halo, ...] = ()
        if not first:
            before = (Halo("linear_up", (block.linear_up.irreps_out.dim,)),)
        if last:
            scale, shift = self._scale_and_shift()
            builder.output("energy", energy, in_float64=True, is_flat=True, factor=scale, shift=shift)
        else:
            following = self.model.interactions[layer + 1].linear_up
            part = f"interactions.{layer + 1}.linear_up"
            maps = e3.linear_maps(following, following.irreps_in, following.irreps_out, part)
            sent = builder.linear(features, e3.irreps_of(following.irreps_out, part), e3.as_core(maps))
            builder.output("features", features)
            builder.output("linear_up", sent)
            builder.output("site_energy", energy, is_flat=True)
        if first:
            builder.constant_output("reference_energy", self._reference_energies())
        return NativeStage(
            name=f"layer {layer}",
            before=before,
            reads=() if first else ("features", "site_energy", "linear_up"),
            writes=() if last else ("features", "site_energy", "linear_up"),
            results=(*(("reference_energy",) if first else ()), *(("energy",) if last else ())),
            computes=("atoms", "edges"),
            compiled=builder.stage(),
        )

    def _message(self, builder: Builder, layer: int, inputs: _Inputs) -> int:
        """What an interaction block gives the product of its layer."""
        part, block = f"interactions.{layer}", self.model.interactions[layer]
        message, convolved = self._convolution(builder, layer, inputs)
        scale = 1.0 if isinstance(block, WITH_DENSITY) else 1 / float(block.avg_num_neighbors)
        source, target = block.linear.irreps_in, block.linear.irreps_out
        maps = e3.linear_maps(lambda rows: scale * block.linear(rows), source, target, f"{part}.linear")
        irreps = e3.irreps_of(target, part)
        rows = builder.linear(message, irreps, convolved.maps_from(maps))
        if isinstance(block, WITH_DENSITY):
            rows = builder.normalised(rows, builder.edge_sum(self.radial.of_density(builder, layer)))
        if not isinstance(block, WITH_SKIP):
            rows = builder.linear(rows, irreps, self._of_species(block.skip_tp, f"{part}.skip_tp"))
        return rows

    def _convolution(
        self, builder: Builder, layer: int, inputs: _Inputs
    ) -> tuple[int, e3.Convolved | e3.Expanded]:
        product = self.model.interactions[layer].conv_tp
        convolved = e3.convolved(product, f"interactions.{layer}.conv_tp")
        if inputs.sent_by_species is not None:
            net = self.radial.network(layer)
            expanded = e3.expanded(product, convolved, net, inputs.sent_by_species)
            if expanded is not None:
                radial = self.radial.hidden(builder, layer)
                return builder.expansion(radial, expanded.message, [0] * len(expanded.message)), expanded
        radial = self.radial.of_convolution(builder, layer, convolved)
        senders = inputs.senders(builder)
        return builder.convolution(senders, radial, convolved.message, convolved.paths), convolved

    def _product(self, builder: Builder, layer: int, message: int, inputs: _Inputs) -> int:
        part, product = f"products.{layer}", self.model.products[layer]
        agnostic = getattr(product, "use_agnostic_product", False)
        elements = [0] * len(self.elements) if agnostic else self.elements
        contraction = contraction_of(product.symmetric_contractions, elements, part)
        contracted = builder.contraction(
            message,
            contraction.irreps,
            contraction.outputs,
            [list(monomial) for monomial in contraction.inputs],
            contraction.coefficients,
        )
        linear = product.linear
        irreps = e3.irreps_of(linear.irreps_out, part)
        maps = e3.linear_maps(linear, linear.irreps_in, linear.irreps_out, f"{part}.linear")
        features = builder.linear(contracted, irreps, e3.as_core(maps))
        block = self.model.interactions[layer]
        if product.use_sc and isinstance(block, WITH_SKIP):
            skip = self._of_species(block.skip_tp, f"interactions.{layer}.skip_tp")
            builder.add_linear(inputs.features, features, skip)
        return features

    def _site_energy(self, builder: Builder, layer: int, features: int, before: int | None) -> int:
        energy = before
        if layer == 0 and hasattr(self.model, "pair_repulsion"):
            energy = builder.repulsion(self.radial.repulsion(self.model.pair_repulsion_fn))
        elif before is not None:
            energy = builder.linear(before, SCALAR, [core.LinearMap(0, 0, [np.eye(1)])])
        readouts = self.model.readouts
        position = layer - (self.n_layers - 1) if len(readouts) == 1 else layer
        if position in range(len(readouts)):
            rows, maps = self._readout(builder, position, features)
            if energy is None:
                return builder.linear(rows, SCALAR, maps)
            builder.add_linear(rows, energy, maps)
        if energy is None:
            energy = builder.linear(builder.constant(SCALAR, np.zeros((self.maker.n_species, 1))), SCALAR, [])
        return energy

    def _readout(self, builder: Builder, position: int, features: int) -> tuple[int, list[core.LinearMap]]:
        """The register that the last linear map of a readout reads, and that map, of our head only."""
        part, readout = f"readouts.{position}", self.model.readouts[position]
        if isinstance(readout, blocks.LinearReadoutBlock):
            return features, self._of_head(readout.linear, part, None)
        if not isinstance(readout, blocks.NonLinearReadoutBlock):
            raise NotNativeError(f"{part} is a {type(readout).__name__}, which native stages do not know")
        linear = readout.linear_1
        hidden = e3.irreps_of(linear.irreps_out, part)
        if hidden != [(0, linear.irreps_out.dim)]:
            raise NotNativeError(f"{part} has hidden irreps {linear.irreps_out}; native stages know scalars")
        maps = e3.linear_maps(linear, linear.irreps_in, linear.irreps_out, f"{part}.linear_1")
        rows = builder.linear(features, hidden, e3.as_core(maps))
        name, factor = e3.activation(readout.non_linearity.acts[0], f"{part}.non_linearity")
        rows = builder.gate(rows, hidden, [core.Gated(0, 0, -1, name, factor)])
        mask = None
        n_heads = getattr(readout, "num_heads", 1)
        if n_heads > 1:
            ones = torch.ones(1, hidden[0][1])
            mask = mask_head(ones, torch.tensor([self.head]), n_heads).double().numpy()[0]
        return rows, self._of_head(readout.linear_2, part, mask)

    def _of_head(self, linear: nn.Module, part: str, mask: Matrix | None) -> list[core.LinearMap]:
        matrices = e3.linear_maps(linear, linear.irreps_in, linear.irreps_out, part)
        maps = []
        for (i, _), matrix in matrices.items():
            column = matrix[:, [self.head]]
            maps.append(core.LinearMap(i, 0, [column if mask is None else column * mask[:, None]]))
        return maps

    def _of_species(self, product: nn.Module, part: str) -> list[core.LinearMap]:
        """A tensor product with the species, as a linear map for each of them."""
        source, target = product.irreps_in1, product.irreps_out
        e3.irreps_of(source, part), e3.irreps_of(target, part)

        def maps_of(one_hot: Tensor) -> dict[tuple[int, int], Matrix]:
            return e3.linear_maps(lambda x: product(x, one_hot.expand(len(x), -1)), source, target, part)

        return e3.of_species([maps_of(one_hot) for one_hot in self.one_hot])

    def _reference_energies(self) -> list[float]:
        # In the model's dtype, as the original has them.
        energies = self.model.atomic_energies_fn.to(self.dtype)(self.one_hot.to(self.dtype))
        return in_float64(energies[:, self.head]).tolist()

    def _scale_and_shift(self) -> tuple[float, float]:
        """EV."""
        if not hasattr(self.model, "scale_shift"):
            return self.energy_unit, 0.0
        of_heads = (self.model.scale_shift.scale, self.model.scale_shift.shift)
        scale, shift = (float(of.reshape(-1)[self.head]) for of in of_heads)
        return scale * self.energy_unit, shift * self.energy_unit


class _Inputs:
    """What a layer's stage is given: registers of a builder."""

    features: int
    site_energy: int | None = None
    sent_by_species: Tensor | None = None
    """(n_species, width): what senders send, where that depends on their species only."""

    def __init__(self, layers: _Layers, builder: Builder, layer: int) -> None:
        block = layers.model.interactions[layer]
        part = f"interactions.{layer}"
        self._up = e3.irreps_of(block.linear_up.irreps_out, f"{part}.linear_up")
        own = e3.irreps_of(block.linear_up.irreps_in, f"{part}.linear_up")
        if layer == 0:
            features = layers.model.node_embedding(layers.one_hot)
            self.features = builder.constant(own, features.numpy())
            self.sent_by_species = block.linear_up(features)
        else:
            self.site_energy = builder.input("site_energy", SCALAR, of_senders=False)
            if isinstance(block, WITH_SKIP):
                self.features = builder.input("features", own, of_senders=False)

    def senders(self, builder: Builder) -> int:
        """The register of what they send."""
        if self.sent_by_species is not None:
            return builder.constant(self._up, self.sent_by_species.numpy())
        return builder.input("linear_up", self._up, of_senders=True)


def _require_known(model: MACE) -> None:
    for layer, block in enumerate(model.interactions):
        if type(block) not in INTERACTIONS:
            raise NotNativeError(
                f"interactions.{layer} is a {type(block).__name__}, which native stages do not know"
            )
        if hasattr(block, "conv_fusion"):
            raise NotNativeError(f"interactions.{layer} is fused by another package")
    for name in ("joint_embedding", "embedding_readout"):
        if hasattr(model, name):
            raise NotNativeError(
                f"{name} of the model embeds more than elements, which native stages do not know"
            )
    bessel = model.radial_embedding.bessel_fn
    if not isinstance(bessel, BesselBasis | GaussianBasis):
        # Chebychev's among them, which torch does not differentiate: forces of the original lack a part.
        raise NotNativeError(
            f"radial_embedding.bessel_fn is a {type(bessel).__name__}, which native stages do not know"
        )
    if not getattr(model.radial_embedding, "apply_cutoff", True):
        raise NotNativeError("radial_embedding of the model leaves its cutoff to the messages")
    kinds: Any = {type(part).__module__ for part in model.modules() if type(part).__name__ == "Linear"}
    if any("cuequivariance" in kind for kind in kinds):
        raise NotNativeError("linear maps of the model are cuequivariance's")
    if not isinstance(model.interactions[0].linear, o3.Linear):
        raise NotNativeError(f"interactions.0.linear is a {type(model.interactions[0].linear).__name__}")
