"""SevenNet's convolutions as native stages: the model's modules, evaluated on rows that show what they do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from e3nn.nn import FullyConnectedNet
from e3nn.o3 import FullyConnectedTensorProduct, Irreps, Linear, TensorProduct
from sevenn import _keys as keys
from sevenn.nn.convolution import IrrepsConvolution
from sevenn.nn.equivariant_gate import EquivariantGate
from sevenn.nn.linear import FCN_e3nn, IrrepsLinear
from sevenn.nn.scale import ModalWiseRescale, Rescale, SpeciesWiseRescale
from sevenn.nn.self_connection import SelfConnectionIntro, SelfConnectionLinearIntro, SelfConnectionOutro
from torch import Tensor, nn

from distmlip.errors import NotNativeError, type_name
from distmlip.models import e3nn_native as e3
from distmlip.models.e3nn_gates import GateParts, parts_of
from distmlip.models.e3nn_stage import StageWriter
from distmlip.models.exchanges import Halo
from distmlip.models.native import NativeChoice, NativeStage, StageMaker
from distmlip.models.sevennet.radial import RadialFunctions, kink_of, require_type
from distmlip.models.sevennet.stages import BETWEEN, Layers, prepared_copy
from distmlip.models.sevennet.values import Values
from distmlip.models.stages import Stage

if TYPE_CHECKING:
    from sevenn.nn.sequential import AtomGraphSequential

RESCALES = (Rescale, SpeciesWiseRescale, ModalWiseRescale)


def native_stages(
    model: AtomGraphSequential, dtype: torch.dtype, choice: NativeChoice, modality: int | None
) -> list[Stage]:
    """The stages of a model in this dtype: one per convolution. ``modality``: as of :class:`Layers`.

    Raises:
        NotNativeError: a part of the model is of a kind that native stages do not know.
    """
    return _NativeLayers(model, dtype, choice, modality).stages()


class _NativeLayers:
    def __init__(
        self, model: AtomGraphSequential, dtype: torch.dtype, choice: NativeChoice, modality: int | None
    ) -> None:
        # Weights are folded in float64; those of a model in float32 are exact there.
        module = prepared_copy(model, torch.device("cpu"), torch.float64)
        self.layers = Layers(module, modality)
        names = {part: name for name, part in module.named_children()}
        self._name_of = names.__getitem__
        self.maker = StageMaker(
            choice, dtype, float(model.cutoff), sign=1, kink=kink_of(self.layers.edge_embedding)
        )
        self.species = self.layers.species_of(torch.tensor(choice.numbers))
        self.n_layers = len(self.layers.layers)
        nets = {
            self._name_of_net(convolution): convolution.weight_nn for convolution, _ in self.layers.layers
        }
        self.radial = RadialFunctions(self.maker, self.layers.edge_embedding, nets)

    def stages(self) -> list[Stage]:
        with torch.no_grad():
            return [self._stage(layer) for layer in range(self.n_layers)]

    def _stage(self, layer: int) -> Stage:
        first, last = layer == 0, layer == self.n_layers - 1
        convolution, parts = self.layers.layers[layer]
        values = Values(StageWriter(self.maker))
        builder = values.writer.builder
        if first:
            values.of_species = self._embedded()
        self._convolve(values, convolution)
        gate = self._gate_among(parts)
        for part in parts:
            self._add(values, part, gate)
            if isinstance(part, EquivariantGate):
                gate = None
        if last:
            energy = values.rows[keys.ATOMIC_ENERGY]
            builder.output("energy", energy.register, in_float64=True, is_flat=True)
            builder.edge_count_output("num_edges")
        else:
            for key in BETWEEN:
                builder.output(key, values.rows[key].register)
        halo = Halo(keys.NODE_FEATURE, (convolution.convolution.irreps_in1.dim,))
        return NativeStage(
            name=f"layer {layer}",
            before=() if first else (halo,),
            reads=() if first else BETWEEN,
            writes=() if last else BETWEEN,
            results=("energy",) if last else (),
            system_results=("num_edges",) if last else (),
            computes=("atoms", "edges"),
            compiled=builder.stage(),
        )

    def _embedded(self) -> dict[str, Tensor]:
        """What the first convolution is given, of each species."""
        data = dict(self.species)
        for part in self.layers.embedding:
            data = part(data)
        return {key: data[key] for key in BETWEEN if key in data}

    def _gate_among(self, parts: list[nn.Module]) -> GateParts | None:
        gates = [part for part in parts if isinstance(part, EquivariantGate)]
        if len(gates) > 1:
            raise NotNativeError(f"{self._name_of(gates[1])} is the second gate behind a convolution")
        return parts_of(gates[0].gate, f"{self._name_of(gates[0])}.gate") if gates else None

    def _convolve(self, values: Values, part: IrrepsConvolution) -> None:
        name, product = self._name_of(part), part.convolution
        require_type(product, TensorProduct, f"{name}.convolution")
        senders = values.of_species.pop(keys.NODE_FEATURE, None)
        rows = values.writer.convolution(
            product,
            f"{name}.convolution",
            keys.NODE_FEATURE,
            senders,
            self.radial,
            self._name_of_net(part),
        )
        values.rows[keys.NODE_FEATURE] = replace(rows, divisor=float(part.denominator))

    def _name_of_net(self, part: IrrepsConvolution) -> str:
        return f"{self._name_of(part)}.weight_nn"

    def _add(self, values: Values, part: Any, gate: GateParts | None) -> None:
        """A module behind a convolution; ``gate``: the one that comes behind it."""
        name = self._name_of(part)
        if isinstance(part, IrrepsLinear):
            require_type(part.linear, Linear, f"{name}.linear")
            target = part.linear.irreps_out
            if gate is not None and target.simplify() == gate.irreps_in.simplify():
                target = gate.irreps_in
            self._add_linear(values, part, part.key_input, part.key_output, target)
        elif isinstance(part, SelfConnectionLinearIntro):
            require_type(part.linear, Linear, f"{name}.linear")
            self._add_linear(values, part, part.key_x, keys.SELF_CONNECTION_TEMP, part.linear.irreps_out)
        elif isinstance(part, SelfConnectionIntro):
            product = part.fc_tensor_product
            require_type(product, FullyConnectedTensorProduct, f"{name}.fc_tensor_product")
            self._add_linear(
                values, part, part.key_x, keys.SELF_CONNECTION_TEMP, product.irreps_out, by_species=True
            )
        elif isinstance(part, SelfConnectionOutro):
            self._add_self_connection(values, part)
        elif isinstance(part, EquivariantGate):
            assert gate is not None
            values.rows[part.key_x] = values.writer.gate(values.rows[part.key_x], gate, name)
        elif isinstance(part, FCN_e3nn):
            self._add_network(values, part)
        elif isinstance(part, RESCALES):
            self._add_linear(values, part, part.key_input, part.key_output, Irreps("1x0e"), by_species=True)
        else:
            raise NotNativeError(f"{name} is a {type_name(part)}, which native stages do not know")

    def _add_linear(
        self,
        values: Values,
        part: Any,
        source: str,
        target: str,
        irreps: Irreps,
        by_species: bool = False,
    ) -> None:
        functions = [
            self._function(part, source, target, species)
            for species in range(self.maker.n_species if by_species else 1)
        ]
        rows = values.rows[source]
        values.rows[target] = values.writer.affine(rows, irreps, functions, self._name_of(part))

    def _function(self, part: Any, source: str, target: str, species: int) -> e3.Linear:
        """What a module makes of rows of atoms of a species."""

        def function(rows: Tensor) -> Tensor:
            data = dict(self.species)
            for key in (keys.NODE_ATTR, keys.ATOM_TYPE):
                data[key] = data[key][[species] * len(rows)]
            output: Tensor = part({**data, source: rows})[target]
            return output

        return function

    def _add_self_connection(self, values: Values, part: SelfConnectionOutro) -> None:
        name, rows = self._name_of(part), values.rows[part.key_x]
        if keys.SELF_CONNECTION_TEMP in values.of_species:
            constants = values.of_species.pop(keys.SELF_CONNECTION_TEMP)
            values.writer.add_constants(rows, constants, name)
        else:
            values.writer.add_input(rows, keys.SELF_CONNECTION_TEMP, name)

    def _add_network(self, values: Values, part: FCN_e3nn) -> None:
        """A network that reads energies from scalars."""
        name = f"{self._name_of(part)}.fcn"
        require_type(part.fcn, FullyConnectedNet, name)
        rows = values.rows[part.key_input]
        for layer in part.fcn:
            irreps = Irreps(f"{layer.h_out}x0e")
            rows = values.writer.affine(rows, irreps, [_linear_part(layer)], name)
            if layer.act is not None:
                known, factor = e3.activation(layer.act, name)
                rows = values.writer.activated(rows, (known, factor * layer.var_out**0.5))
        values.rows[part.key_output] = rows


def _linear_part(layer: Any) -> e3.Linear:
    weights = torch.as_tensor(e3.weights_of(layer))
    return lambda rows: rows @ weights
