"""Native stages are used where they agree with the original, and only there."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from support.native_toy import NativeToy, by, halo_rows, tables_by
from support.toy import ToyAdapter, ToyModel, undivided

from distmlip import DistCalculator, DistModel
from distmlip._native import core
from distmlip.choice import chooser, kernels, suspect
from distmlip.choice.clusters import clusters, distances
from distmlip.choice.kernels import TABLES
from distmlip.choice.probe import fingerprint, probe
from distmlip.errors import InvalidInputError, NotNativeError
from distmlip.evaluation.settings import Settings
from distmlip.machine import memory
from distmlip.machine.devices import Devices
from distmlip.models.interface import NativeChoice
from distmlip.models.native import TableSize
from distmlip.ranks.agreement import digest_of

COPPER, OXIDE = (29,), (8, 29)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTMLIP_CACHE", str(tmp_path))
    return tmp_path


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=2)
    return atoms


def oxide() -> Atoms:
    atoms = copper()
    atoms.numbers[::3] = 8
    return atoms


def calculator(adapter: NativeToy, **options) -> DistCalculator:
    return DistCalculator(adapter, devices="cpu", **{"partitions": 2, **options})


def in_use(calculator: DistCalculator) -> NativeChoice | None:
    return calculator._evaluator.native


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def assert_right(calculator: DistCalculator, atoms: Atoms, tolerance: float = 1e-10) -> None:
    expected = undivided(calculator._adapter.models[0], atoms)
    np.testing.assert_allclose(calculator.get_forces(atoms), expected["forces"], rtol=0, atol=tolerance)


# ---- what is used


@pytest.mark.parametrize("kernel", ["auto", "fused"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_native_stages_that_agree_are_used(
    dtype: torch.dtype, kernel: str, caplog: pytest.LogCaptureFixture
) -> None:
    used = calculator(NativeToy(dtype=dtype), kernels=kernel)
    assert_right(used, copper(), 1e-10 if dtype == torch.float64 else 1e-3)
    table = TABLES[dtype][0]
    assert in_use(used) == NativeChoice(COPPER, table)
    plan = used.plan()
    size = f"{table.cells} x {table.coefficients}"
    assert plan.kernels == f"native stages ({core.simd()}), radial functions from tables of {size}"
    assert plan.kernels in str(plan)
    assert used.profile(steps=1).plan.kernels == plan.kernels
    assert not warnings_of(caplog)


def test_the_models_own_modules_where_they_are_asked_for() -> None:
    adapter = NativeToy()
    used = calculator(adapter, kernels="original")
    assert_right(used, copper())
    assert not adapter.built
    assert used.plan().kernels == "the model's own modules: as asked for"


@pytest.mark.parametrize("size", [1e-3, 1e-5])
@pytest.mark.parametrize("rows", [lambda graph: slice(None), halo_rows], ids=["all", "halo"])
def test_native_stages_that_are_off_are_not_used(
    rows: Callable, size: float, caplog: pytest.LogCaptureFixture
) -> None:
    used = calculator(NativeToy(by(size, rows)))
    assert_right(used, copper())
    assert in_use(used) is None
    (warning,) = warnings_of(caplog)
    assert "native stages differ from the original: forces by" in warning
    assert "eV/Ang (at most" in warning
    assert ("in 2 partitions" in warning) == (rows is halo_rows)
    assert "from stage 'second layer'" in warning
    assert used.plan().kernels in str(used.plan())
    assert used.plan().kernels.startswith("the model's own modules: native stages differ")
    with pytest.raises(NotNativeError, match=r"kernels='fused', but native stages differ .* forces by"):
        calculator(NativeToy(by(size, rows)), kernels="fused").get_forces(copper())


@pytest.mark.parametrize("name", ["results", "system_results"])
def test_stages_with_other_results_are_not_used(name: str) -> None:
    class Others(NativeToy):
        def native_stages(self, index, choice, recompute):
            *others, last = super().native_stages(index, choice, recompute)
            return [*others, replace(last, **{name: getattr(last, name)[:-1]})]

    used = calculator(Others())
    assert_right(used, copper())
    assert in_use(used) is None
    assert f"{name} of native stages are" in used.plan().kernels


def test_a_stage_that_cannot_be_run_by_itself_is_not_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(suspect, "_difference", lambda *_: 1 / 0)
    used = calculator(NativeToy(by(1e-3)))
    assert_right(used, copper())
    (warning,) = warnings_of(caplog)
    assert "forces by" in warning
    assert "from stage" not in warning


def test_nothing_but_numbers_is_no_agreement() -> None:
    used = calculator(NativeToy(by(np.nan)))
    assert_right(used, copper())
    assert in_use(used) is None


def test_noise_of_float32_is_no_difference() -> None:
    used = calculator(NativeToy(by(1e-7), dtype=torch.float32))
    used.get_forces(copper())
    assert in_use(used) is not None
    used = calculator(NativeToy(by(1e-4), dtype=torch.float32))
    used.get_forces(copper())
    assert in_use(used) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finer_tables_and_then_exact_functions_are_tried(
    dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    error = 1e-3 if dtype == torch.float32 else 1e-11
    sizes = TABLES[dtype]
    coarse = tables_by(lambda choice: error if choice.table == sizes[0] else 0.0)
    used = calculator(NativeToy(coarse, dtype=dtype))
    used.get_forces(copper())
    assert in_use(used) == NativeChoice(COPPER, sizes[1])

    every = tables_by(lambda choice: error if choice.table else 0.0)
    used = calculator(NativeToy(every, dtype=dtype))
    used.get_forces(copper())
    assert in_use(used) == NativeChoice(COPPER, None)
    assert used.plan().kernels == (
        f"native stages ({core.simd()}), exact radial functions, because tables are not as exact"
    )
    assert not warnings_of(caplog)


def test_radial_functions_as_they_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    adapter = NativeToy()
    used = calculator(adapter, radial="exact")
    used.get_forces(copper())
    assert in_use(used) == NativeChoice(COPPER, None)
    assert used.plan().kernels == f"native stages ({core.simd()}), exact radial functions"
    assert all(choice.table is None for choice in adapter.built)

    every = tables_by(lambda choice: 1e-3 if choice.table else 0.0)
    used = calculator(NativeToy(every), radial="table")
    assert_right(used, copper())
    assert in_use(used) is None
    assert len(warnings_of(caplog)) == 1
    with pytest.raises(
        InvalidInputError, match=r"radial='table' and kernels='fused', but .* forces by"
    ) as caught:
        calculator(NativeToy(every), radial="table", kernels="fused").get_forces(copper())
    assert not isinstance(caught.value, NotNativeError)


def test_exact_functions_that_are_off_are_no_measure_for_tables() -> None:
    used = calculator(NativeToy(tables_by(lambda choice: 0.0 if choice.table else 1e-3)), radial="table")
    assert_right(used, copper())
    assert in_use(used) is None


# ---- what native stages do not know


def test_the_part_that_is_not_known_is_named(caplog: pytest.LogCaptureFixture) -> None:
    adapter = NativeToy(unknown="mix is a torch.nn.Bilinear")
    used = calculator(adapter)
    assert_right(used, copper())
    assert used.plan().kernels == (
        "the model's own modules: mix is a torch.nn.Bilinear, which native stages do not know"
    )
    assert adapter.n_originals == 0  # nothing was compared
    assert not warnings_of(caplog)
    fused = calculator(adapter, kernels="fused")
    for _ in range(2):
        with pytest.raises(NotNativeError, match=r"kernels='fused', but mix is a .*Bilinear") as caught:
            fused.get_forces(copper())
        assert isinstance(caught.value.__cause__, NotNativeError)


def test_exact_functions_where_there_are_no_tables() -> None:
    used = calculator(NativeToy(unknown=lambda choice: "a table of 89 elements" if choice.table else ""))
    assert_right(used, copper())
    assert in_use(used) == NativeChoice(COPPER, None)


def test_an_adapter_without_native_stages() -> None:
    used = DistCalculator(ToyAdapter([ToyModel()]), devices="cpu")
    used.get_forces(copper())
    assert used.plan().kernels == "the model's own modules: there are no native stages for toy"
    with pytest.raises(NotNativeError, match="there are no native stages for toy"):
        DistCalculator(ToyAdapter([ToyModel()]), devices="cpu", kernels="fused").get_forces(copper())
    with pytest.raises(NotNativeError, match="there are no native stages for toy"):
        ToyAdapter([ToyModel()]).native_stages(0, NativeChoice(COPPER, None), recompute=False)


def test_what_cannot_be_compared_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(NativeToy, "original", lambda *_: 1 / 0)
    used = calculator(NativeToy())
    assert_right(used, copper())
    assert in_use(used) is None
    assert "could not be compared with the original: ZeroDivisionError" in used.plan().kernels
    assert len(warnings_of(caplog)) == 1
    with pytest.raises(NotNativeError, match="could not be compared") as caught:
        calculator(NativeToy(), kernels="fused").get_forces(copper())
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_native_stages_are_for_cpus() -> None:
    on_a_gpu = Settings(
        Devices((torch.device("cpu"), torch.device("cuda:1")), (0, 3)),
        None,
        "auto",
        None,
        core.Recompute.never,
        0.5,
        kernels="auto",
    )
    adapter = NativeToy()
    outcome = kernels.decide(adapter, on_a_gpu, copper())
    assert outcome.in_words == "the model's own modules: native stages are for CPUs, and cuda:1 is none"
    assert not adapter.built


@pytest.mark.parametrize(("option", "value"), [("kernels", "native"), ("kernels", None), ("radial", 36)])
def test_options_that_there_are_not(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{option}={value!r}; it must be one of 'auto'"):
        DistCalculator(ToyAdapter([ToyModel()]), devices="cpu", **{option: value})


# ---- what is remembered, and for how long


def test_each_set_of_elements_is_decided_once() -> None:
    adapter = NativeToy()
    used = calculator(adapter)
    assert_right(used, copper())
    assert_right(used, oxide())
    assert in_use(used) == NativeChoice(OXIDE, TABLES[torch.float64][0])
    n_built = len(adapter.built)
    assert_right(used, copper())  # whose element is one of the oxide's
    rattled = oxide()
    rattled.rattle(0.1, seed=3)
    assert_right(used, rattled)
    assert in_use(used) is not None
    assert len(adapter.built) == n_built
    assert adapter.n_originals == 2


def test_elements_that_native_stages_do_not_know() -> None:
    unknown = NativeToy(unknown=lambda choice: "oxygen" if 8 in choice.numbers else "")
    used = calculator(unknown)
    for atoms, is_native in ((copper(), True), (oxide(), False), (copper(), True)):
        assert_right(used, atoms)
        assert (in_use(used) is not None) == is_native
        assert used.plan().kernels.startswith("native" if is_native else "the model's own modules: oxygen")


def test_clusters_have_all_elements_and_atoms_that_nearly_touch() -> None:
    atoms = bulk("Cu", cubic=True) * (3, 3, 3)
    atoms.numbers[:20] = np.arange(1, 21)
    atoms.info["charge"] = 1
    found = list(clusters(atoms, cutoff=5.0))
    assert len(found) == 6
    assert set(np.concatenate([cluster.numbers for cluster in found])) == {*range(1, 21), 29}
    for k, cluster in enumerate(found):
        assert len(cluster) == 8
        assert not cluster.pbc.any()
        assert cluster.info == {"charge": 1}
        assert distances(cluster.positions).min() == pytest.approx((0.6, 1.6)[k % 2])
    assert distances(found[0].positions).max() > 2.0
    assert distances(found[1].positions).max() > 5.0
    assert len(set(found[0].numbers)) == 8
    one = list(clusters(bulk("Cu"), cutoff=5.0))
    assert [len(cluster) for cluster in one] == [8, 8]


def test_outcomes_are_kept_on_disk(folder: Path) -> None:
    def originals_made_for(**changes) -> int:
        given = {"head": "one", "model": ToyModel(), **changes}
        options = {name: given.pop(name) for name in ("radial", "kernels") if name in given}
        adapter = NativeToy(**given)
        used = calculator(adapter, **options)
        assert_right(used, given.pop("atoms", copper()), 1e-3)
        assert in_use(used) is not None
        return adapter.n_originals

    assert originals_made_for() == 1
    assert originals_made_for() == 0
    assert originals_made_for(kernels="fused") == 0
    (file,) = folder.iterdir()
    assert file.name.startswith("kernels-")
    other = ToyModel()
    with torch.no_grad():
        other.mix[0, 0] += 1e-3
    assert originals_made_for(model=other) == 1
    assert originals_made_for(radial="exact") == 1
    assert originals_made_for(dtype=torch.float32) == 1
    assert originals_made_for(head="two") == 1
    file.write_text(file.read_text().replace('"numbers": [29]', '"numbers": ["Cu"]'))
    assert originals_made_for() == 1


def test_other_instruction_sets_and_versions_are_compared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    def compared() -> int:
        adapter = NativeToy(head="one")
        calculator(adapter).get_forces(copper())
        return adapter.n_originals

    assert (compared(), compared()) == (1, 0)
    monkeypatch.setattr(core, "simd", lambda: "portable")
    assert (compared(), compared()) == (1, 0)
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert (compared(), compared()) == (1, 0)


def test_what_was_found_to_be_off_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    for n_originals in (1, 0):
        caplog.clear()
        adapter = NativeToy(by(1e-3), head="one")
        used = calculator(adapter)
        assert_right(used, copper())
        assert adapter.n_originals == n_originals
        assert len(warnings_of(caplog)) == 1


def test_buffers_count_as_weights() -> None:
    model = ToyModel()
    model.register_buffer("scale", torch.ones(()))
    before = digest_of([model], {}, with_buffers=True)
    model.scale += 1
    assert digest_of([model], {}, with_buffers=True) != before
    assert digest_of([model], {}) == digest_of([copy.deepcopy(model)], {})


def test_weights_that_are_changed_in_place_are_followed() -> None:
    model, atoms = ToyModel(), copper()
    adapter = NativeToy(model=model)
    used = calculator(adapter)
    assert_right(used, atoms)
    assert adapter.n_originals == 1
    with torch.no_grad():
        model.readout.mul_(1.5)
    atoms.rattle(0.01)
    assert_right(used, atoms)
    assert in_use(used) is not None
    assert adapter.n_originals == 2  # the comparison holds for the weights that it was made with
    n_built = len(adapter.built)
    atoms.rattle(0.01)
    assert_right(used, atoms)
    assert len(adapter.built) == n_built


def test_copies_and_pickles_keep_the_options() -> None:
    used = calculator(NativeToy(), kernels="fused", radial="exact")
    for twin in (copy.copy(used), copy.deepcopy(used)):
        assert_right(twin, copper())
        assert in_use(twin) == NativeChoice(COPPER, None)
    pickled = DistCalculator(ToyAdapter([ToyModel()]), devices="cpu", kernels="original", radial="table")
    twin = pickle.loads(pickle.dumps(pickled))
    for one in (pickled, twin):
        assert (one.parameters["kernels"], one.parameters["radial"]) == ("original", "table")
    assert twin._evaluator.settings.kernels == "original"


def test_a_model_to_be_trained_has_its_own_modules() -> None:
    adapter = NativeToy(by(1.0))
    prediction = DistModel(adapter, partitions=2)(copper())
    assert not adapter.built
    expected = undivided(adapter.models[0], copper())["energy"]
    assert prediction.energy.item() == pytest.approx(expected, abs=1e-9)


# ---- partitions


def test_native_stages_need_no_small_partitions() -> None:
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    own = calculator(NativeToy(), partitions="auto", kernels="original").plan(atoms)
    assert own.n_partitions > 1
    native = calculator(NativeToy(), partitions="auto").plan(atoms)
    assert native.n_partitions == 1
    assert "one partition per device, because native stages need no small ones" in native.why
    two = DistCalculator(NativeToy(), devices=["cpu", "cpu"]).plan(atoms)
    assert two.n_partitions == 2


def test_partitions_follow_the_kernels() -> None:
    unknown = NativeToy(unknown=lambda choice: "oxygen" if 8 in choice.numbers else "")
    used = calculator(unknown, partitions="auto", recompute=False)
    atoms = bulk("Cu", cubic=True) * (4, 4, 4)
    assert used.plan(atoms).n_partitions == 1
    atoms.numbers[0] = 8
    assert used.plan(atoms).n_partitions > 1
    atoms.numbers[0] = 29
    assert used.plan(atoms).n_partitions == 1


def test_costs_are_those_of_what_runs() -> None:
    cpu, adapter = torch.device("cpu"), NativeToy()
    ways = [None, NativeChoice(COPPER, None), NativeChoice(COPPER, TableSize(36, 8))]
    keys = [str(fingerprint(adapter, cpu, native)) for native in ways]
    assert len(set(keys)) == 3
    assert str(fingerprint(adapter, cpu, NativeChoice(OXIDE, None))) == keys[1]
    probe(adapter, Devices((cpu,), (0,)), copper(), ways[1])
    assert adapter.built == [ways[1]] * 2  # once for each way of recompute


def test_memory_still_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    atoms = bulk("Cu", cubic=True) * (8, 8, 8)
    monkeypatch.setattr(chooser, "CHEAP_RECOMPUTE", -1.0)
    much = calculator(NativeToy(), partitions="auto").plan(atoms)
    assert (much.n_partitions, bool(much.recompute)) == (1, False)
    free = 0.3 * much.memory["cpu"].expected
    monkeypatch.setattr(chooser, "available_bytes", lambda *_: free / memory.USABLE)
    little = calculator(NativeToy(), partitions="auto").plan(atoms)
    assert little.n_partitions > 1
    assert little.recompute
