"""The cost model: what is fitted, and what it expects of a sweep."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel

from distmlip._native import core
from distmlip.choice.costs import ANGLE_BYTES, EDGE_BYTES, CostModel, PerKind, StageCost, fitted, rows_of
from distmlip.choice.probe import probe
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import resolve_devices

NOTHING = PerKind()
per = PerKind


def stage(**costs: PerKind) -> StageCost:
    names = [field.name for field in fields(StageCost) if field.name != "name"]
    return StageCost(name="a stage", **{name: costs.get(name, NOTHING) for name in names})


def test_costs_that_explain_every_partition_are_found() -> None:
    random = np.random.default_rng(0)
    rows = rows_of(*random.integers(1, 1000, (4, 7)))
    costs = per(partition=1e5, owned=256, edge=12.5, angle=3)
    np.testing.assert_allclose(fitted(rows, rows @ costs), costs, atol=1e-6)


def test_no_cost_is_below_zero() -> None:
    rows = rows_of([1, 2, 3], [4, 4, 4], [9, 8, 7], [0, 0, 0])
    assert min(fitted(rows, [-5.0, 3.0, 1.0])) >= 0
    assert fitted(rows, [0, 0, 0]) == NOTHING


def test_the_peak_is_where_a_sweep_needs_most() -> None:
    rows = rows_of([10, 20], [5, 5], [0, 0], [0, 0])
    first = stage(held=per(owned=100), forward_peak=per(owned=1000), backward_peak=per(owned=10))
    last = stage(crossing=per(owned=8, halo=8), exchanged=per(owned=8, halo=8), forward_peak=per(owned=400))
    # All of the first stage's 3000 bytes but the running partition's are held while its peak is reached.
    assert CostModel((first,), (first,)).peak_bytes(rows, core.Recompute.never) == 3000 + 20_000 - 2000
    # The last stage holds nothing; it finds the first one's and what was exchanged.
    small = stage(held=per(owned=100), forward_peak=per(owned=100))
    assert CostModel((small, last), (last,)).peak_bytes(rows, core.Recompute.never) == 3000 + 8 * 40 + 8000
    # The way back finds what the stage holds, and the gradients of what was exchanged after it.
    back = stage(held=per(owned=100), backward_peak=per(owned=1000))
    assert CostModel((back, last), (last,)).peak_bytes(rows, core.Recompute.never) == 3000 + 8 * 40 + 20_000


def test_the_graph_counts() -> None:
    model = CostModel((stage(),), (stage(),))
    rows = rows_of([10], [0], [100], [1000])
    assert model.peak_bytes(rows, core.Recompute.stages) == 100 * EDGE_BYTES + 1000 * ANGLE_BYTES


def test_what_is_computed_again_is_all_but_the_last_stage() -> None:
    seconds = {"forward_seconds": per(owned=1), "backward_seconds": per(owned=2)}
    model = CostModel((stage(**seconds), stage(**seconds), stage(**seconds)), (stage(),))
    assert model.recompute_share(rows_of([10], [0], [0], [0])) == pytest.approx(2 / 9)


def test_a_model_can_be_written_and_read() -> None:
    model = CostModel((stage(held=per(owned=1.5)),), (stage(), stage(held=per(edge=3))))
    assert CostModel.from_json(json.loads(json.dumps(model.to_json()))) == model


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values.pop("kept"),
        lambda values: values.update(kept=[]),
        lambda values: values["kept"][0].pop("held"),
        lambda values: values["kept"][0].update(held=[1.0]),
        lambda values: values["kept"][0].update(held=[float("nan")] * len(NOTHING)),
        lambda values: values["kept"][0].update(held=["much"] * len(NOTHING)),
        lambda values: values["kept"][0].update(unknown=list(NOTHING)),
    ],
)
def test_anything_else_is_refused(spoil: Any) -> None:
    values = json.loads(json.dumps(CostModel((stage(),), (stage(),)).to_json()))
    spoil(values)
    with pytest.raises((ValueError, TypeError, KeyError)):
        CostModel.from_json(values)


@pytest.mark.parametrize("recompute", [core.Recompute.never, core.Recompute.stages])
def test_bytes_of_a_large_system_follow_from_small_clusters(recompute: core.Recompute) -> None:
    """Bytes are those that torch's allocators counted, so nothing here depends on the machine."""
    adapter = ToyAdapter([ToyModel()])
    devices = resolve_devices("cpu")
    atoms = bulk("Cu", cubic=True) * (8, 4, 4)
    atoms.rattle(0.1, seed=3)
    stages = probe(adapter, devices, atoms).stages(recompute)
    evaluator = Evaluator(adapter, Settings(devices, 5, "auto", None, recompute, 0.5))
    evaluator.measure(atoms)
    measured, plan = evaluator.measure(atoms).stages, evaluator.plan(atoms)
    rows = rows_of(plan.owned, plan.halo, plan.edges, plan.angles)
    for expected, found in zip(stages, measured, strict=True):
        forward, backward, exchange = found.forward, found.backward, found.exchange
        held = exchange.bytes_left + sum(cost.bytes_left for cost in forward)
        assert float(np.sum(rows @ expected.held)) == pytest.approx(held, rel=0.2, abs=20_000)
        for costs, peaks in ((expected.forward_peak, forward), (expected.backward_peak, backward)):
            peak = max(cost.bytes_peak for cost in peaks)
            assert float(np.max(rows @ costs)) == pytest.approx(peak, rel=0.2, abs=20_000)
