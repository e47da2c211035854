"""Which NequIP and Allegro models can be distributed, and what their types mean.

Classes are known by their names: those of a model from a package (``nequip-package``) are copies that came
with it, and are no classes of the package that is installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ase.data import atomic_numbers
from e3nn import get_optimization_defaults, set_optimization_defaults
from nequip.data import AtomicDataDict
from nequip.integrations.ase import NequIPCalculator
from torch import nn

from distmlip.errors import InvalidInputError, UnsupportedModelError, type_name
from distmlip.models.interface import ModelLike
from distmlip.models.kinds import kind_of
from distmlip.models.options import refuse_unknown

ENERGY: str = AtomicDataDict.PER_ATOM_ENERGY_KEY
MAP = "chemical_species_to_atom_type_map"
GRAPH_MODELS = ("nequip.nn.graph_model.GraphModel", "nequip.nn.compile.CompileGraphModel")
DERIVATIVES = "nequip.nn.grad_output.ForceStressOutput"
SEQUENCE = "nequip.nn._graph_mixin.SequentialGraphNetwork"
EMBEDDING = "nequip.nn.embedding.node.NodeTypeEmbed"
LAYER = "nequip.nn.convnetlayer.ConvNetLayer"
BLOCK = "nequip.nn.interaction_block.InteractionBlock"
CONVOLUTION = "nequip.nn._tp_scatter_base.TensorProductScatter"
CONTRACTER = "allegro.nn._strided._contract.Contracter"
ALLEGRO = "allegro.nn._allegro.Allegro_Module"
TOTAL = "nequip.nn.atomwise.AtomwiseReduce"
PAIR_POTENTIAL = "nequip.nn.pair_potential.ZBL"
READOUT = "nequip.nn.mlp.ScalarMLP"
SCALE = "nequip.nn.atomwise.PerTypeScaleShift"
NORMALIZER = "nequip.nn.embedding._edge.EdgeLengthNormalizer"
HARMONICS = "nequip.nn.embedding._edge.SphericalHarmonicEdgeAttrs"
BESSEL = "nequip.nn.embedding._edge.BesselEdgeLengthEncoding"
FACTOR = "nequip.nn.misc.ApplyFactor"
OF_EDGES = (NORMALIZER, HARMONICS, BESSEL, "nequip.nn.embedding._edge.AddRadialCutoffToData", FACTOR)
"""What is computed of edge vectors and types alone."""
PARTS = (
    *(EMBEDDING, LAYER, TOTAL, PAIR_POTENTIAL, *OF_EDGES, SEQUENCE, READOUT, SCALE),
    *(ALLEGRO, "allegro.nn._edgeembed.ProductTypeEmbedding", "allegro.nn.edgewise.EdgewiseReduce"),
    *("allegro.nn.scalarembed.TwoBodySplineScalarEmbed",),
    *("allegro.nn.tensorembed.TwoBodySphericalHarmonicTensorEmbed",),
)
"""Every kind of part of a model of energies."""


@contextmanager
def usual_e3nn() -> Iterator[None]:
    """What nequip builds or loads here leaves no trace in e3nn's settings: after it they say that what any
    package makes of its layers is TorchScript, which cannot be copied and is deprecated."""
    mode = get_optimization_defaults()["jit_mode"]
    try:
        yield
    finally:
        set_optimization_defaults(jit_mode=mode)


def read_model(model: Any) -> Any:
    """The ``GraphModel`` of what the user gave.

    Raises:
        UnsupportedModelError: it has none, or one with a part that cannot be distributed.
    """
    if isinstance(model, NequIPCalculator):
        for unit in ("energy_units_to_eV", "length_units_to_A"):
            if getattr(model, unit) != 1.0:
                raise UnsupportedModelError(
                    f"the NequIPCalculator has {unit}={getattr(model, unit)}; only models in eV and Ang can "
                    "be distributed"
                )
        model = model.model
    if kind_of(model) not in GRAPH_MODELS:
        raise UnsupportedModelError(
            f"{type_name(model)} cannot be distributed: a compiled model (of nequip-compile) cannot be cut "
            "into stages; give the eager one, from its checkpoint or package: "
            "nequip.model.saved_models.load_utils.load_saved_model(file), or the NequIPCalculator of it"
        )
    _require_supported(model)
    return model


def energy_model(model: Any) -> Any:
    """The sequence of modules that gives energies."""
    inner = model.model
    return inner.func if kind_of(inner) == DERIVATIVES else inner


def _require_supported(model: Any) -> None:
    sequence = energy_model(model)
    if kind_of(sequence) != SEQUENCE:
        raise UnsupportedModelError(
            f"the model has a {type_name(sequence)} in the place of a SequentialGraphNetwork, which cannot "
            "be distributed"
        )
    for name, part in _parts(sequence):
        if kind_of(part) not in PARTS:
            raise UnsupportedModelError(
                f"{name} of the model is a {type_name(part)}, which cannot be distributed; supported are "
                f"{', '.join(kind.rpartition('.')[2] for kind in PARTS)}"
            )
        if kind_of(part) == EMBEDDING and part.do_categorical_graph_field_embed:
            raise UnsupportedModelError(
                f"{name} of the model reads fields of the whole system "
                f"({', '.join(part.categorical_graph_field_embed_modules)}), which cannot be distributed yet"
            )
        if kind_of(part) == TOTAL and (part.reduce, part.constant) != ("sum", 1.0):
            raise UnsupportedModelError(f"{name} of the model is no plain sum of the energies of atoms")
        _require_plain(name, part)
    if not model.type_names:
        raise UnsupportedModelError("the model has no type_names; build it with nequip's model builders")


def _parts(sequence: nn.Module, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, part in sequence.named_children():
        yield prefix + name, part
        if kind_of(part) == SEQUENCE:
            yield from _parts(part, f"{prefix}{name}.")


def _require_plain(name: str, part: Any) -> None:
    """Refuse what runs on an accelerator library, and layers of a kind that is not known."""
    wanted: list[tuple[nn.Module, str]] = []
    if kind_of(part) == LAYER:
        wanted = [(part.conv, BLOCK), (getattr(part.conv, "tp_scatter", part.conv), CONVOLUTION)]
    elif kind_of(part) == ALLEGRO:
        wanted = [(product, CONTRACTER) for product in part.tps]
    for inner, kind in wanted:
        if kind_of(inner) != kind:
            raise UnsupportedModelError(
                f"{name} of the model has a {type_name(inner)} in the place of a {kind.rpartition('.')[2]}, "
                "which cannot be distributed; load the model without modifiers (enable_...)"
            )


def read_types(model: ModelLike, network: Any, given: Mapping[str, Any]) -> dict[int, int]:
    """The index of the type by atomic number.

    As in NequIP's calculator: by ``chemical_species_to_atom_type_map`` (symbol to name of a type); without
    one names of types are symbols. A calculator's own map is the default.

    Raises:
        InvalidInputError: an option that there is not, or a map of symbols or types that there are not.
    """
    refuse_unknown(given, [MAP], "NequIP")
    mapped = given.get(MAP)
    if mapped not in (None, True):
        if not isinstance(mapped, Mapping):
            raise InvalidInputError(f"{MAP}={mapped!r}; it must be a dictionary {{symbol: type}}")
        return _types_of(dict(mapped), list(network.type_names))
    if isinstance(model, NequIPCalculator):
        (mapper,) = (of for of in model.transforms if kind_of(of).endswith("ChemicalSpeciesToAtomTypeMapper"))
        return {number: int(index) for number, index in enumerate(mapper.lookup_table) if index >= 0}
    return _types_of({name: name for name in network.type_names}, list(network.type_names))


def _types_of(species: dict[str, str], names: list[str]) -> dict[int, int]:
    for what, unknown in (
        ("the symbols", [symbol for symbol in species if symbol not in atomic_numbers]),
        ("types named", [name for name in species.values() if name not in names]),
    ):
        if unknown:
            raise InvalidInputError(
                f"{MAP} has {what} {_some(unknown)}, which are unknown; the model has the types "
                f"{_some(names)}: give {{symbol: type}} for the elements"
            )
    return {atomic_numbers[symbol]: names.index(name) for symbol, name in species.items()}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def cutoff_of(model: Any) -> float:
    """Å"""
    return float(model.metadata["r_max"])
