"""REANN over partitions: a halo exchange of coefficients before every recursion, and nothing else.

This is the scheme of "parallel message passing among local atoms only" (arXiv 2505.06711): each atom's
densities and coefficients are computed once, by the partition that owns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from distmlip.models.interface import Adapter, EagerStage, Halo, LocalGraph, Stage, Tensors, with_derived
from distmlip.models.replicate import replicate
from reann.model import REANN, REANNCalculator

ORBITALS = frozenset({"gaussians", "monomials"})


class REANNAdapter(Adapter):
    """For ``DistCalculator`` and ``DistModel``."""

    family = "REANN"

    def __init__(self, model: REANN, dtype: torch.dtype | None = None) -> None:
        """``dtype``: in which the model is evaluated; default: its own."""
        self.models = [model]
        self.cutoff = model.cutoff
        self.dtype = dtype or model.coefficients.dtype
        self.supported_numbers = frozenset(model.numbers)

    def stages(self, module: nn.Module, recompute: bool) -> Sequence[Stage]:
        """See :class:`Adapter`; one per recursion, and one more."""
        assert isinstance(module, REANN)
        stages = [(_stage(module, k), ORBITALS) for k in range(module.n_recursions + 1)]
        return with_derived(partial(_orbitals, module), stages, memoise=not recompute)

    def original(self, dtype: torch.dtype | None = None) -> REANNCalculator:
        """See :class:`Adapter`."""
        return REANNCalculator(replicate(self.models[0], torch.device("cpu"), dtype or self.dtype))


def _orbitals(model: REANN, graph: LocalGraph, vectors: Tensor, names: frozenset[str]) -> Tensors:
    gaussians, monomials = model.orbitals(vectors, model.elements(graph.numbers)[graph.senders])
    return {name: of for name, of in (("gaussians", gaussians), ("monomials", monomials)) if name in names}


def _stage(model: REANN, k: int) -> EagerStage:
    first, last = k == 0, k == model.n_recursions

    def function(graph: LocalGraph, _: Tensor, inputs: Tensors) -> Tensors:
        elements = model.elements(graph.numbers)
        coefficients = model.coefficients[elements] if first else inputs["coefficients"]
        densities = model.densities(
            k, coefficients, inputs["gaussians"], inputs["monomials"], graph.edge_index(), graph.n_owned
        )
        own = elements[: graph.n_owned]
        if last:
            return {"energy": model.energies(densities, own)}
        return {"coefficients": model.updated(k, coefficients[: graph.n_owned], densities, own)}

    return EagerStage(
        f"recursion {k}",
        function,
        before=() if first else (Halo("coefficients", (model.n_gaussians,)),),
        reads=() if first else ("coefficients",),
        writes=() if last else ("coefficients",),
        results=("energy",) if last else (),
        computes=("atoms", "edges"),
    )
