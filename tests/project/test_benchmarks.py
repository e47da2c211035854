from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from ase.build import bulk
from support import contestants
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip.models.interface import EagerStage

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = {
    "bench_graphs neighbors": "--rounds 1 --packages distmlip ase --systems water --sizes 300 --cutoffs 4",
    "bench_graphs partition": "--rounds 1 --packages distmlip --sizes 300 --largest 0 --chgnet-atoms 100 "
    "--cut-atoms 300 --cuts 3",
    "bench_overhead": "--size 300 --steps 2 --threads 1",
}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_no_module_has_the_name_of_a_package() -> None:
    """Which of two were found would depend on what was imported before: HDF5's `tables`, once."""
    taken = {*packages_distributions(), *sys.stdlib_module_names}
    assert not taken & {module.stem for module in BENCHMARKS.glob("*.py")}


def test_a_candidate_that_misbehaves_is_reported_and_hinders_nobody(benchmark) -> None:
    harness: ModuleType = benchmark("harness")
    atoms = bulk("Cu", cubic=True)
    entered = [
        harness.Candidate("counts", contestants.counts_to, atoms, {"number": 1000}),
        harness.Candidate("ends", contestants.ends, atoms),
        harness.Candidate("hangs", contestants.hangs, atoms),
        harness.Candidate("raises", contestants.raises, atoms),
        harness.Candidate("absent", contestants.raises, atoms, package="vesin.of.tomorrow"),
    ]
    arena = harness.Arena(["distmlip"])
    arena.packages = ["distmlip", "vesin.of.tomorrow"]
    results = arena.compete(entered, rounds=2, limit=1.0, budget=1.0)
    assert results["counts"]["total"] == sum(range(1000))
    assert results["counts"]["n_atoms"] == len(atoms)
    assert results["counts"]["turns"] == 2
    assert results["counts"]["wall_s"] == sorted(results["counts"]["wall_s"])
    assert results["ends"] == {"status": "ended by itself with exit code 3"}
    assert results["hangs"] == {"status": "over 1 s"}
    assert results["raises"] == {"status": "ValueError: fewer edges than threads"}
    assert results["absent"] == {"status": "not installed"}


