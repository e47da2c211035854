"""MACE's native stages give what its modules and the undivided original give, and compute nothing twice.

Most tests use stages of their choice, without the comparison with the original that comes before their first
use (tests/choice/test_kernels.py): it would take most of the time.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from support.chosen import Chosen
from support.expanded import watched
from support.mace_models import NARROW, OPTIONS, RESIDUAL, build_narrow, narrow
from support.parity import assert_parity
from support.structures import STRUCTURES, Structure, oxide_cell, rattled

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.errors import NotNativeError
from distmlip.models import adapter_for, e3nn_native, native
from distmlip.models.mace.adapter import adapt
from distmlip.models.native import Grid, NativeChoice, TableSize, fitted

# Of e3nn and opt_einsum_fx, while the models are made.
pytestmark = pytest.mark.filterwarnings("ignore:The TorchScript type system:UserWarning")

UNKNOWN = {
    "RealAgnosticAttResidualInteractionBlock": "interactions.0 is a RealAgnosticAttResidualInteractionBlock",
    "RealAgnosticResidualNonLinearInteractionBlock": "interactions.0 is a RealAgnosticResidualNonLinear",
    "three_layers": "radial_embedding.bessel_fn is a ChebychevBasis",
    "two_heads": "interactions.0 is a RealAgnosticResidualNonLinear",
    "charge_and_spin": "joint_embedding",
    "biased_readout": "readouts.1 is a NonLinearBiasReadoutBlock",
}
"""Kinds of which native stages do not know a part, and that part."""
TABLES_ONLY = {"soft_gaussian": "exact radial functions of native stages are Bessel's"}
KNOWN = [kind for kind in NARROW if kind not in UNKNOWN]
FINE = TableSize(48, 16)
RELATIVE = {torch.float64: 1e-12, torch.float32: 1e-5}
"""What rounding may do to results, of the largest one."""

Results = dict[str, Any]


def slow_but(kinds: Iterable[str], *fast: str) -> list[Any]:
    """Making a model takes seconds."""
    return [kind if kind in fast else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


def small_oxide() -> Atoms:
    return rattled(oxide_cell(), 0.08)


def calculator(model: Any, partitions: int = 1, **options: Any) -> DistCalculator:
    options = {"kernels": "fused", **options}
    return DistCalculator(model, devices="cpu", partitions=partitions, **options)


def results_of(model: Any, atoms: Atoms, partitions: int = 1, **options: Any) -> Results:
    used = calculator(model, partitions, **options)
    used.calculate(atoms.copy())
    assert (used._evaluator.native is None) == (options.get("kernels") == "original")
    return used.results


@functools.cache
def own_results(kind: str) -> Results:
    """Of the model's own modules in float64, for the small oxide."""
    return results_of(narrow(kind), small_oxide(), kernels="original", **OPTIONS.get(kind, {}))


def assert_close(ours: Results, theirs: Results, relative: float) -> None:
    """Energies beside the sum of their parts: reference energies are exact in any dtype."""
    for name in ("energy", "energies", "forces", "stress", "stresses"):
        if name not in theirs:
            continue
        size = max(1.0, float(np.abs(theirs[name]).max()))
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=relative * size, err_msg=name)


def assert_same_bits(ours: Results, theirs: Results) -> None:
    for name in ("energy", "energies", "forces", "stress", "stresses"):
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def check(model: Any, structure: Structure, partitions: int, **options: Any) -> dict[str, float]:
    return assert_parity(
        model,
        structure.atoms,
        partitions,
        reference_atoms=structure.reference,
        kernels="fused",
        **options,
    )


# ---- parity


