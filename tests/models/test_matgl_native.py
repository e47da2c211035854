"""Native stages of matgl's M3GNet and CHGNet give what the undivided originals give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from ase.build import bulk
from matgl.apps.pes import Potential
from support.chosen import Chosen
from support.contract import ModelContract
from support.matgl_models import pretrained
from support.matgl_threebody_models import (
    NATIVE_CHGNETS,
    NATIVE_M3GNETS,
    WIDE,
    WIDE_CHGNET,
    build_chgnet,
    build_m3gnet,
    native_chgnet,
    native_m3gnet,
    published_chgnet,
)
from support.native_stages import (
    assert_not_native,
    assert_same_bits,
    assert_same_bits_on_threads_and_with_recompute,
    native_results,
)
from support.parity import assert_forces_and_stress_are_slopes, assert_parity
from support.structures import STRUCTURES, oxide, oxide_cell, rattled

from distmlip import DistCalculator
from distmlip._native import core

pytestmark = [
    # Of matgl, when it makes its float32 graphs, and with use_phi.
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning"),
    pytest.mark.filterwarnings("ignore:Casting complex values to real:UserWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]

MATPES = "M3GNet-MatPES-PBE-v2025.1-PES"


class TestNativeM3GNet(ModelContract):
    kinds = tuple(NATIVE_M3GNETS)
    published = (MATPES,)
    kernels = "fused"

    def model(self, kind: str) -> Potential:
        return native_m3gnet(kind)

    def published_model(self, name: str) -> Potential:
        return pretrained(name)

    def fresh_model(self) -> Potential:
        return build_m3gnet(**WIDE).train()


class TestNativeCHGNet(ModelContract):
    kinds = tuple(NATIVE_CHGNETS)
    published = ("2.7M",)
    slow = published
    kernels = "fused"

    def model(self, kind: str) -> Potential:
        return native_chgnet(kind)

    def published_model(self, name: str) -> Potential:
        return published_chgnet()

    def fresh_model(self) -> Potential:
        return build_chgnet(**WIDE_CHGNET, **NATIVE_CHGNETS["plain"]).train()


MODELS: dict[str, Callable[[], Potential]] = {
    "M3GNet": lambda: native_m3gnet("plain"),
    "M3GNet with phi": lambda: native_m3gnet("with_phi"),
    "CHGNet": lambda: native_chgnet("layer_norm"),
    "CHGNet without edge update": lambda: native_chgnet("without_edge_update"),
}


def names_of(model: Potential) -> set[str]:
    """Results that are compared bit by bit."""
    return {"energy", "energies", "forces", "stress"} | ({"magmoms"} if model.calc_magmom else set())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("partitions", [1, 5])
@pytest.mark.parametrize("name", MODELS)
def test_threads_and_recompute_give_the_same_bits(
    name: str, partitions: int, dtype: torch.dtype, chosen: Chosen
) -> None:
    model, atoms = MODELS[name](), rattled(oxide_cell() * (4, 3, 3), 0.08)
    assert_same_bits_on_threads_and_with_recompute(model, atoms, partitions, names_of(model), dtype=dtype)


@pytest.mark.parametrize("name", MODELS)
def test_instruction_sets_agree(name: str, simd: None, chosen: Chosen) -> None:
    found = []
    for level in core.simd_levels:
        core.set_simd(level)
        found.append(native_results(MODELS[name](), oxide().atoms, 2, dtype=torch.float64))
    for results in found[1:]:
        for of in {"energy", "forces", "stress", "magmoms"} & results.keys():
            np.testing.assert_allclose(results[of], found[0][of], rtol=1e-12, atol=1e-11, err_msg=of)


@pytest.mark.parametrize("name", MODELS)
def test_forces_and_stress_are_slopes_of_the_energy(name: str, chosen: Chosen) -> None:
    atoms = rattled(oxide_cell(), 0.08)
    atoms.calc = DistCalculator(
        MODELS[name](), devices="cpu", partitions=2, skin=0.0, dtype="float64", kernels="fused"
    )
    assert_forces_and_stress_are_slopes(atoms)


@pytest.mark.parametrize("amplitude", [0.0, 3e-6, 1e-4])
@pytest.mark.parametrize("name", MODELS)
def test_straight_angles(name: str, amplitude: float, chosen: Chosen) -> None:
    """Of a crystal that is ideal, or nearly: models keep their cosines away from -1, where its slope ends."""
    atoms = bulk("MnO", "rocksalt", a=4.44, cubic=True)
    atoms.positions += 0.02 * np.cos(np.arange(24)).reshape(8, 3)[:, [0]] * [1.0, 0.0, 0.0]
    atoms = rattled(atoms * (2, 1, 1), amplitude)
    assert_parity(MODELS[name](), atoms, 2, strong_forces=False, kernels="fused")


@pytest.mark.parametrize("partitions", [1, 3, 8])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_computed_twice(name: str, partitions: int, chosen: Chosen) -> None:
    """As many atoms, edges and angles in all partitions together, and as many rows that cross, as of the
    model's own modules."""
    atoms = oxide().atoms
    counted = []
    for kernels in ("original", "fused"):
        used = DistCalculator(MODELS[name](), devices="cpu", partitions=partitions, skin=0.0, kernels=kernels)
        used.calculate(atoms.copy())
        counted.append(
            {of: rows for of, rows in used.counters.items() if of.startswith(("block", "line graph"))}
        )
    own, native = counted
    assert own.keys() == native.keys()
    for of, rows in own.items():
        assert native[of] == rows, of


@pytest.mark.parametrize("build", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("name", ["CHGNet", "M3GNet"])
def test_recompute_gives_the_same_bits_of_any_structure(name: str, build: Callable, chosen: Chosen) -> None:
    atoms = build().atoms
    kept, again = (
        native_results(MODELS[name](), atoms, 3, recompute=recompute) for recompute in (False, True)
    )
    assert_same_bits(kept, again, names_of(MODELS[name]()) & kept.keys())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (build_m3gnet, "edges have 12 features; native stages are for multiples of 16"),
        (lambda: build_m3gnet(**{**WIDE, "units": 14}), "hidden layers have 14 numbers"),
        (build_chgnet, "edges have 12 features"),
        (lambda: other_chgnet(activation_type="tanh"), "activation is a .*Tanh; native stages know SiLU"),
        (lambda: other_chgnet(non_linear_angle_embedding=True), "angle_embedding is not linear"),
        (lambda: other_chgnet(readout_field="bond_feat"), "readout_field='bond_feat'"),
        (
            lambda: other_chgnet(normalization="layer", normalize_hidden=True),
            "hidden layers are normalised; native stages know norms of the last ones",
        ),
    ],
)
def test_what_is_not_known_is_named_and_runs_by_its_own_modules(
    model: Callable[[], Potential], message: str
) -> None:
    assert_not_native(model(), oxide().atoms, message)


def other_chgnet(**changes: Any) -> Potential:
    return build_chgnet(**WIDE_CHGNET, **changes)