def cases_of(module: ModuleType, options: str, output: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a script writes."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *options.split(), "--output", str(output)])
    module.main()
    return json.loads(output.read_text())["cases"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_measure_what_they_are_told_to(
    benchmark, script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    name, *what = script.split()
    options = " ".join([*what, SCRIPTS[script]])
    cases = cases_of(benchmark(name), options, tmp_path / "results.json", monkeypatch)
    results = [result for case in cases for result in case.get("results", {}).values()]
    assert results
    assert not [result["status"] for result in results if "status" in result]
    assert all(result["peak_mb"] >= 0 and result["first_cpu_s"] > 0 for result in results)
    assert capsys.readouterr().out.count("|") > 20


def test_ranks_are_measured_beside_one_rank(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    options = "--sizes 128 --ranks 1 2 --rounds 1 --steps 1"
    alone, both = cases_of(benchmark("bench_ranks"), options, tmp_path / "ranks.json", monkeypatch)
    assert (alone["n_ranks"], both["n_ranks"]) == (1, 2)
    assert both["energy"] == pytest.approx(alone["energy"], rel=1e-6)
    assert both["largest_growth_mib"] > 0
    assert both["exchange_s"] > 0
    assert capsys.readouterr().out.count("|") > 20


def test_lammps_is_measured_beside_ase(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "coupling.json"
    options = "--kinds overhead ranks --sizes 500 --of-rank 250 --ranks 1 2"
    cases = cases_of(benchmark("bench_coupling"), options, output, monkeypatch)
    assert [case["driver"] for case in cases] == ["ASE", "LAMMPS"] * 4
    for ase, lammps in zip(cases[::2], cases[1::2], strict=True):
        assert ase["n_atoms"] == lammps["n_atoms"]
        assert lammps["energy"] == pytest.approx(ase["energy"], rel=1e-6)
    assert all(case["n_atoms"] / case["n_ranks"] <= case["owned"] <= case["n_atoms"] for case in cases)
    assert all(seconds > 0 for case in cases for seconds in case["cpu_us"].values())
    assert len(benchmark("bench_scaling").many_atoms(output)) == 8
    assert capsys.readouterr().out.count("|") > 80


def case_of_family(
    module: ModuleType, family: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """What a benchmark by families writes of one round."""
    options = f"--families {family} --rounds 1"
    case: dict[str, Any] = cases_of(module, options, folder / "results.json", monkeypatch)[family]
    return case


def test_steps_are_measured_with_subnormal_numbers_and_without(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    module = benchmark("bench_subnormals")
    case = case_of_family(module, "chgnet", tmp_path, monkeypatch)
    assert all(case["cpu_s"][way] > 0 for way in module.WAYS)
    assert case["rms_error"]["flushed"] == pytest.approx(case["rms_error"]["computed"], rel=0.01)
    assert capsys.readouterr().out.count("|") > 20


def test_steps_are_measured_with_memory_that_is_kept_and_without(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    module = benchmark("bench_eager_memory")
    case = case_of_family(module, "m3gnet", tmp_path, monkeypatch)
    assert all(case[way]["cpu_s"] > 0 for way in module.WAYS)
    assert case["kept"]["page_faults"] < case["anew"]["page_faults"] / 2
    assert capsys.readouterr().out.count("|") > 14


def test_the_switch_of_subnormal_numbers_reaches_the_stages(benchmark) -> None:
    seen = []

    class Observing(ToyAdapter):
        def stages(self, module: torch.nn.Module, recompute: bool) -> list[EagerStage]:
            first, *others, last = super().stages(module, recompute)
            function = last.function

            def observed(*arguments: object) -> dict[str, torch.Tensor]:
                subnormal = torch.ones(1, dtype=torch.int32).view(torch.float32)
                seen.append(float(subnormal * 1e30) == 0)
                return function(*arguments)

            return [first, *others, replace(last, function=observed)]

    adapter = Observing([ToyModel()])
    switch = benchmark("bench_subnormals").Switch(adapter)
    calculator = DistCalculator(adapter, devices="cpu", partitions=1, recompute=False)
    for flushes in (True, False, True):
        switch.flushes = flushes
        calculator.calculate(bulk("Cu", cubic=True) * 2, ["forces"], ["positions"])
    assert seen == [True, False, True]


def run_gpu(benchmark, monkeypatch: pytest.MonkeyPatch, output: Path, options: str) -> list[dict]:
    module = benchmark("bench_gpu")
    monkeypatch.setattr(
        sys, "argv", ["bench_gpu", *options.split(), "--device", "cpu", "--output", str(output)]
    )
    module.main()
    return json.loads(output.read_text())["cases"]


def test_large_systems_are_measured(benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = run_gpu(benchmark, monkeypatch, tmp_path / "gpu.json", "large chgnet --sizes 100")
    assert (case["n_atoms"], case["options"]) == (64, {})
    assert case["partitions"] >= 1
    assert 0 <= case["exchange_share"] < 1


def test_an_original_and_distmlip_run_beside_each_other(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = run_gpu(benchmark, monkeypatch, tmp_path / "gpu.json", "beside chgnet --sizes 64")
    assert case["original"]["seconds"] > 0
    assert case["distmlip"]["seconds"] > 0


def test_the_exchange_is_measured_beside_the_memory(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = run_gpu(benchmark, monkeypatch, tmp_path / "gpu.json", "exchange --sizes 500")
    assert case["seconds"] > 0
    assert case["exchanged_mib"] > 0
    assert case["fill_s"] > 0


def test_files_of_runs_are_measured(benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "runs.json"
    monkeypatch.setattr(sys, "argv", ["bench_runs", "--cells", "3", "--output", str(output)])
    module = benchmark("bench_runs")
    module.main()
    cases = json.loads(output.read_text())["cases"]
    assert [case["kind"] for case in cases] == ["numpy.save", *["frame"] * 5, *["checkpoint"] * 2]
    assert all(case["wait_s"] > 0 and case["n_atoms"] == 108 for case in cases)
    assert len(module.as_markdown(cases).splitlines()) == 2 + len(cases)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


def test_operators_for_devices_agree_with_the_models(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "gpu_operators.json"
    arguments = ["bench_operators", "--device", "cpu", "--sizes", "9", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    benchmark("bench_operators").main()
    cases = json.loads(output.read_text())["cases"]
    assert [case["operator"] for case in cases] == ["convolution", "contraction", "tensors", "gated messages"]
    for case in cases:
        assert case["error_distmlip"] < 1e-5, case
        assert case["seconds_distmlip"] > 0
    table = benchmark("result_tables").on_gpu(cases)
    assert "| contraction | 9 | distmlip |" in table


def test_originals_start_small_and_end_where_they_do_not_fit(
    benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, tried = benchmark("bench_gpu"), []
    assert (module.SIZES["beside"][0], module.SIZES["beside"][-1]) == (1_000, 50_000)

    def attempt(limit: float, function: Callable, size: int, **others: object) -> dict:
        tried.append(size)
        return {"n_atoms": size} if size < 4_000 else {"status": "RuntimeError: no memory"}

    monkeypatch.setattr(module, "attempt", attempt)
    monkeypatch.setattr(sys, "argv", ["bench_gpu", "beside", "mace", "--device", "cpu"])
    module.main()
    assert tried == [1_000, 2_000, 4_000]


def test_large_systems_get_the_way_that_fits(benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    module, tried = benchmark("bench_gpu"), []

    def attempt(limit: float, function: Callable, options: dict, **others: object) -> dict:
        tried.append(options)
        return {} if options == module.WAYS[1] else {"status": "OutOfMemoryError: no memory"}

    monkeypatch.setattr(module, "attempt", attempt)
    monkeypatch.setattr(sys, "argv", ["bench_gpu", "large", "mace", "--device", "cpu", "--sizes", "9"])
    module.main()
    assert tried == module.WAYS[:2]


def test_an_attempt_that_fails_says_why(benchmark) -> None:
    harness: ModuleType = benchmark("harness")
    attempt = harness.attempt
    assert attempt(60.0, contestants.attempted, what="returns") == {"what": "returns"}
    assert attempt(60.0, contestants.attempted, what="raises") == {"status": "RuntimeError: it does not fit"}
    assert attempt(60.0, contestants.attempted, what="ends") == {"status": "ended by itself with exit code 3"}
    assert attempt(1.0, contestants.attempted, what="hangs") == {"status": "over 1 s"}


def test_goals_say_what_was_missed_and_what_was_not_measured(benchmark) -> None:
    goals = benchmark("goals")

    def case(ours: float, peak_mb: float, **facts: object) -> dict:
        results = {
            "distmlip": {"cpu_s": [ours] * 5, "peak_mb": peak_mb},
            "vesin": {"cpu_s": [1.0] * 5, "peak_mb": 1.0},
        }
        return {
            "n_atoms": 97_556,
            "cutoff": 5.0,
            "threads": 1,
            "system": "fcc Cu",
            "results": results,
            **facts,
        }

    neighbors = {
        "simd": ["avx512", "avx2"],
        "cases": [case(1 / 16, 1, kind="edges"), case(1 / 3, 1, kind="arrays")],
    }
    million = case(0.1, 600, kind="graph", n_atoms=1_000_188)
    partition = {"cases": [million, {"kind": "gpu", "status": "compiled, not run"}]}
    lines = goals.as_table(goals.of_graphs(neighbors, partition, {"cases": []})).splitlines()
    reached = {line.split(" | ")[0].lstrip("| "): line.split(" | ")[1:] for line in lines[2:]}
    (fast,) = (value for aim, value in reached.items() if "avx512" in aim)
    (slow,) = (value for aim, value in reached.items() if "avx2" in aim)
    (arrays,) = (value for aim, value in reached.items() if "ijSD" in aim)
    (memory,) = (value for aim, value in reached.items() if "0.5 GB" in aim)
    (against,) = (value for aim, value in reached.items() if "2.2 × vesin" in aim)
    (gpu,) = (value for aim, value in reached.items() if "GPU" in aim)
    assert fast == ["16.0 × (0.0625 s, 1 s)", "yes |"]
    assert slow == ["not measured", "– |"]
    assert arrays == ["3.0 × (0.333 s, 1 s)", "**no** |"]
    assert memory == ["0.60 GB", "**no** |"]
    assert against == ["22.0 × (0.1 s, 2.2 s)", "yes |"]
    assert gpu == ["compiled, not run", "– |"]


def test_goals_of_steps_and_ranks(benchmark) -> None:
    seconds = {"original": 10.0, "P=1": 4.0, "P=4": 5.0, "auto": 5.0}
    memory = {"original": 100.0, "P=1": 90.0, "P=4": 50.0, "auto": 15.0}
    large = {"n_atoms": 504, "seconds": seconds, "memory_mb": memory}
    small = {**large, "n_atoms": 128}
    steps = [{"family": family, "sizes": [small, large]} for family in ("chgnet", "mace")]
    ranks = [
        {"family": "mace", "size": 4000, "n_ranks": n, "seconds": 8.0 / n, "largest_growth_mib": 800.0 / n}
        for n in (1, 2, 4)
    ]
    ranks[1]["largest_growth_mib"] = 500.0
    found = {goal.aim: goal for goal in benchmark("goals").of_steps(steps, ranks, [])}

    def reached(*words: str) -> bool | None:
        (goal,) = (goal for aim, goal in found.items() if all(word in aim for word in words))
        return goal.reached

    assert reached("mace, 504", "0.6 ×") is True
    assert reached("chgnet, 504", "0.35 ×") is False  # half of the original's time
    assert reached("mace: P=4") is False
    assert reached("2 ranks") is True
    assert reached("memory of a rank") is False
    assert reached("the largest size") is None
    assert not any("128" in aim for aim in found)


def test_results_of_a_gpu_reach_the_docs(benchmark) -> None:
    def measured(seconds: float) -> dict:
        return {"seconds": seconds, "us_per_atom": seconds, "peak_mib": 2048.0}

    large = {"kind": "large", "family": "chgnet", "size": 10**6, "n_atoms": 1_000_000, **measured(19.0)}
    large |= {"partitions": 16, "exchange_share": 0.015}
    beside = {"kind": "beside", "family": "mace", "size": 1000, "n_atoms": 1000}
    beside |= {"original": measured(1.0), "distmlip": measured(0.8)}
    larger = {**beside, "n_atoms": 2000, "distmlip": measured(1.1)}
    failed = {"kind": "beside", "family": "mace", "size": 4000, "status": "RuntimeError: no memory"}
    exchange = {"kind": "exchange", "family": None, "size": 9, "n_atoms": 9, "seconds": 2.0, "fill_s": 1.0}
    cases = [large, beside, larger, failed, exchange]
    goals = benchmark("goals").of_steps([], [], cases)
    assert [(goal.measured, goal.reached) for goal in goals[1:]] == [("19.0 s", True), ("1.10 ×", False)]
    table = benchmark("result_tables").on_gpu(cases)
    assert "| chgnet | 1,000,000 | distmlip, P=16 | 19 | 19.00 | 2,048 | 1.5% |" in table
    assert "RuntimeError: no memory" in table
    assert len({line.count("|") for line in table.splitlines()[2:]}) == 1


def test_tables_in_the_docs_are_those_of_the_results(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = benchmark("update_performance")
    copies = {}
    for name in ("PERFORMANCE", "README"):
        committed = getattr(module, name).read_text()
        copy = tmp_path / name
        copy.write_text(committed)
        module.replace(copy, "an older table")
        assert copy.read_text() != committed
        monkeypatch.setattr(module, name, copy)
        copies[copy] = committed
    module.main()
    for copy, committed in copies.items():
        assert copy.read_text() == committed, "run benchmarks/update_performance.py"


@pytest.mark.parametrize("n_partitions", [2, 8])
def test_formulas_of_halos_describe_real_cuts(benchmark, n_partitions: int) -> None:
    counted = benchmark("bench_scaling").count_halos(benchmark("structures").water(6000), n_partitions, 5.0)
    for method in ("slab", "bisection"):
        assert counted[method] == pytest.approx(counted[f"{method}, formula"], rel=0.25)


def test_rows_of_growing_shells_are_those_of_real_cuts(benchmark) -> None:
    model, scaling = benchmark("scaling_model"), benchmark("bench_scaling")
    water, cutoff = benchmark("structures").water(20_000), 4.0
    family = model.Family("toy", cutoff, (64,) * 2, (), 0.0)
    counted = [scaling.count_halos(water, 8, k * cutoff)["bisection"] for k in (1, 2)]
    own = len(water) / 8
    computed = model.shell_rows(family, model.System(len(water), len(water) / water.get_volume()), 8)
    assert computed == pytest.approx(3 * own + sum(counted), rel=0.25)


def test_communication_grows_as_it_is_said_to(benchmark) -> None:
    model = benchmark("scaling_model")
    family = model.Family("toy", 5.0, (64,), (), 0.0, 1e-5)
    network = model.Network("wire", 1e9, 0.0)
    system, larger = model.System(1e6, 0.1), model.System(8e6, 0.1)
    # Slabs: the same halo for any number of them. Boxes: the same for the same work.
    assert model.slab_halo(system, 4, 5.0) == model.slab_halo(system, 16, 5.0)
    assert model.box_halo(system, 8, 5.0) == pytest.approx(model.box_halo(larger, 64, 5.0))
    assert model.box_halo(system, 64, 5.0) < model.slab_halo(system, 64, 5.0)
    assert model.box_halo(system, 2, 5.0) == model.slab_halo(system, 2, 5.0)
    assert model.exchange_seconds(family, system, 1, "slab", network) == 0
    halo = model.slab_halo(system, 4, 5.0)
    assert model.exchange_bytes(family, system, 4, "slab") == pytest.approx(halo * (2 * 64 * 4 + 24))
