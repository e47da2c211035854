"""Evaluations with native stages beside those with a model's own modules."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from distmlip import DistCalculator
from distmlip._native import core
from distmlip.choice.kernels import numbers_of
from distmlip.errors import NotNativeError
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


def native_results(model: Any, atoms: Atoms, partitions: int, **options: Any) -> dict[str, Any]:
    """Of native stages: anything else is an error."""
    used = DistCalculator(model, devices="cpu", partitions=partitions, kernels="fused", **options)
    used.calculate(atoms.copy())
    return copy.deepcopy(used.results)


def assert_same_bits(ours: dict[str, Any], theirs: dict[str, Any], names: Collection[str]) -> None:
    for name in names:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def assert_same_bits_on_threads_and_with_recompute(
    model: Any, atoms: Atoms, partitions: int, names: Collection[str], **options: Any
) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for n_threads, recompute in ((1, False), (2, False), (2, True)):
            torch.set_num_threads(n_threads)
            found.append(native_results(model, atoms, partitions, recompute=recompute, **options))
    finally:
        torch.set_num_threads(before)
    for results in found[1:]:
        assert_same_bits(results, found[0], names)


def assert_not_native(model: Any, atoms: Atoms, message: str, **options: Any) -> None:
    """Native stages name what they do not know, and the model's own modules run."""
    with pytest.raises(NotNativeError, match=f"kernels='fused', but {message}"):
        DistCalculator(model, devices="cpu", kernels="fused", **options).get_forces(atoms)
    used = DistCalculator(model, devices="cpu", **options)
    assert used.plan(atoms).kernels.startswith("the model's own modules: ")
    used.get_forces(atoms)
