"""What Python sees of the compiled core (csrc/bindings).

Raises:
    InvalidInputError: an argument is wrong (std::invalid_argument of the core).
    RankError: another rank is lost.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeAlias, TypedDict, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from distmlip.models.checks import CheckedStage
from distmlip.models.exchanges import Exchange
from distmlip.models.local_graph import BondGraph, LocalGraph
from distmlip.models.stages import Stage

_Indices: TypeAlias = NDArray[np.int64]
_Groups: TypeAlias = tuple[_Indices, _Indices]
"""Partners, and where the rows of each begin."""
_Periodic: TypeAlias = Sequence[bool] | NDArray[np.bool_]

class _StepArrays(TypedDict):
    """Of one partition; those of bonds only where there is a bond cutoff."""

    senders: _Indices
    receivers: _Indices
    shifts: _Indices
    vectors: NDArray[np.float64]
    edge_bond: _Indices
    bond_edge: _Indices
    short_edges: _Indices
    angles: _Indices
    cut_edges: _Indices
    cut_groups: _Groups

torch_version: str
"""That it was compiled for."""
methods: tuple[str, ...]
"""How a system can be cut."""
simd_levels: list[str]
"""Of this processor, the best one first: of ``avx512``, ``avx2``, ``portable``."""

# core

def keep_at_most(n_bytes: int) -> None: ...
def kept_pages() -> tuple[int, int]: ...

# kernels

def set_simd(level: str) -> None: ...
def simd() -> str: ...
def stand_in(
    device: torch.device,
    watch: tuple[Callable[[str], None], Callable[[], None], Callable[[], None]] | None = None,
) -> None: ...
def has_kernels(device: torch.device) -> bool: ...
def device_gather_rows(source: Tensor, rows: Tensor) -> Tensor: ...
def device_add_rows(target: Tensor, rows: Tensor, values: Tensor) -> None: ...

# neighbors

def neighbor_list(
    quantities: str,
    positions: ArrayLike,
    cell: ArrayLike,
    periodic: _Periodic,
    cutoff: float,
    self_interaction: bool,
    n_threads: int = 0,
) -> dict[str, np.ndarray]: ...
def device_neighbor_list(
    quantities: str,
    positions: Tensor,
    cell: Tensor,
    periodic: _Periodic,
    cutoff: float,
    self_interaction: bool = False,
) -> dict[str, Tensor]: ...
def device_neighbor_rows(
    positions: Tensor, cell: Tensor, periodic: _Periodic, cutoff: float
) -> dict[str, Tensor]: ...

# partition

class Decomposition:
    """A system cut into partitions, with candidate edges."""

    def __init__(
        self,
        positions: ArrayLike,
        cell: ArrayLike,
        periodic: _Periodic,
        cutoff: float,
        n_partitions: int,
        bond_cutoff: float = 0.0,
        skin: float = 0.0,
        method: str = "auto",
        weights: ArrayLike | None = None,
        n_threads: int = 0,
        here: tuple[int, int] = (0, 0),
        device: torch.device | None = None,
    ) -> None: ...
    @property
    def n_atoms(self) -> int: ...
    @property
    def n_partitions(self) -> int: ...
    @property
    def cutoff(self) -> float: ...
    @property
    def bond_cutoff(self) -> float: ...
    @property
    def skin(self) -> float: ...
    @property
    def method(self) -> str: ...
    @property
    def owner(self) -> _Indices: ...
    def owned(self, p: int, /) -> _Indices: ...
    def halo(self, p: int, /) -> _Indices: ...
    def halo_groups(self, p: int, /) -> _Groups: ...
    def send(self, p: int, /) -> _Indices: ...
    def send_groups(self, p: int, /) -> _Groups: ...
    def still_valid(self, positions: ArrayLike, cell: ArrayLike, periodic: _Periodic) -> bool: ...
    def step(
        self, partition: int, positions: ArrayLike, cell: ArrayLike | None = None, n_threads: int = 1
    ) -> _StepArrays: ...

def device_candidates(
    positions: Tensor,
    cell: Tensor,
    periodic: _Periodic,
    radius: float,
    owner: Tensor,
    n_partitions: int,
    partition: int,
) -> dict[str, Tensor]: ...

# exchange

class RankGroup:
    """A c10d process group, by its name."""

    def __init__(self, group: str, device: torch.device) -> None: ...
    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def broken(self) -> bool: ...
    @property
    def begun(self) -> int: ...
    @property
    def abandoned(self) -> bool: ...
    def all_sum(self, tensor: Tensor) -> None: ...
    def broadcast(self, tensor: Tensor) -> None: ...
    def all_to_all(self, sent: Tensor, send_counts: Sequence[int]) -> tuple[Tensor, list[int]]: ...
    def abandon(self, reason: str) -> None: ...
    def check(self) -> None: ...

class Routes:
    """Who reads which rows of whom."""

    def __init__(
        self,
        packed: Sequence[Tensor],
        sources: Sequence[Tensor],
        pools: Sequence[int],
        sent: Sequence[Tensor],
        send_counts: Sequence[Sequence[int]],
    ) -> None: ...

class Crossing:
    """What crosses partitions at the last update of a step; or by given routes."""

    @overload
    def __init__(self, step: Step) -> None: ...
    @overload
    def __init__(
        self, n_owned: Sequence[int], n_bonds: Sequence[int], atoms: Routes, bonds: Routes
    ) -> None: ...
    def cross(
        self, exchanges: Sequence[Exchange], tensors: Sequence[Sequence[Tensor]], adjoint: bool
    ) -> list[list[Tensor]]: ...

# native

class Cells:
    """Intervals of length (Å) of tables, by their ends."""

    def __init__(self, ends: Sequence[float]) -> None: ...

class Agnesi:
    """MACE's transform of lengths; radii: of each species pair, Å."""

    def __init__(self, a: float, q: float, p: float, radii: Sequence[float]) -> None: ...

