"""SevenNet's convolutions in C++ give what its modules give, and name the part that they do not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from sevenn.nn.edge_embedding import SphericalEncoding
from sevenn.nn.sequential import AtomGraphSequential
from support.expanded import watched
from support.native_stages import FINE, assert_close, assert_exact, evaluator_of
from support.sevennet_models import NARROW, OPTIONS, PLAIN, PUBLISHED, build_narrow, narrow, published
from support.structures import STRUCTURES, oxide_cell, rattled

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.choice.kernels import numbers_of
from distmlip.choice.suspect import mismatch, suspect
from distmlip.errors import NotNativeError
from distmlip.models import e3nn_native
from distmlip.models.interface import Adapter
from distmlip.models.native import NativeChoice, TableSize
from distmlip.models.replicate import replicate
from distmlip.models.sevennet.adapter import adapt

pytestmark = pytest.mark.filterwarnings("ignore:No tensor product accelerator:UserWarning")

UNKNOWN_TO_EXACT = ("fixed_basis", "7net-0_22may2024")
"""With another radial activation than silu, and with harmonics that grow with the length: tables only."""
EXACT_KINDS = tuple(kind for kind in NARROW if kind not in UNKNOWN_TO_EXACT)


def model_of(name: str, dtype: torch.dtype = torch.float64) -> Adapter:
    if name in PUBLISHED:
        return adapt(published(name), dtype, **({"modal": PUBLISHED[name][1]} if PUBLISHED[name][1] else {}))
    return adapt(narrow(name), dtype, **OPTIONS.get(name, {}))


def assert_parity(name: str, atoms: Atoms, partitions: int, recompute: core.Recompute) -> None:
    assert_exact(model_of(name), atoms, partitions, recompute)


@pytest.mark.parametrize(("partitions", "recompute"), [(1, core.Recompute.never), (3, core.Recompute.stages)])
@pytest.mark.parametrize("kind", EXACT_KINDS)
def test_every_kind_of_model(kind: str, partitions: int, recompute: core.Recompute) -> None:
    assert_parity(kind, STRUCTURES["oxide"]().atoms, partitions, recompute)


@pytest.mark.parametrize("structure", ["metal_with_vacancies", "two_far_apart_molecules", "one_atom"])
def test_structures_with_empty_partitions_and_lonely_atoms(structure: str) -> None:
    assert_parity(PLAIN, STRUCTURES[structure]().atoms, 8, core.Recompute.host)


@pytest.mark.parametrize("kind", ["like_sevennet_0", "multi_modal"])
def test_stages_are_those_of_the_models_own_modules(kind: str) -> None:
    """One by one, with the same inputs and gradients."""
    adapter, atoms = model_of(kind), STRUCTURES["oxide"]().atoms
    own = evaluator_of(adapter, 2, None)
    native = evaluator_of(adapter, 2, NativeChoice(numbers_of(atoms), None))
    assert mismatch(own.stages(), native.stages()) == ""
    assert suspect(own, native, atoms) == ""


@pytest.mark.parametrize("kind", ["like_sevennet_0", "multi_modal", "fixed_basis"])
def test_tables(kind: str) -> None:
    adapter, atoms = model_of(kind), STRUCTURES["oxide"]().atoms
    tables = NativeChoice(numbers_of(atoms), FINE)
    found = evaluator_of(adapter, 2, tables).evaluate(atoms)[0]
    assert_close(found, evaluator_of(adapter, 2, None).evaluate(atoms)[0], 1e-10)


@pytest.mark.parametrize("table", [None, FINE], ids=["exact", "tables"])
def test_first_layers_are_expanded_for_few_elements_only(
    table: TableSize | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    atoms, found = STRUCTURES["oxide"]().atoms, watched(monkeypatch)
    choice = NativeChoice(numbers_of(atoms), table)
    few = evaluator_of(model_of("like_sevennet_0"), 2, choice).evaluate(atoms)[0]
    monkeypatch.setattr(e3nn_native, "MOST_EXPANDED", 1)
    many = evaluator_of(model_of("like_sevennet_0"), 2, choice).evaluate(atoms)[0]
    assert found == [True, False]
    assert_close(few, many, 1e-12 if table is None else 1e-10)


@pytest.mark.parametrize("kind", ["like_sevennet_0", PLAIN])
def test_tables_at_any_length(kind: str) -> None:
    """An XPLOR cutoff begins with a kink of the slope, at which cells have to end."""
    lengths = np.linspace(0.8, 5.1, 87)
    places = np.zeros((len(lengths), 2, 3))
    places[:, :, 0] = 20 * np.arange(len(lengths))[:, None]
    places[:, 1, 1] = lengths
    atoms = Atoms("MnO" * len(lengths), positions=places.reshape(-1, 3))
    adapter = model_of(kind)
    exact, tables = (
        evaluator_of(adapter, 1, NativeChoice(numbers_of(atoms), table)).evaluate(atoms)[0]
        for table in (None, FINE)
    )
    assert_close(tables, exact, 1e-9)


@pytest.mark.parametrize(
    "name",
    ["7net-0", *(pytest.param(name, marks=pytest.mark.slow) for name in PUBLISHED if name != "7net-0")],
)
def test_published_model(name: str) -> None:
    atoms = rattled(oxide_cell(), 0.08)
    if name not in UNKNOWN_TO_EXACT:
        assert_parity(name, atoms, 3, core.Recompute.stages)
    adapter = model_of(name)
    found = evaluator_of(adapter, 2, NativeChoice(numbers_of(atoms), FINE)).evaluate(atoms)[0]
    assert_close(found, evaluator_of(adapter, 2, None).evaluate(atoms)[0], 1e-9)


def test_a_calculation_in_single_precision_uses_tables() -> None:
    atoms = rattled(oxide_cell(), 0.08)
    native = DistCalculator(published("7net-0"), devices="cpu", partitions=2, dtype="float32")
    native.calculate(atoms)
    assert native.plan(atoms).kernels.startswith("native stages")
    assert "tables" in native.plan(atoms).kernels
    exact = evaluator_of(model_of("7net-0"), 1, None).evaluate(atoms)[0].forces
    own = evaluator_of(model_of("7net-0", torch.float32), 1, None).evaluate(atoms)[0].forces
    errors = [np.abs(forces - exact).max() for forces in (native.results["forces"], own)]
    assert errors[0] <= max(2 * errors[1], 1.5e-6 * max(1.0, np.abs(exact).max()))


def test_every_modality() -> None:
    """Native stages are those of the modality that was chosen."""
    atoms = rattled(oxide_cell(), 0.08)
    choice = NativeChoice(numbers_of(atoms), None)
    energies = {
        modal: evaluator_of(adapt(narrow("multi_modal"), modal=modal), 1, choice)
        .evaluate(atoms)[0]
        .atoms["energy"]
        .sum()
        for modal in narrow("multi_modal").modal_map
    }
    assert len(set(energies.values())) == len(energies) == 3


# ---- what is not known


def small(**changes: Any) -> AtomGraphSequential:
    return build_narrow(**{"channel": 2, "lmax": 1, **changes})


SMALL = small()


def with_part(name: str, change: Callable[[Any], None]) -> AtomGraphSequential:
    model = replicate(SMALL, torch.device("cpu"), torch.float64)
    change(model._modules[name])
    return model


class AdaptedLinear(torch.nn.Module):
    """A linear map with something of its own, as fine-tuning adds."""

    def __init__(self, linear: torch.nn.Module) -> None:
        super().__init__()
        self.linear = linear
        self.irreps_in, self.irreps_out = linear.irreps_in, linear.irreps_out

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return 1.5 * self.linear(rows)


def adapted(part: Any) -> None:
    part.linear = AdaptedLinear(part.linear)


class Gaussians(torch.nn.Module):
    def forward(self, lengths: torch.Tensor) -> torch.Tensor:
        return torch.exp(-((lengths[:, None] - torch.arange(8)) ** 2))


def gaussian_basis(part: Any) -> None:
    part.basis_function = Gaussians()


class Switch(torch.nn.Module):
    def forward(self, lengths: torch.Tensor) -> torch.Tensor:
        return (1 - lengths / 5) ** 3


def cubic_cutoff(part: Any) -> None:
    part.cutoff_function = Switch()


def uneven_power(part: Any) -> None:
    part.cutoff_function.p = 5.5


def harmonics_by_norm(part: Any) -> None:
    degree, parity = part.spherical.lmax, part.spherical.irreps_in[0].ir.p
    part.spherical = SphericalEncoding(degree, parity, normalization="norm").double()


REFUSED: dict[str, tuple[Callable[[], AtomGraphSequential], str]] = {
    "radial activation": (
        lambda: small(act_radial="ssp"),
        r"0_convolution\.weight_nn has the activation",
    ),
    "activation of scalars": (
        lambda: small(act_scalar={"e": "ssp", "o": "tanh"}),
        r"0_equivariant_gate\.gate has the activation",
    ),
    "activation of gates": (
        lambda: small(act_gate={"e": "ssp", "o": "tanh"}),
        r"0_equivariant_gate\.gate has the activation",
    ),
    "activation of the readout": (
        lambda: small(readout_as_fcn=True, readout_fcn_activation="elu", readout_fcn_hidden_neurons=[8]),
        r"readout_FCN\.fcn has the activation",
    ),
    "degree": (lambda: small(lmax=4, num_convolution_layer=1), "degree 4"),
    "linear map": (
        lambda: with_part("0_self_interaction_2", adapted),
        r"0_self_interaction_2\.linear is a .*AdaptedLinear",
    ),
    "self-connection": (
        lambda: with_part("1_self_interaction_1", adapted),
        r"1_self_interaction_1\.linear is a .*AdaptedLinear",
    ),
    "basis": (lambda: with_part("edge_embedding", gaussian_basis), r"basis_function is a .*Gaussians"),
    "cutoff": (lambda: with_part("edge_embedding", cubic_cutoff), r"cutoff_function is a .*Switch"),
    "power": (lambda: with_part("edge_embedding", uneven_power), r"cutoff_function has the power 5\.5"),
    "solid harmonics": (
        lambda: small(_normalize_sph=False),
        r"edge_embedding\.spherical multiplies harmonics by powers of the length",
    ),
    "harmonics": (lambda: with_part("edge_embedding", harmonics_by_norm), "edge_embedding.spherical"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_known_is_named(what: str) -> None:
    make, words = REFUSED[what]
    with pytest.raises(NotNativeError, match=words):
        adapt(make()).native_stages(0, NativeChoice((8, 25), None), recompute=False)


def test_fused_kernels_of_an_unknown_part_are_refused_and_others_fall_back() -> None:
    atoms, model = rattled(oxide_cell(), 0.08), small(act_scalar={"e": "ssp", "o": "tanh"})
    options: dict[str, Any] = {"devices": "cpu", "partitions": 2, "radial": "exact"}
    with pytest.raises(NotNativeError, match=r"kernels='fused', but 0_equivariant_gate\.gate has"):
        DistCalculator(model, kernels="fused", **options).get_forces(atoms)
    calculator = DistCalculator(model, **options)
    own = DistCalculator(model, kernels="original", **options)
    np.testing.assert_array_equal(calculator.get_forces(atoms), own.get_forces(atoms))
    assert calculator.plan(atoms).kernels.startswith("the model's own modules: 0_equivariant_gate")
