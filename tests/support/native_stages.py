"""Evaluations with native stages beside those with a model's own modules."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from distmlip._native import core
from distmlip.choice.kernels import numbers_of
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.machine.devices import Devices
from distmlip.models.interface import Adapter, Evaluation
from distmlip.models.native import NativeChoice, TableSize

FINE = TableSize(64, 12)
"""Tables that are as good as exact functions."""


def evaluator_of(
    adapter: Adapter,
    partitions: int,
    native: NativeChoice | None,
    recompute: core.Recompute = core.Recompute.stages,
) -> Evaluator:
    devices = Devices((torch.device("cpu"),), (0,))
    settings = Settings(devices, partitions, method="slab", weights=None, recompute=recompute, skin=0.0)
    evaluator = Evaluator(adapter, settings)
    evaluator.use(native)
    return evaluator


def assert_close(found: Evaluation, expected: Evaluation, tolerance: float) -> None:
    """Relative to the largest component, or to 1 eV/Å or eV."""
    pairs = {
        "energies": (found.atoms["energy"], expected.atoms["energy"]),
        "forces": (found.forces, expected.forces),
        "virial": (found.virial, expected.virial),
        "virials": (found.virials, expected.virials),
    }
    for name, (ours, theirs) in pairs.items():
        limit = tolerance * max(1.0, float(np.abs(theirs).max()))
        assert np.abs(ours - theirs).max() <= limit, name
    assert found.system == expected.system


def assert_exact(adapter: Adapter, atoms: Atoms, partitions: int, recompute: core.Recompute) -> None:
    """Exact native stages give what the model's own modules give, and compute as many rows."""
    own = evaluator_of(adapter, partitions, None)
    native = evaluator_of(adapter, partitions, NativeChoice(numbers_of(atoms), None), recompute)
    assert_close(native.evaluate(atoms)[0], own.evaluate(atoms)[0], 1e-12)
    assert native.counters == own.counters