@pytest.mark.parametrize(
    "kind",
    slow_but(
        (kind for kind in KNOWN if kind not in TABLES_ONLY), RESIDUAL, "zbl_and_agnesi", "without_scale"
    ),
)
def test_exact_stages_of_every_kind(kind: str, chosen: Chosen) -> None:
    atoms, options = small_oxide(), OPTIONS.get(kind, {})
    check(narrow(kind), Structure(atoms, atoms), 3, **options)
    assert_close(results_of(narrow(kind), atoms, **options), own_results(kind), RELATIVE[torch.float64])


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, torch.float32) for kind in KNOWN]
    + [(kind, torch.float64) for kind in (RESIDUAL, "zbl_and_agnesi", *TABLES_ONLY)],
)
def test_tables_of_every_kind(kind: str, dtype: torch.dtype, chosen: Chosen) -> None:
    chosen.table = FINE if dtype == torch.float64 else TableSize(64, 12)
    atoms, options = small_oxide(), OPTIONS.get(kind, {})
    ours = results_of(narrow(kind), atoms, 2, dtype=dtype, **options)
    assert_close(ours, own_results(kind), 1e-10 if dtype == torch.float64 else RELATIVE[dtype])


@pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
def test_any_structure(build: Any, chosen: Chosen) -> None:
    structure = build()
    check(narrow("zbl_and_agnesi"), structure, 3)


@pytest.mark.parametrize(("partitions", "recompute"), [(1, True), (2, False), (3, True), (8, False)])
def test_any_number_of_partitions(partitions: int, recompute: bool, chosen: Chosen) -> None:
    check(narrow(), STRUCTURES["oxide"](), partitions, recompute=recompute)


@pytest.mark.parametrize("partitions", [1, 8])
def test_single_precision_is_no_worse_than_the_original(partitions: int, chosen: Chosen) -> None:
    for chosen.table in (None, TableSize(36, 8)):
        check(narrow(), STRUCTURES["oxide"](), partitions, dtype=torch.float32)


def test_energies_and_stresses_add_up(chosen: Chosen) -> None:
    results = results_of(narrow("zbl_and_agnesi"), small_oxide(), 3)
    np.testing.assert_allclose(results["energies"].sum(), results["energy"], rtol=1e-13)
    np.testing.assert_allclose(results["stresses"].sum(axis=0), results["stress"], atol=1e-13)
    np.testing.assert_allclose(results["forces"].sum(axis=0), 0, atol=1e-11)


def test_a_head_of_several(chosen: Chosen) -> None:
    heads = {
        "heads": ["first", "second"],
        "atomic_inter_scale": [300.0, 250.0],
        "atomic_inter_shift": [0.1, -0.2],
    }
    model, atoms = build_narrow("RealAgnosticDensityInteractionBlock", **heads), small_oxide()
    energies = []
    for head in heads["heads"]:
        check(model, Structure(atoms, atoms), 2, head=head)
        energies.append(results_of(model, atoms, head=head)["energy"])
    assert abs(energies[0] - energies[1]) > 1e-3


@pytest.mark.parametrize("kind", ["zbl_and_agnesi", "without_scale"])
def test_energy_units(kind: str, chosen: Chosen) -> None:
    atoms = small_oxide()
    own = results_of(narrow(kind), atoms, kernels="original", energy_units_to_eV=0.5)
    assert_close(results_of(narrow(kind), atoms, 2, energy_units_to_eV=0.5), own, RELATIVE[torch.float64])
    assert own["energy"] == pytest.approx(results_of(narrow(kind), atoms)["energy"] / 2)


def test_three_layers_of_two_degrees(chosen: Chosen) -> None:
    model = build_narrow("three_layers", radial_type="bessel", atomic_inter_scale=30.0)
    atoms = small_oxide()
    check(model, Structure(atoms, atoms), 3, strong_forces=False)


def test_a_committee_is_native_member_by_member(chosen: Chosen) -> None:
    models, atoms = [narrow(seed=seed) for seed in range(2)], small_oxide()
    used = calculator(models, 2)
    used.calculate(atoms)
    own = calculator(models, 2, kernels="original")
    own.calculate(atoms)
    assert_close(used.results, own.results, RELATIVE[torch.float64])
    for name in ("forces_comm", "energy_var", "forces_var"):
        np.testing.assert_allclose(used.extras[name], own.extras[name], rtol=1e-9, atol=1e-11, err_msg=name)
    assert float(np.max(used.extras["forces_var"])) > 1e-6


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_steeper_weights(factor: float, chosen: Chosen) -> None:
    model, atoms = build_narrow(), small_oxide()
    with torch.no_grad():
        for block in model.interactions:
            for parameter in block.conv_tp_weights.parameters():
                parameter.mul_(factor)
    own = results_of(model, atoms, kernels="original")
    assert_close(results_of(model, atoms, 2), own, 1e-11)
    chosen.table = FINE
    assert_close(results_of(model, atoms, 2), own, 1e-9)