class RadialBasis:
    """factor · sin(frequency · x) / x under an envelope: "polynomial", "xplor", "cosine" or "none"; it may be
    a function of its own behind them."""

    def __init__(
        self,
        frequencies: Sequence[float],
        factor: float,
        cutoff: float,
        power: int = 0,
        switch_on: float = 0.0,
        transform: Agnesi | None = None,
        envelope: str = "polynomial",
        with_envelope: bool = False,
    ) -> None: ...
    def evaluate(self, length: float, species_pair: int = 0) -> tuple[list[float], list[float]]: ...

class ConvolutionPath:
    """couplings: (16, (2l_from+1)(2l_to+1)), what harmonics are multiplied by."""

    def __init__(
        self, source: int, target: int, first_channel: int, group: int, couplings: ArrayLike
    ) -> None: ...

class LinearMap:
    """weights: one matrix (channels in, channels out), or one per species."""

    def __init__(self, source: int, target: int, weights: Sequence[ArrayLike]) -> None: ...

class Gated:
    """gate: the segment of scalars, or -1 for an activation itself."""

    def __init__(self, source: int, target: int, gate: int, activation: str, factor: float) -> None: ...

class Repulsion:
    """charges (eV·Å), lengths and cutoffs (Å): of each species pair."""

    def __init__(
        self,
        charges: Sequence[float],
        lengths: Sequence[float],
        cutoffs: Sequence[float],
        weights: Sequence[float],
        exponents: Sequence[float],
        power: int,
    ) -> None: ...

class NativeStage:
    """A stage that runs without Python."""

    def run(
        self,
        n_owned: int,
        numbers: Tensor,
        senders: Tensor,
        receivers: Tensor,
        vectors: Tensor,
        inputs: dict[str, Tensor],
        keep: bool,
        bonds: BondGraph | None = None,
    ) -> tuple[dict[str, Tensor], Callable[[dict[str, Tensor]], tuple[dict[str, Tensor], Tensor | None]]]: ...

