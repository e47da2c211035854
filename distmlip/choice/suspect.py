"""Which native stage is off, where a comparison has found that something is."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import torch
from ase import Atoms
from torch import Tensor

from distmlip._native import core
from distmlip.evaluation.evaluator import Evaluator
from distmlip.models.interface import LocalGraph, Stage, Tensors

NOISE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Of the largest component: what stages may differ by if they compute the same."""

log = logging.getLogger(__name__)


def suspect(own: Evaluator, native: Evaluator, atoms: Atoms) -> str:
    """The native stage that differs most from the model's own modules, given the same inputs, in words; empty
    if none does, or if native stages end elsewhere. ``own`` has as many partitions as are compared, and
    computes stages again."""
    try:
        found = _differences(own, native, atoms)
    except Exception:  # the difference is known; where it comes from would only be welcome
        log.debug("native stages could not be compared one by one", exc_info=True)
        return ""
    worst = max(found, key=lambda stage: found[stage])
    return f"stage {worst!r}" if found[worst] > NOISE[own.adapter.dtype] else ""


def mismatch(own: Sequence[Stage], native: Sequence[Stage]) -> str:
    """Results that native stages and the model's own do not share, in words; empty if there are none."""
    for field in ("results", "system_results"):
        of_own, of_native = (
            sorted(name for stage in stages for name in getattr(stage, field)) for stages in (own, native)
        )
        if of_own != of_native:
            return f"{field} of native stages are {of_native}, of the model's own {of_own}"
    return ""


def _differences(own: Evaluator, native: Evaluator, atoms: Atoms) -> dict[str, float]:
    """Of each stage, as a share of the largest component."""
    graphs = own.graphs.at(atoms, own.adapter.system(atoms))
    crossing = core.Crossing(own.graphs.native.step)
    states: list[Tensors] = [{} for _ in graphs]
    found: dict[str, float] = {}
    for one, other in zip(own.stages(), native.stages(), strict=True):
        rows = [[state[exchange.name] for state in states] for exchange in one.before]
        crossed = crossing.cross(one.before, rows, adjoint=False) if rows else []
        for p, (graph, state) in enumerate(zip(graphs, states, strict=True)):
            inputs = {name: state[name] for name in one.reads}
            inputs |= {exchange.name: of[p] for exchange, of in zip(one.before, crossed, strict=True)}
            outputs, difference = _difference(one, other, graph, inputs)
            state.update(outputs)
            found[one.name] = max(found.get(one.name, 0.0), difference)
    return found


def _difference(one: Stage, other: Stage, graph: LocalGraph, inputs: Tensors) -> tuple[Tensors, float]:
    """What the first stage gives, and by how much the other one differs: outputs and gradients."""
    outputs, go_back = one.run(graph, dict(inputs), keep=True)
    others, others_go_back = other.run(graph, dict(inputs), keep=True)
    names = [name for name in (*one.writes, *one.results) if name in one.writes or name == "energy"]
    weights = {
        name: torch.linspace(0.5, 1.5, tensor.numel(), dtype=tensor.dtype).reshape(tensor.shape)
        for name, tensor in outputs.items()
        if name in names and tensor.is_floating_point()
    }
    gradients, edges = go_back(dict(weights))
    others_gradients, others_edges = others_go_back(dict(weights))
    pairs = [
        (edges, others_edges),
        *((outputs[name], others[name]) for name in (*one.writes, *one.results, *one.system_results)),
        *((gradients.get(name), others_gradients.get(name)) for name in gradients | others_gradients),
    ]
    return outputs, max(_relative(first, second) for first, second in pairs)


def _relative(first: Tensor | None, second: Tensor | None) -> float:
    """Of two tensors; None stands for zeros."""
    there = [tensor.double() for tensor in (first, second) if tensor is not None and tensor.numel()]
    if not there:
        return 0.0
    difference = float((there[0] - there[1]).abs().max()) if len(there) == 2 else float(there[0].abs().max())
    size = max(float(tensor.abs().max()) for tensor in there)
    if math.isfinite(size) and math.isfinite(difference):
        return difference / size if size > 0 else 0.0
    return math.inf