# ---- the same bits


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_results_do_not_depend_on_threads(partitions: int, dtype: torch.dtype, chosen: Chosen) -> None:
    chosen.table = None if dtype == torch.float64 else TableSize(36, 8)
    atoms = rattled(oxide_cell() * (3, 3, 4), 0.08)  # 288 atoms: more than are added up together
    used = calculator(narrow(), partitions, dtype=dtype)
    before, found = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 4):
            torch.set_num_threads(n_threads)
            used.calculate(atoms.copy())
            found.append(copy.deepcopy(used.results))
            used.reset()
    finally:
        torch.set_num_threads(before)
    for results in found[1:]:
        assert_same_bits(results, found[0])


def test_recomputed_stages_give_the_same_bits(chosen: Chosen) -> None:
    atoms = small_oxide()
    never, again = (results_of(narrow(), atoms, 3, recompute=recompute) for recompute in (False, True))
    assert_same_bits(never, again)


@pytest.mark.usefixtures("simd")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_instruction_sets_agree(dtype: torch.dtype, chosen: Chosen) -> None:
    atoms = small_oxide()
    for table in (None, TableSize(36, 8)):
        chosen.table = table
        found = []
        for level in core.simd_levels:
            core.set_simd(level)
            found.append(results_of(narrow("zbl_and_agnesi"), atoms, 2, dtype=dtype))
        for results in found[1:]:
            assert_close(results, found[0], RELATIVE[dtype])