class GatedPerceptron:
    """silu(core) · sigmoid(gate) of sums of projections."""

    def __init__(
        self,
        *,
        hidden: Sequence[ArrayLike],
        bias: Sequence[float],
        scales: Sequence[float],
        shifts: Sequence[float],
        epsilon: float,
    ) -> None: ...

class AtomMessages:
    """Of edges to atoms."""

    def __init__(
        self,
        *,
        receivers: ArrayLike,
        senders: ArrayLike,
        bonds: ArrayLike,
        bias: Sequence[float],
        out: ArrayLike,
        out_bias: Sequence[float],
        perceptron: GatedPerceptron,
    ) -> None: ...

class AngleLayer:
    """Messages of angles to bonds, or updates of angles."""

    def __init__(
        self,
        *,
        first: ArrayLike,
        second: ArrayLike,
        angles: ArrayLike,
        centres: ArrayLike,
        bias: Sequence[float],
        perceptron: GatedPerceptron,
    ) -> None: ...

class BondBasis:
    """Functions of lengths and angles, and what they are embedded with."""

    def __init__(
        self,
        *,
        bonds: RadialBasis,
        short_bonds: RadialBasis,
        angle_frequencies: Sequence[float],
        bond_embedding: ArrayLike,
        bond_weights: ArrayLike,
        short_weights: ArrayLike,
        angle_embedding: ArrayLike,
    ) -> None: ...

def gated_block(
    *,
    is_double: bool,
    index: int,
    basis: BondBasis,
    atoms: AtomMessages,
    bonds: AngleLayer | None,
    angles: Sequence[AngleLayer],
    species: ArrayLike | None,
    update: ArrayLike | None,
    update_bias: Sequence[float],
    embedding_shift: Sequence[float],
    keeps_atoms: bool,
    keeps_bonds: bool,
) -> NativeStage:
    """A stage; csrc/native/gated/parameters.h says what it is given."""

def gated_bases(*, is_double: bool, basis: BondBasis) -> NativeStage:
    """A stage that evaluates the basis functions for all blocks."""

class LengthTables:
    """Functions of the length, in groups of columns."""

    def __init__(
        self, *, ends: Sequence[float], columns: Sequence[int], cells: Sequence[ArrayLike]
    ) -> None: ...

class GatedLayer:
    """A gated perceptron of rows that gather others."""

    def __init__(
        self,
        *,
        sources: Sequence[ArrayLike],
        own: ArrayLike,
        bias: Sequence[float],
        hidden: Sequence[ArrayLike],
        hidden_bias: Sequence[float],
        scales: Sequence[float],
        shifts: Sequence[float],
        epsilon: float,
    ) -> None: ...

class WeightedLayer:
    """Times a group of functions of the length."""

    def __init__(self, layer: GatedLayer, weights: int) -> None: ...

class AngularFunction:
    """sin^order times a polynomial of the cosine of an angle."""

    def __init__(self, polynomial: Sequence[float], order: int) -> None: ...

class ThreeBodySums:
    """What edges get of the angles with others."""

    def __init__(
        self,
        *,
        functions: Sequence[AngularFunction],
        of_column: Sequence[int],
        degrees: Sequence[int],
        margin: float,
        functions_of_length: int,
        reads_centres: bool,
        layer: GatedLayer,
    ) -> None: ...

class NodeUpdate:
    """Of nodes of a line graph by angles."""

    def __init__(self, messages: WeightedLayer, out: ArrayLike) -> None: ...

class EndAtoms:
    """What the next three-body sums read of atoms: sigmoids."""

    def __init__(self, weights: ArrayLike, bias: Sequence[float]) -> None: ...

class LayerNorm:
    """Of rows."""

    def __init__(self, scales: Sequence[float], shifts: Sequence[float], epsilon: float) -> None: ...

