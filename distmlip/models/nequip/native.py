"""NequIP's layers as native stages: the model's modules, evaluated on rows that show what they do."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from nequip.data import AtomicDataDict
from torch import Tensor

from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models import e3nn_native as e3
from distmlip.models.e3nn_gates import parts_of
from distmlip.models.e3nn_stage import Rows, StageWriter
from distmlip.models.exchanges import Halo
from distmlip.models.kinds import kind_of
from distmlip.models.native import NativeChoice, NativeStage, StageMaker
from distmlip.models.nequip.native_radial import DEEP_LINEAR, LINEAR, RadialFunctions, envelope_power
from distmlip.models.nequip.stages import BEFORE, FEATURES, OWN, Layers, prepared_copy
from distmlip.models.nequip.support import ENERGY, PAIR_POTENTIAL, READOUT, SCALE, cutoff_of
from distmlip.models.stages import Stage

PRODUCT = "e3nn.o3._tensor_product._tensor_product.TensorProduct"
EXPONENT, LENGTH = 0.23, 0.46850
WEIGHTS, EXPONENTS = (0.02817, 0.28022, 0.50986, 0.18175), (0.20162, 0.40290, 0.94229, 3.19980)
"""Of the screening function of nequip's ``ZBL``, whose unit of length is in Å."""


def native_stages(model: Any, dtype: torch.dtype, choice: NativeChoice, types: dict[int, int]) -> list[Stage]:
    """The stages of a model in this dtype: one per layer. ``types``: as of :class:`Layers`.

    Raises:
        NotNativeError: a part of the model is of a kind that native stages do not know.
    """
    return _NativeLayers(model, dtype, choice, types).stages()