@pytest.mark.parametrize("table", [None, TableSize(64, 14)], ids=["exact", "tables"])
def test_first_layers_are_expanded_for_few_elements_only(
    table: TableSize | None, chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen.table = table
    found = watched(monkeypatch)
    few = results_of(narrow("zbl_and_agnesi"), small_oxide(), 2)
    monkeypatch.setattr(e3nn_native, "MOST_EXPANDED", 1)
    many = results_of(narrow("zbl_and_agnesi"), small_oxide(), 2)
    assert found == [True, False]
    assert_close(few, many, 1e-12 if table is None else 1e-10)


# ---- tables


def test_forces_are_slopes_of_the_energy_across_borders_of_cells(
    chosen: Chosen, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids: list[Grid] = []

    def watched(*of: Any) -> Grid:
        grids.append(fitted(*of))
        return grids[-1]

    monkeypatch.setattr(native, "fitted", watched)
    chosen.table = TableSize(8, 8)
    used = calculator(narrow("zbl_and_agnesi"))

    def evaluated(length: float) -> tuple[float, float]:
        atoms = Atoms("OMn", positions=[[0, 0, 0], [length, 0, 0]])
        atoms.calc = used
        return atoms.get_potential_energy(), float(atoms.get_forces()[1, 0])

    evaluated(2.0)
    step = 1e-4
    for border in grids[-1].ends[2:-1:2]:
        for length in (border - 5 * step, border, border + 5 * step):
            (before, _), (_, force), (behind, _) = (evaluated(length + h) for h in (-step, 0, step))
            # Tables of so few coefficients have kinks where cells meet; energies have no steps.
            kink = 2e-3 if length == border else 1e-6
            assert (before - behind) / (2 * step) == pytest.approx(force, rel=kink, abs=1e-5)


def test_lengths_beyond_both_ends_of_tables(chosen: Chosen) -> None:
    chosen.table = FINE
    for length in (0.3, 4.4999, 4.5, 4.6):
        atoms = Atoms("OMn", positions=[[0, 0, 0], [length, 0, 0]])
        own = results_of(narrow(), atoms, kernels="original")
        assert_close(results_of(narrow(), atoms), own, 1e-9)


# ---- what runs


def native_or_not(kind: str) -> tuple[Any, Atoms, dict[str, Any]]:
    atoms = Atoms("O2", positions=[[0, 0, 0], [1.3, 0.1, 0]], info={"charge": -1.3, "spin": 3})
    return narrow(kind), atoms, OPTIONS.get(kind, {})


@pytest.mark.parametrize("kind", slow_but(UNKNOWN, "charge_and_spin", "biased_readout"))
def test_a_part_that_is_not_known_is_named(kind: str) -> None:
    model, _, options = native_or_not(kind)
    adapter = adapt(model, **options)
    for table in (None, FINE):
        with pytest.raises(NotNativeError, match=UNKNOWN[kind]):
            adapter.native_stages(0, NativeChoice((8, 25), table), recompute=False)


@pytest.mark.parametrize("kind", TABLES_ONLY)
def test_exact_functions_that_are_not_known_are_named(kind: str) -> None:
    with pytest.raises(NotNativeError, match=TABLES_ONLY[kind]):
        adapt(narrow(kind)).native_stages(0, NativeChoice((8,), None), recompute=False)


def test_auto_falls_back_where_fused_raises() -> None:
    model, atoms, options = native_or_not("charge_and_spin")
    auto = calculator(model, kernels="auto", **options)
    auto.calculate(atoms)
    assert auto._evaluator.native is None
    words = auto.plan(atoms).kernels
    assert words.startswith("the model's own modules")
    assert UNKNOWN["charge_and_spin"] in words
    with pytest.raises(NotNativeError, match=UNKNOWN["charge_and_spin"]):
        calculator(model, **options).calculate(atoms)


def test_repulsion_passes_the_comparison_with_the_original() -> None:
    """Of atoms that nearly touch: forces are thousands of eV/Ang there."""
    model, atoms, _ = native_or_not("zbl_and_agnesi")
    used = calculator(model, kernels="fused", radial="exact")
    used.calculate(atoms)
    assert used.plan(atoms).kernels == f"native stages ({core.simd()}), exact radial functions"


def test_weights_that_were_changed_in_place_are_noticed(chosen: Chosen) -> None:
    model, atoms = build_narrow(), small_oxide()
    used = calculator(model, 2)
    used.calculate(atoms)
    before = used.results["energy"]
    for part in (model.products[0].linear, model.interactions[1].conv_tp_weights, model.scale_shift):
        with torch.no_grad():
            for tensor in (*part.parameters(), *part.buffers()):
                if tensor.is_floating_point():
                    tensor.mul_(1.1)
        used.reset()
        used.calculate(atoms)
        assert abs(used.results["energy"] - before) > 1e-6
        assert_close(used.results, results_of(model, atoms, kernels="original"), RELATIVE[torch.float64])
        before = used.results["energy"]


@pytest.mark.parametrize("partitions", [1, 2, 8])
@pytest.mark.parametrize("table", [None, FINE], ids=["exact", "tables"])
def test_nothing_is_computed_twice(partitions: int, table: TableSize | None, chosen: Chosen) -> None:
    chosen.table = table
    atoms = STRUCTURES["oxide"]().atoms
    undivided = adapter_for(narrow(), torch.float64).original()
    edges: list[int] = []
    hook = undivided.models[0].radial_embedding.register_forward_hook(
        lambda module, given, found: edges.append(len(found[0] if isinstance(found, tuple) else found))
    )
    undivided.calculate(atoms, ["energy", "forces"])
    hook.remove()
    used = calculator(narrow(), partitions, skin=0.0)
    used.calculate(atoms)
    assert edges
    for layer in range(2):
        counts = used.counters[f"layer {layer}"]
        assert counts["atoms"] == len(atoms)
        assert counts["edges"] == edges[0]


@pytest.mark.usefixtures("chosen")
def test_forces_and_stress_are_derivatives_of_the_energy() -> None:
    atoms = small_oxide()
    used = calculator(narrow("last_readout_only"), 3)
    results = used.calculate(atoms) or copy.deepcopy(used.results)
    direction = np.random.default_rng(0).normal(size=atoms.positions.shape)
    energies = []
    for h in (1e-5, -1e-5):
        moved = atoms.copy()
        moved.positions += h * direction
        moved.calc = used
        energies.append(moved.get_potential_energy())
    slope = (energies[0] - energies[1]) / 2e-5
    assert slope == pytest.approx(-np.sum(results["forces"] * direction), rel=1e-6, abs=1e-7)