def directed_block(
    *,
    is_double: bool,
    atoms: int,
    edges: int,
    tables: LengthTables,
    messages: WeightedLayer,
    embedding: int = -1,
    species: ArrayLike | None = None,
    end_species: ArrayLike | None = None,
    has_nodes: bool = False,
    angles: GatedLayer | None = None,
    nodes: NodeUpdate | None = None,
    three_body: ThreeBodySums | None = None,
    edge_update: WeightedLayer | None = None,
    out: ArrayLike | None = None,
    atom_norm: LayerNorm | None = None,
    edge_norm: LayerNorm | None = None,
    end_atoms: EndAtoms | None = None,
    gives_edges: bool = False,
    gives_crossing: bool = False,
) -> NativeStage:
    """A stage; csrc/native/directed/parameters.h says what it is given."""

def directed_nodes(*, is_double: bool, tables: LengthTables, nodes: NodeUpdate) -> NativeStage:
    """A stage that updates nodes of a line graph, which are edges before."""

def directed_angles(
    *, is_double: bool, frequencies: Sequence[float], embedding: ArrayLike, margin: float
) -> NativeStage:
    """A stage that embeds angles."""

class RadialNorm:
    """Of a layer of a radial network."""

    def __init__(self, scales: Sequence[float], shifts: Sequence[float], epsilon: float) -> None: ...

class GaussianNetwork:
    """Functions of the length and of a pair of elements."""

    def __init__(
        self,
        *,
        centres: Sequence[float],
        exponent: float,
        layers: Sequence[ArrayLike],
        pair_biases: ArrayLike,
        biases: Sequence[Sequence[float]],
        norms: Sequence[RadialNorm],
    ) -> None: ...

class PairTables:
    """The same, as Chebyshev polynomials on cells."""

    def __init__(self, *, ends: Sequence[float], cells: Sequence[ArrayLike]) -> None: ...

class FrameEdges:
    """What all edges of a convolution, or of a degree embedding, have."""

    def __init__(
        self,
        *,
        numbers: Sequence[int],
        lmax: int,
        channels: int,
        cutoff: float,
        envelope_power: int,
        factor: float,
        columns: int,
        network: GaussianNetwork | None = None,
        tables: PairTables | None = None,
    ) -> None: ...

class ComplexMatrix:
    """A layer on rows of one order, as three real matrices."""

    def __init__(self, *, real: ArrayLike, difference: ArrayLike, minus_sum: ArrayLike) -> None: ...

class SO2Convolution(NativeStage):
    """A stage whose layers can be given anew; at first it has none."""

    def use(
        self,
        *,
        first: ArrayLike,
        first_bias: Sequence[float],
        first_orders: Sequence[ComplexMatrix],
        second: Sequence[ArrayLike],
        second_bias: Sequence[float],
        second_real: Sequence[Sequence[ArrayLike]],
        second_imaginary: Sequence[Sequence[ArrayLike]],
    ) -> None:
        """From now on these layers; csrc/native/so2/parameters.h says what they are."""

def so2_convolution(*, is_double: bool, edges: FrameEdges, mmax: int, hidden: int) -> SO2Convolution:
    """From 'normed' and 'kept' to 'messages'."""

def so2_degrees(*, is_double: bool, edges: FrameEdges) -> NativeStage:
    """From 'kept' to 'degrees'."""