class _NativeLayers:
    def __init__(self, model: Any, dtype: torch.dtype, choice: NativeChoice, types: dict[int, int]) -> None:
        # Weights are folded in float64; those of a model in float32 are exact there.
        self._layers = Layers(prepared_copy(model, torch.device("cpu"), torch.float64), types)
        self._types = torch.tensor([types[number] for number in choice.numbers])
        self._maker = StageMaker(choice, dtype, cutoff_of(model), sign=1)
        with torch.no_grad():
            self._radial = RadialFunctions(self._maker, self._layers, self._types)

    def stages(self) -> list[Stage]:
        with torch.no_grad():
            return [self._stage(k) for k in range(len(self._layers.layers))]

    def _stage(self, k: int) -> Stage:
        first, last = k == 0, k == len(self._layers.layers) - 1
        layer = self._layers.layers[k]
        writer = StageWriter(self._maker)
        of_species: dict[str, Tensor] = {}
        if first:
            embedded = self._layers.embedded(self._types)
            of_species = self._layers.prepared(0, embedded, self._types, len(embedded))
        rows = self._updated(writer, k, of_species)
        if last:
            energy = self._read_out(writer, rows)
            writer.builder.output("energy", energy.register, in_float64=True, is_flat=True)
        else:
            for name, written in self._for_next(writer, k + 1, rows).items():
                writer.builder.output(name, written.register)
        reads = () if first else self._layers.between(k)
        return NativeStage(
            name=f"layer {k}",
            before=() if first else (Halo(FEATURES, (layer.conv.linear_1.irreps_out.dim,)),),
            reads=reads,
            writes=() if last else self._layers.between(k + 1),
            results=("energy",) if last else (),
            computes=("atoms", "edges"),
            compiled=writer.builder.stage(),
        )

    def _updated(self, writer: StageWriter, k: int, of_species: dict[str, Tensor]) -> Rows:
        """The features that layer ``k`` gives."""
        layer, name = self._layers.layers[k], f"layer{k}_convnet"
        gate = parts_of(layer.equivariant_nonlin, f"{name}.equivariant_nonlin")
        message = self._convolved(writer, k, of_species.get(FEATURES))
        linear = layer.conv.linear_2
        if linear.irreps_out.simplify() != gate.irreps_in.simplify():
            raise NotNativeError(f"{name}.conv.linear_2 gives {linear.irreps_out}, not {gate.irreps_in}")
        rows = writer.affine(message, gate.irreps_in, [linear], f"{name}.conv.linear_2")
        if layer.conv.sc is not None:
            self._add(writer, rows, OWN, of_species, f"{name}.conv.sc")
        rows = writer.gate(rows, gate, f"{name}.equivariant_nonlin")
        if layer.resnet:
            self._add(writer, rows, BEFORE, of_species, name)
        return rows

    @staticmethod
    def _add(writer: StageWriter, rows: Rows, name: str, of_species: dict[str, Tensor], part: str) -> None:
        if name in of_species:
            writer.add_constants(rows, of_species[name], part)
        else:
            writer.add_input(rows, name, part)

    def _convolved(self, writer: StageWriter, k: int, features: Tensor | None) -> Rows:
        """``features``: of each species, where they depend on it only."""
        product, name = self._layers.layers[k].conv.tp_scatter.tp, f"layer{k}_convnet.conv.tp_scatter.tp"
        if kind_of(product) != PRODUCT:
            raise NotNativeError(f"{name} is a {kind_of(product)}, which native stages do not know")
        return writer.convolution(product, name, FEATURES, features, self._radial, k)

    def _for_next(self, writer: StageWriter, k: int, rows: Rows) -> dict[str, Rows]:
        """What layer ``k`` reads."""
        layer, name = self._layers.layers[k], f"layer{k}_convnet"
        irreps = {FEATURES: layer.conv.linear_1.irreps_out}
        if layer.conv.sc is not None:
            irreps[OWN] = layer.conv.sc.irreps_out
        depends = {FEATURES: not layer.conv.avg_num_neighbors_norm.norm_shortcut, OWN: True}
        written = {}
        for key, of in irreps.items():
            functions = self._by_species(partial(self._prepared, k, key))
            some = functions if depends[key] else functions[:1]
            written[key] = writer.affine(rows, of, some, f"{name}.conv")
        return {**written, BEFORE: rows} if layer.resnet else written

    def _by_species(self, function: Any) -> list[e3.Linear]:
        """A function of a type and rows, for each species."""
        return [partial(function, kind) for kind in self._types]

    def _prepared(self, k: int, key: str, kind: Tensor, rows: Tensor) -> Tensor:
        return self._layers.prepared(k, rows, kind.expand(len(rows)), len(rows))[key]

    def _read_out(self, writer: StageWriter, features: Rows) -> Rows:
        rows = {FEATURES: features}
        for part in self._layers.rest:
            kind = kind_of(part)
            if kind == READOUT:
                rows[part.out_field] = self._network(writer, part, rows[part.field])
            elif kind == SCALE:
                scalar = type(features.irreps)("1x0e")
                functions = self._by_species(partial(self._scaled, part))
                rows[part.out_field] = writer.affine(rows[part.field], scalar, functions, "scale_shift")
            elif kind == PAIR_POTENTIAL:
                repulsion = writer.builder.repulsion(self._repulsion(part))
                add = [core.LinearMap(0, 0, [torch.ones(1, 1).double().numpy()])]
                writer.builder.add_linear(repulsion, rows[ENERGY].register, add)
            else:
                raise NotNativeError(f"the model has a {kind}, which native stages do not know")
        return rows[ENERGY]

    @staticmethod
    def _scaled(part: Any, kind: Tensor, rows: Tensor) -> Tensor:
        data = {part.field: rows, AtomicDataDict.ATOM_TYPE_KEY: kind.expand(len(rows))}
        scaled: Tensor = part(data)[part.out_field]
        return scaled

    @staticmethod
    def _network(writer: StageWriter, part: Any, rows: Rows) -> Rows:
        """A network that reads energies from scalars."""
        name, network = f"{part.out_field}_readout", part.mlp_module.mlp
        layers = [network] if kind_of(network) == DEEP_LINEAR else list(network)
        widths = iter(part.mlp_module.dims[-1:] if len(layers) == 1 else part.mlp_module.dims[1:])
        for layer in layers:
            if kind_of(layer) in (LINEAR, DEEP_LINEAR):
                scalars = type(rows.irreps)(f"{next(widths)}x0e")
                rows = writer.affine(rows, scalars, [layer], name)
            else:
                rows = writer.activated(rows, e3.activation(layer, name))
        return rows

    def _repulsion(self, part: Any) -> core.Repulsion:
        """ZBL's, of every species pair: half of it on either atom, there and here."""
        charges = part.atomic_numbers[self._types].tolist()
        pairs = self._maker.species_pairs()
        powers = [charge**EXPONENT for charge in charges]
        return core.Repulsion(
            [2 * float(part._qqr2exesquare) * charges[r] * charges[s] for r, s in pairs],
            [LENGTH / (powers[r] + powers[s]) for r, s in pairs],
            self._radial.reach,
            list(WEIGHTS),
            list(EXPONENTS),
            envelope_power(part.cutoff, "pair_potential.cutoff"),
        )
