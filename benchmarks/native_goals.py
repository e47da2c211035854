"""What stages in C++ were to reach (results/limits.toml) beside what was measured, by bench_native.py and
million.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from goals import LIMITS, NOT_MEASURED, Goal
from harness import Facts, seconds


def of_native(cases: list[Facts]) -> list[Goal]:
    """One for every entry, model and size; those for another processor than the measured one are left out."""
    by_key = {(case["model"], case["dtype"], case["n_atoms"]): case for case in cases}
    entries = [limits | more for limits in LIMITS["native"] for more in limits.get("each", [{}])]
    return [goal for limits in entries for goal in _of_entry(limits, by_key)]


def of_million(cases: list[Facts], models: list[str]) -> list[Goal]:
    """Three for every model, by the cases of million.py; those of fewer atoms are left out."""
    limits = LIMITS["million"]
    by_model = {case["model"]: case for case in cases if limits["least"] <= case["n_atoms"] <= limits["most"]}
    return [goal for model in models for goal in _of_a_million(model, by_model.get(model, {}))]


def _of_a_million(model: str, case: Facts) -> Iterator[Goal]:
    limits = LIMITS["million"] | {"model": model, "seconds": LIMITS["million"]["seconds"][model]}
    aims = [limits[name].format(**limits) for name in ("time", "memory", "errors")]
    if "wall_s" not in case:
        yield from (Goal(aim, case.get("status", NOT_MEASURED), None) for aim in aims)
        return
    force, energy = case["force_error"], case["energy_error"]
    yield Goal(aims[0], f"{case['wall_s']:.0f} s", case["wall_s"] <= limits["seconds"])
    yield Goal(aims[1], f"{case['peak_gb']:.1f} GB", case["peak_gb"] <= limits["gigabytes"])
    agrees = force <= limits["force"] and energy <= limits["energy"]
    yield Goal(aims[2], f"{force:.1e} eV/Å, {energy:.1e} eV", agrees)


def _of_entry(limits: Facts, cases: dict[tuple[str, str, int], Facts]) -> Iterator[Goal]:
    for model in limits["models"]:
        for n_atoms in limits["sizes"]:
            aim = limits["goal"].format(model=model, n_atoms=n_atoms, **limits)
            case = cases.get((model, limits["dtype"], n_atoms), {"results": {}})
            if limits.get("isa") not in (None, best_isa(case)):
                continue
            results = [case["results"].get(name, {}) for name in limits["of"]]
            measured = MEASURED[limits["measured"]](limits, case, *results) if all(results) else None
            yield Goal(aim, *(measured or (NOT_MEASURED, None)))


def best_isa(case: Facts) -> str | None:
    """The processor's best instruction set; None of a case that was not measured."""
    return next(iter(case["machine"]["fma_gflops"])) if "machine" in case else None


def _microseconds(limits: Facts, case: Facts, ours: Facts) -> tuple[str, bool] | None:
    if "cpu_s" not in ours:
        return None
    per_atom = 1e6 * seconds(ours) / case["n_atoms"]
    return f"{per_atom:,.0f} µs", per_atom <= limits["most"]


def _times_faster(limits: Facts, case: Facts, ours: Facts, theirs: Facts) -> tuple[str, bool] | None:
    if "cpu_s" not in ours or "cpu_s" not in theirs:
        return None
    own, peer = (1e6 * seconds(of) / case["n_atoms"] for of in (ours, theirs))
    return f"{peer / own:.1f} × ({own:,.0f} and {peer:,.0f} µs)", peer / own >= limits["least"]


def _two_cores(limits: Facts, _: Facts, one: Facts, two: Facts) -> tuple[str, bool] | None:
    if "wall_s" not in one or "wall_s" not in two:
        return None
    gain = seconds(one, "wall_s") / seconds(two, "wall_s")
    return f"{gain:.2f} ×", gain >= limits["least"]


def _error(limits: Facts, _: Facts, ours: Facts) -> tuple[str, bool] | None:
    error = ours.get("force_error")
    return None if error is None else (f"{error:.1e}", error <= limits["most"])


def _relative_error(limits: Facts, case: Facts, ours: Facts) -> tuple[str, bool] | None:
    if "force_error" not in ours:
        return None
    error = ours["force_error"] / max(1.0, case["max_force"])
    return f"{error:.1e} (max\\|F\\| {case['max_force']:.2f} eV/Å)", error <= limits["most"]


def _memory(limits: Facts, case: Facts, ours: Facts) -> tuple[str, bool] | None:
    if "peak_mb" not in ours:
        return None
    per_atom = ours["peak_mb"] / case["n_atoms"]
    return f"{per_atom:.3f} MB", per_atom <= limits["most"]


def _one_step(limits: Facts, _: Facts, ours: Facts) -> tuple[str, bool] | None:
    if "peak_mb" not in ours:
        return None
    elapsed, gigabytes = ours["first_wall_s"], ours["peak_mb"] / 1000
    is_met = elapsed <= limits.get("seconds", elapsed) and gigabytes <= limits.get("gigabytes", gigabytes)
    return f"{elapsed:.0f} s for the first step ({ours['isa']}), {gigabytes:.1f} GB above the model", is_met


MEASURED: dict[str, Callable[..., tuple[str, bool] | None]] = {
    "microseconds": _microseconds,
    "times_faster": _times_faster,
    "two_cores": _two_cores,
    "error": _error,
    "relative_error": _relative_error,
    "memory": _memory,
    "one_step": _one_step,
}
"""What the limits ask for, in words, and whether it is within them; None if a program failed."""