class StageBuilder32:
    """Puts a native stage in float32 together; calls return the number of a register (or of radial
    functions). Irreps are pairs (degree, channels)."""

    def __init__(self, numbers: Sequence[int], sign: int, cells: Cells) -> None: ...
    def input(
        self, name: str, irreps: Sequence[tuple[int, int]], of_senders: bool, by_component: bool = False
    ) -> int: ...
    def own_rows(self, senders: int) -> int: ...
    def constant(self, irreps: Sequence[tuple[int, int]], of_species: ArrayLike) -> int: ...
    def tables(
        self, n_coefficients: int, columns: Sequence[int], of_pair: Sequence[int], cells: Sequence[ArrayLike]
    ) -> int: ...
    def network(
        self, basis: RadialBasis, layers: Sequence[ArrayLike], silu_factor: float, groups: Sequence[ArrayLike]
    ) -> int: ...
    def hidden(
        self,
        basis: RadialBasis,
        layers: Sequence[ArrayLike],
        silu_factor: float,
        columns: Sequence[int] = (),
        cosine_cutoff: float = 0.0,
    ) -> int: ...
    def density(self, basis: RadialBasis, weights: ArrayLike) -> int: ...
    def convolution(
        self, senders: int, radial: int, message: Sequence[tuple[int, int]], paths: Sequence[ConvolutionPath]
    ) -> int: ...
    def expansion(self, radial: int, message: Sequence[tuple[int, int]], groups: Sequence[int]) -> int: ...
    def edge_sum(self, radial: int) -> int: ...
    def scaling(self, senders: int, radial: int, groups: Sequence[int]) -> int: ...
    def repulsion(self, repulsion: Repulsion) -> int: ...
    def linear(self, source: int, irreps: Sequence[tuple[int, int]], maps: Sequence[LinearMap]) -> int: ...
    def add_linear(self, source: int, target: int, maps: Sequence[LinearMap]) -> None: ...
    def contraction(
        self,
        source: int,
        irreps: Sequence[tuple[int, int]],
        outputs: Sequence[int],
        inputs: Sequence[Sequence[int]],
        coefficients: Sequence[ArrayLike],
    ) -> int: ...
    def gate(self, source: int, irreps: Sequence[tuple[int, int]], segments: Sequence[Gated]) -> int: ...
    def normalised(self, source: int, density: int) -> int: ...
    def layer_norm(
        self, source: int, scales: Sequence[float], shifts: Sequence[float], epsilon: float
    ) -> int: ...
    def of_tensors(self, function: str, source: int, irreps: Sequence[tuple[int, int]]) -> int: ...
    def of_two_tensors(self, function: str, first: int, second: int) -> int: ...
    def output(
        self,
        name: str,
        source: int,
        *,
        in_float64: bool = False,
        is_flat: bool = False,
        factor: float = 1.0,
        shift: float = 0.0,
        by_component: bool = False,
    ) -> None: ...
    def constant_output(self, name: str, of_species: Sequence[float]) -> None: ...
    def edge_count_output(self, name: str) -> None: ...
    def stage(self) -> NativeStage: ...

class StageBuilder64(StageBuilder32):
    """The same in float64."""

class DeviceEdges:
    """Edges on one device, by receiver, and who sends which; ``senders``, ``receivers``: (n_edges,) int64."""

    def __init__(self, n_rows: int, n_local: int, senders: Tensor, receivers: Tensor) -> None: ...

class DeviceConvolution:
    """A convolution of "uvu" paths (irrep of senders, irrep of the message, first channel there).

    Rows are [2l+1][channels] for each irrep (degree, channels), without padding.
    """

    def __init__(
        self,
        senders: Sequence[tuple[int, int]],
        message: Sequence[tuple[int, int]],
        paths: Sequence[tuple[int, int, int]],
        device: torch.device,
    ) -> None: ...
    @property
    def n_weights(self) -> int: ...
    @property
    def n_couplings(self) -> int: ...
    def forward(self, edges: DeviceEdges, rows: Tensor, weights: Tensor, couplings: Tensor) -> Tensor: ...
    def backward(
        self, edges: DeviceEdges, rows: Tensor, weights: Tensor, couplings: Tensor, gradients: Tensor
    ) -> list[Tensor]: ...

