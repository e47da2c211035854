"""The benchmark of stages in C++ beside other programs: how it measures, and what it says of that."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of benchmarks/, which is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_a_program_that_fails_is_reported_and_hinders_nobody(benchmark) -> None:
    programs = benchmark("programs")
    small = {"model": "MACE small", "dtype": "float32"}
    entered = [
        programs.Program("not installed", "symmetrix-xl", small),
        programs.Program("ends", "original", small, python="false"),
        programs.Program("runs", "original", small, settings={"isa": "some"}),
    ]
    results, forces = programs.compete(entered, "LiMnO2", (1, 1, 1), rounds=2, limit=300.0, budget=0.0)
    assert results["not installed"]["status"].startswith("ModuleNotFoundError")
    assert results["ends"]["status"] == "ended by itself with exit code 1"
    ours = results["runs"]
    assert (ours["threads"], ours["isa"], ours["turns"]) == (1, "some", 2)
    assert ours["cpu_s"] == sorted(ours["cpu_s"])
    assert ours["peak_mb"] >= 0
    assert list(forces) == ["runs"]
    assert forces["runs"].shape == (8, 3)
    assert np.abs(forces["runs"].sum(axis=0)).max() < 1e-5 < np.abs(forces["runs"]).max()


def test_a_contest_takes_the_place_of_its_earlier_self_only(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "native.json"
    module = benchmark("bench_native")
    kept = {**case(288, {}), "model": "SevenNet-0"}
    output.write_text(json.dumps({"cases": [kept, case(32, {"absent": {"threads": 1, "status": "failed"}})]}))
    options = f"medium --sizes 32 --programs original --rounds 1 --output {output}"
    monkeypatch.setattr(sys, "argv", ["bench_native", *options.split()])
    module.main()
    measured, other = json.loads(output.read_text())["cases"]
    assert other == kept
    assert list(measured["results"]) == ["original"]
    assert 0 < measured["results"]["original"]["force_error"] < 1e-5 * max(1, measured["max_force"])
    assert all(rate > 0.1 for rate in measured["machine"]["fma_gflops"].values())
    assert "| MACE medium | float32 | 32 |" in capsys.readouterr().out


def test_every_limit_is_of_a_contest(benchmark) -> None:
    contests = {
        (of.model, of.dtype, of.n_atoms): of.programs
        for contests in benchmark("bench_native").CONTESTS.values()
        for of in contests
    }
    native = benchmark("goals").LIMITS["native"]
    for entry in [limits | more for limits in native for more in limits.get("each", [{}])]:
        assert entry["measured"] in benchmark("native_goals").MEASURED
        for model in entry["models"]:
            for size in entry["sizes"]:
                assert set(entry["of"]) <= set(contests[model, entry["dtype"], size])


def case(n_atoms: int, results: dict, isa: str = "avx2") -> dict:
    machine = {"cpu": "some processor", "fma_gflops": {isa: 98.0, "portable": 38.0}, "versions": {}}
    head = {"model": "MACE medium", "dtype": "float32", "n_atoms": n_atoms, "machine": machine}
    return {**head, "max_force": 2.0, "results": results}


def result(n_atoms: int, microseconds: float, threads: int = 1, **facts: object) -> dict:
    cpu = 1e-6 * n_atoms * microseconds
    measured = {"cpu_s": [cpu] * 5, "wall_s": [cpu / threads] * 5, "peak_mb": 0.5 * n_atoms}
    return {"threads": threads, "isa": "avx2", **measured, **facts}


def some_cases() -> list[dict]:
    small = {
        "symmetrix-xl": result(288, 1900, force_error=1e-5),
        "distmlip, exact": result(288, 700, force_error=4e-6),
        "distmlip": result(288, 350, force_error=2e-6),
        "distmlip, portable": {**result(288, 900), "isa": "portable"},
        "original": {"threads": 1, "status": "over 1800 s"},
    }
    large = {
        "distmlip, P=8": result(1152, 300),
        "distmlip, P=8, 2 threads": result(1152, 320, threads=2),
        "distmlip, P=auto": result(1152, 290, partitions=3),
    }
    return [case(288, small), case(1152, large)]


def test_goals_say_what_was_missed_and_leave_out_other_processors(benchmark) -> None:
    goals = {goal.aim: goal for goal in benchmark("native_goals").of_native(some_cases())}

    def reached(*words: str) -> tuple[str, bool | None]:
        (goal,) = (goal for aim, goal in goals.items() if all(word in aim for word in words))
        return goal.measured, goal.reached

    assert reached("MACE medium, float32, 288", "340 µs") == ("350 µs", False)
    assert reached("MACE medium, float32, 288", "symmetrix-xl") == ("5.4 × (350 and 1,900 µs)", True)
    assert reached("MACE medium, float32, distmlip:") == ("1.0e-06 (max\\|F\\| 2.00 eV/Å)", True)
    assert reached("MACE medium, float32, distmlip, exact:") == ("2.0e-06 (max\\|F\\| 2.00 eV/Å)", False)
    assert reached("MACE medium", "1,152 atoms", "two cores") == ("1.88 ×", True)
    assert reached("MACE medium", "10,368 atoms", "MB per atom") == ("not measured", None)
    assert not any("230 µs" in aim for aim in goals)  # of avx512


def test_tables_have_what_was_measured(benchmark) -> None:
    text = benchmark("native_tables").as_markdown(some_cases())
    assert "| MACE medium | float32 | 288 | – | – | 1,900 (5.4 ×) | 700 (2.0 ×) | 350 | some" in text
    assert "| MACE medium | float32 | 288 | 2.00 | – | – | 1.0e-05 | 4.0e-06 | 2.0e-06 |" in text
    assert "| MACE medium | float32 | 1,152 | – | – | 300, 1.88 × | 290 (P=3) |" in text
    assert "| MACE medium | float32 | 288 | distmlip, auto | – | 350 | 900 |" in text
    assert "| 576 (0.500) | 576 (0.500) |" in text
    assert "MACE medium, float32, 288 atoms: original: over 1800 s" in text
    for block in text.split("\n\n"):
        assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_the_docs_have_goals_before_tables(benchmark) -> None:
    text = benchmark("update_performance").native(some_cases())
    assert text.index("| goal |") < text.index("native.png") < text.index("| model |")
    assert "350 µs | **no** |" in text


def test_a_large_system_is_compared_with_the_block_that_it_repeats(
    benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "million.json"
    module = benchmark("million")
    kept = large_case("CHGNet 0.3.0", n_atoms=288)
    output.write_text(json.dumps({"cases": [kept, large_case("TensorNet, warp", n_atoms=576)]}))
    options = f"tensornet --atoms 600 --output {output}"
    monkeypatch.setattr(sys, "argv", ["million", *options.split()])
    module.main()
    measured, other = json.loads(output.read_text())["cases"]
    assert other == kept
    assert measured.keys() == kept.keys()
    assert (measured["n_atoms"], measured["dtype"]) == (576, "float32")
    assert measured["kernels"].startswith("native stages")
    assert 0 < measured["force_error"] < 1e-5 * measured["max_force"]
    assert 0 < measured["block"]["force_error"] < 1e-5 * measured["max_force"]
    assert max(measured["energy_error"], measured["stress_error"]) < 1e-5
    assert measured["edges_per_atom"] == pytest.approx(51.5, abs=1)
    assert measured["wall_s"] > 0
    assert measured["peak_gb"] > measured["growth_gb"] >= 0
    text = capsys.readouterr().out
    assert "| TensorNet, warp: ≤ 75 s | not measured | – |" in text  # it was no million
    assert "| TensorNet, warp | 576 |" in text


def test_an_atom_that_differs_from_its_twin_is_found(benchmark) -> None:
    differences = benchmark("million").differences
    expected = {"energy": -8.0, "forces": np.ones((4, 3)), "stress": np.zeros(6)}
    forces = np.ones((12, 3))
    results = {"energy": -24.0, "forces": forces, "stress": np.zeros(6)}
    assert set(differences(results, expected, 4).values()) == {0.0}
    forces[9, 2] = 1.5
    assert differences(results, expected, 4)["force_error"] == 0.5
    forces[2, 1] = np.nan
    assert np.isnan(differences(results, expected, 4)["force_error"])
    assert differences({**results, "energy": -12.0}, expected, 4)["energy_error"] == 1.0


def large_case(model: str, n_atoms: int = 995_328, **facts: object) -> dict:
    differences = {"force_error": 1e-6, "energy_error": 2e-7, "stress_error": 1e-8}
    return {
        "model": model,
        "n_atoms": n_atoms,
        "structure": "LiMnO2, 288 shaken atoms × 24 × 16 × 9",
        "density": 0.1032,
        "machine": {"cpu": "some processor", "cores": 2, "memory_gb": 25},
        "dtype": "float32",
        "threads": 2,
        "wall_s": 80.0,
        "cpu_s": 150.0,
        "peak_gb": 12.0,
        "growth_gb": 11.5,
        "partitions": 64,
        "method": "bisection",
        "recompute": "stages",
        "why": "",
        "kernels": "native stages (avx2)",
        "edges_per_atom": 51.5,
        "angles_per_atom": 0.0,
        "max_force": 7.84,
        **differences,
        "block": differences,
        **facts,
    }


def failed_case(model: str) -> dict:
    measured = large_case(model)
    head = {name: measured[name] for name in ("model", "n_atoms", "structure", "density", "machine")}
    return {**head, "status": "over 3600 s"}


def test_goals_of_a_million_atoms_know_what_was_not_measured(benchmark) -> None:
    models, of_million = benchmark("million").MODELS, benchmark("native_goals").of_million
    assert set(benchmark("goals").LIMITS["million"]["seconds"]) == set(models.values())
    cases = [large_case("TensorNet, warp"), failed_case("MACE medium"), large_case("CHGNet 0.3.0", 1152)]
    goals = {goal.aim: (goal.measured, goal.reached) for goal in of_million(cases, list(models.values()))}
    assert len(goals) == 3 * len(models)
    assert goals["TensorNet, warp: ≤ 75 s"] == ("80 s", False)
    assert goals["TensorNet, warp: peak RSS ≤ 20 GB"] == ("12.0 GB", True)
    assert goals["MACE medium: ≤ 165 s"] == ("over 3600 s", None)
    assert goals["CHGNet 0.3.0: ≤ 420 s"] == ("not measured", None)
    (agrees,) = (reached for aim, reached in goals.items() if "TensorNet, warp: forces" in aim)
    assert agrees == ("1.0e-06 eV/Å, 2.0e-07 eV", True)


def test_the_docs_have_the_million_where_models_are_missing(benchmark) -> None:
    module = benchmark("update_performance")
    for cases in ([large_case("MACE medium")], [failed_case("MACE medium"), large_case("CHGNet 0.3.0")]):
        text = module.of_a_million(cases)
        assert text.startswith("## A million atoms on two cores")
        assert text.index("0.103 atoms per Å³") < text.index("| goal |") < text.index("| model |")
        assert "| TensorNet, warp: ≤ 75 s | not measured | – |" in text
        assert ("MACE medium, 995,328 atoms: over 3600 s" in text) == (len(cases) == 2)
        for block in text.split("\n\n"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1
    assert "| goal |" in module.of_a_million([failed_case("MACE medium")])


def test_the_picture_shows_the_contest_with_most_programs(benchmark, tmp_path: Path) -> None:
    plot = benchmark("plot_native")
    assert [of["n_atoms"] for of in plot.chosen(some_cases())] == [288]
    figure, axes = plot.plt.subplots()
    plot.draw(axes, plot.chosen(some_cases()))
    assert sorted(bar.get_height() for bar in axes.patches) == pytest.approx([350, 700, 1900])
    plot.plt.close(figure)
