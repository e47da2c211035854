"""What a step is said to take."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from support.toy import ToyAdapter, ToyModel

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.models.interface import EagerStage, Stage
from distmlip.records.plan import Plan
from distmlip.records.profile import Profile, StageProfile

PAUSE = 0.02


class Pausing(ToyAdapter):
    """Its angles take a while on partition 1, forward and backward."""

    def stages(self, module, recompute: bool) -> list[Stage]:
        first, angles, last = super().stages(module, recompute)

        class Slow(EagerStage):
            def run(self, graph, inputs, keep):
                outputs, pullback = super().run(graph, inputs, keep)
                pause = PAUSE if graph.partition == 1 else 0.0
                time.sleep(pause)
                return outputs, lambda gradients: (time.sleep(pause), pullback(gradients))[1]

        return [first, Slow(**vars(angles)), last]


def copper() -> Atoms:
    atoms = bulk("Cu", cubic=True) * (3, 2, 2)
    atoms.rattle(0.1, seed=2)
    return atoms


@pytest.fixture(scope="module")
def profile() -> Profile:
    return DistCalculator(Pausing([ToyModel()]), devices=["cpu", "cpu"], partitions=3).profile(copper())


def test_the_parts_of_a_step_add_up(profile: Profile) -> None:
    parts = [profile.graph, profile.forward, profile.exchange, profile.backward, profile.forces]
    assert min(parts) > 0
    assert sum(parts) + profile.other == pytest.approx(profile.total)
    assert profile.other > -1e-3
    assert profile.steps == 3


def test_time_is_found_where_it_was_spent(profile: Profile) -> None:
    angles = next(stage for stage in profile.stages if stage.name == "angles")
    assert angles.forward[1] >= PAUSE
    assert angles.backward[1] >= PAUSE
    assert profile.forward >= PAUSE
    assert profile.backward >= PAUSE
    assert profile.total >= 2 * PAUSE


def test_a_worker_waits_for_the_slowest_one(profile: Profile) -> None:
    assert profile.workers == [0, 0, 2]
    assert profile.wait[0] == profile.wait[1]  # of one worker
    assert profile.wait[2] > profile.wait[0]
    assert profile.wait[2] >= PAUSE


def test_bytes_are_those_of_the_plan(profile: Profile) -> None:
    received = np.sum([stage.bytes_received for stage in profile.stages], axis=0)
    assert received.tolist() == profile.plan.bytes_received
    assert max(received) > 0
    assert all(min(stage.bytes_peak) > 0 for stage in profile.stages)


def test_the_tables_name_partitions_and_stages(profile: Profile) -> None:
    text = str(profile)
    assert text.isascii()  # any terminal can show it
    assert "3 partitions" in text
    for stage in profile.stages:
        assert stage.name in text
    assert text.count("cpu") == 3
    assert f"{profile.plan.bytes_received[1]:,}" in text


def test_a_profile_leaves_results_alone() -> None:
    atoms = copper()
    atoms.calc = DistCalculator(ToyAdapter([ToyModel()]), devices="cpu", partitions=2)
    forces = atoms.get_forces()
    results = dict(atoms.calc.results)
    atoms.calc.profile(steps=1)
    assert atoms.calc.results == results
    np.testing.assert_array_equal(atoms.get_forces(), forces)


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "3"])
def test_steps_are_checked(steps: object) -> None:
    with pytest.raises(InvalidInputError, match="steps"):
        DistCalculator(ToyAdapter([ToyModel()]), devices="cpu").profile(copper(), steps=steps)


def test_waiting_is_counted_per_stage_and_direction() -> None:
    plan = Plan(
        n_partitions=3,
        method="slab",
        recompute=core.Recompute.never,
        owned=[1, 1, 1],
        halo=[0, 0, 0],
        edges=[0, 0, 0],
        bonds=[0, 0, 0],
        angles=[0, 0, 0],
        exchanges=[],
    )
    stages = [
        StageProfile("a", [1.0, 2.0, 5.0], [1.0, 1.0, 0.0], 0.25, 0.5, [0, 0, 0], [1, 1, 1]),
        StageProfile("b", [4.0, 0.0, 1.0], [0.0, 0.0, 0.0], 0.0, 0.0, [0, 0, 0], [1, 1, 1]),
    ]
    profile = Profile(plan, ["cpu"] * 3, [0, 0, 2], 1, 20.0, 0.1, 1.0, stages, 0.5)
    assert profile.forward == 5.0 + 4.0
    assert profile.backward == 2.0
    assert profile.exchange == 0.75
    assert profile.wait == [2.0, 2.0, 3.0 + 2.0]
    assert profile.other == pytest.approx(20.0 - 1.0 - 9.0 - 2.0 - 0.75 - 0.5)