class DeviceContraction:
    """Polynomials of each channel of rows (n, n_inputs, channels)."""

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        outputs: Sequence[int],
        inputs: Sequence[Sequence[int]],
        coefficients: Tensor,
    ) -> None: ...
    def forward(self, rows: Tensor, species: Tensor) -> Tensor: ...
    def backward(self, rows: Tensor, species: Tensor, gradients: Tensor) -> Tensor: ...

def scale_on_device(edges: DeviceEdges, rows: Tensor, radial: Tensor) -> Tensor:
    """Messages of tensors (n_local, 9, channels) times radial functions (n_edges, 3, channels), summed."""

def scale_back_on_device(
    edges: DeviceEdges, rows: Tensor, radial: Tensor, gradients: Tensor
) -> tuple[Tensor, Tensor]: ...

class DeviceTensorFunction:
    """A function of one or two tensors of rank two, (n, 9, channels); csrc/kernels/tensor_functions.h."""

    def __init__(self, name: str) -> None: ...
    def forward(self, tensors: Sequence[Tensor]) -> Tensor: ...
    def backward(self, tensors: Sequence[Tensor], gradient: Tensor) -> list[Tensor]: ...

class DeviceMessages:
    """Who receives messages of rows, and which rows of tables they read: (rows of the table, index)."""

    def __init__(
        self,
        receivers: tuple[int, Tensor],
        sums: Sequence[tuple[int, Tensor]],
        weights: Sequence[tuple[int, Tensor]],
    ) -> None: ...

