"""From evaluations to what ASE calls results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from distmlip.cell import volume_of
from distmlip.inputs import check_results
from distmlip.models.interface import Adapter, Evaluation

if TYPE_CHECKING:
    from ase import Atoms


def results_of(adapter: Adapter, atoms: Atoms, evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """The adapter's results of one evaluation per model, with stresses where the cell has a volume.

    Raises:
        NonFiniteResultError: an energy or a force is not a finite number.
    """
    results: dict[str, Any] = adapter.results(atoms, evaluations)
    check_results(results)
    volume = volume_of(atoms)
    if volume > 0 and adapter.conservative:
        virial = np.mean([evaluation.virial for evaluation in evaluations], axis=0)
        results["stress"] = full_3x3_to_voigt_6_stress(-virial / volume)
        virials = [evaluation.virials for evaluation in evaluations if evaluation.virials is not None]
        if virials:
            results["stresses"] = full_3x3_to_voigt_6_stress(-np.mean(virials, axis=0) / volume)
    return results