class DeviceGate:
    """silu(core) * sigmoid(gate) of sums of table rows [core | gate], times weights.

    ``hidden``: layers (2, hidden, channels) and the bias behind them; ``norm``: scales and shifts; both
    (2, channels).
    """

    def __init__(
        self,
        *,
        channels: int,
        hidden: tuple[Tensor, Tensor] | None,
        norm: tuple[Tensor, Tensor] | None,
        epsilon: float,
    ) -> None: ...
    def forward(
        self, rows: DeviceMessages, tables: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> Tensor: ...
    def backward(
        self,
        rows: DeviceMessages,
        tables: Sequence[Tensor],
        weights: Sequence[Tensor],
        gradients: Tensor,
    ) -> tuple[list[Tensor], list[Tensor]]: ...

# executor

class LocalTensors:
    """The graph of one partition, on its device."""

    @property
    def senders(self) -> Tensor: ...
    @property
    def receivers(self) -> Tensor: ...
    @property
    def vectors(self) -> Tensor: ...
    @property
    def edge_bond(self) -> Tensor: ...
    @property
    def bond_edge(self) -> Tensor: ...
    @property
    def short_bonds(self) -> Tensor: ...
    @property
    def angles(self) -> Tensor: ...
    @property
    def cut(self) -> Tensor: ...

class GraphPart(LocalTensors):
    """The same with its rows of atoms."""

    @property
    def n_owned(self) -> int: ...
    @property
    def atoms(self) -> Tensor: ...
    @property
    def numbers(self) -> Tensor: ...

class Step:
    """The graphs of all partitions at the last positions; lists have one entry per partition."""

    def __init__(
        self,
        decomposition: Decomposition,
        devices: Sequence[torch.device],
        dtype: torch.dtype,
        ranks: RankGroup | None = None,
        first_partitions: Sequence[int] = (),
    ) -> None: ...
    def update(self, positions: ArrayLike, cell: ArrayLike) -> None: ...
    def forces(
        self, edge_gradients: Sequence[Tensor | None], with_virials: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]: ...
    @property
    def parts(self) -> list[LocalTensors]: ...
    @property
    def local_atoms(self) -> list[Tensor]: ...
    @property
    def n_owned(self) -> list[int]: ...
    @property
    def n_edges(self) -> list[int]: ...
    @property
    def n_bonds(self) -> list[int]: ...
    @property
    def n_angles(self) -> list[int]: ...
    @property
    def n_cut(self) -> list[int]: ...
    @property
    def n_read(self) -> list[int]: ...

class Graphs:
    """The graph of a system over partitions, built anew when it has to be."""

    def __init__(
        self,
        *,
        cutoff: float,
        bond_cutoff: float,
        skin: float,
        n_partitions: int,
        method: str,
        weights: NDArray[np.float64] | None,
        devices: Sequence[torch.device],
        dtype: torch.dtype,
        ranks: RankGroup | None = None,
        first_partitions: Sequence[int] = (),
    ) -> None: ...
    def at(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        periodic: _Periodic,
        numbers: NDArray[np.int64],
        agree: Callable[[Callable[[], int]], int] | None = None,
    ) -> list[GraphPart]: ...
    def at_own(
        self,
        positions: NDArray[np.float64],
        cell: NDArray[np.float64],
        periodic: _Periodic,
        numbers: NDArray[np.int64],
        tags: NDArray[np.int64] | None,
        near: NDArray[np.int64] | None,
        agree: Callable[[Callable[[], int]], int] | None,
    ) -> list[GraphPart]: ...
    @property
    def n_partitions(self) -> int: ...
    @property
    def is_built(self) -> bool: ...
    @property
    def n_built(self) -> int: ...
    @property
    def step(self) -> Step: ...
    @property
    def method(self) -> str: ...
    @property
    def origin(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
    @property
    def owned(self) -> _Indices: ...
    @property
    def n_angles_total(self) -> int: ...

class Recompute(IntEnum):
    """What is computed again in the backward sweep, to save memory."""

    never = 0
    stages = 1
    """The inside of stages."""
    host = 2
    """That, from inputs which wait in host memory."""

class StageSpecs:
    """What the core knows of a model's stages."""

    def __init__(self, stages: Sequence[Stage]) -> None: ...

class Cost:
    """What a piece of work took."""

    @property
    def seconds(self) -> float: ...
    @property
    def bytes_left(self) -> int: ...
    @property
    def bytes_peak(self) -> int: ...

class MeasuredStage:
    """Of one stage; forward and backward of each partition."""

    @property
    def forward(self) -> list[Cost]: ...
    @property
    def backward(self) -> list[Cost]: ...
    @property
    def exchange(self) -> Cost: ...
    @property
    def exchange_backward(self) -> Cost: ...

class StageRows:
    """Of one stage, over the partitions of this process."""

    @property
    def computed(self) -> dict[str, int]: ...
    @property
    def received(self) -> dict[str, int]: ...

class Evaluation:
    """One model on one graph, in the order of atoms."""

    @property
    def results(self) -> dict[str, Tensor]: ...
    @property
    def system_results(self) -> dict[str, Tensor]: ...
    @property
    def forces(self) -> Tensor: ...
    @property
    def virial(self) -> Tensor: ...
    @property
    def virials(self) -> Tensor | None: ...
    @property
    def rows(self) -> list[StageRows]: ...
    @property
    def costs(self) -> list[MeasuredStage]: ...
    @property
    def forces_seconds(self) -> float: ...

def reuse_memory_of_eager_stages(wanted: bool) -> None:
    """Whether large tensors that eager stages make on the host are on pages that are kept for the next ones;
    at first they are."""

def evaluate(
    graphs: Graphs,
    specs: StageSpecs,
    stages: list[Sequence[CheckedStage]],
    local_graphs: list[LocalGraph],
    slots: Sequence[int],
    *,
    recompute: Recompute,
    backward: bool,
    with_virials: bool,
    measured: bool,
) -> Evaluation: ...

class DefaultStreams:
    """In its ``with`` block the default streams of these devices are current on this thread, ordered with the
    streams that were current: after what those had been given, before what they are given later. The first
    device that is no CPU is the current one."""

    def __init__(self, devices: Sequence[torch.device]) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *args: object) -> None: ...

class FlushedTeam:
    """In its ``with`` block subnormal numbers are zero for this thread and its intra-op threads."""

    def __init__(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *args: object) -> None: ...
