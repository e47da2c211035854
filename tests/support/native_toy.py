"""Toy models with stages that stand for native ones: right, or wrong so that a comparison has to find it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from ase.calculators.calculator import Calculator
from support.toy import ToyAdapter, ToyModel, ToyOnDevices
from torch import Tensor

from distmlip import DistCalculator
from distmlip.errors import NotNativeError
from distmlip.models.interface import EagerStage, LocalGraph, NativeChoice, Stage, Tensors

_numbers = itertools.count()

Wrong = Callable[[NativeChoice, LocalGraph, Tensors], Tensors]
"""What the last stage is given, spoilt."""


class NativeToy(ToyOnDevices):
    """Its native stages take the values of weights when they are built, as those of the core do."""

    def __init__(
        self,
        wrong: Wrong | None = None,
        unknown: str | Callable[[NativeChoice], str] = "",
        dtype: torch.dtype = torch.float64,
        model: ToyModel | None = None,
        head: str = "",
    ) -> None:
        """``unknown``: the part of the model that native stages do not know. ``head``: an option of the
        family, by default one that no other adapter has, so that nothing is found of it on disk."""
        super().__init__([model or ToyModel()], dtype)
        self.head = head or f"head {next(_numbers)}"
        self.wrong = wrong
        self.unknown = unknown
        self.built: list[NativeChoice] = []
        self.n_originals = 0

    def native_stages(self, index: int, choice: NativeChoice, recompute: bool) -> Sequence[Stage]:
        unknown = self.unknown if isinstance(self.unknown, str) else self.unknown(choice)
        if unknown:
            raise NotNativeError(f"{unknown}, which native stages do not know")
        self.built.append(choice)
        *others, last = super().stages(self._packed(index), recompute=True)
        assert isinstance(last, EagerStage)
        return [*others, replace(last, function=_spoilt(last, self.wrong, choice))]

    def _packed(self, index: int) -> ToyModel:
        return copy.deepcopy(self.models[index]).to(self.dtype)

    def original(self, dtype: torch.dtype | None = None) -> Calculator:
        assert dtype == torch.float64
        self.n_originals += 1
        return DistCalculator(
            ToyAdapter(self.models), devices="cpu", partitions=1, kernels="original", ranks=False
        )


def _spoilt(
    stage: EagerStage, wrong: Wrong | None, choice: NativeChoice
) -> Callable[[LocalGraph, Tensor, Tensors], Tensors]:
    def function(graph: LocalGraph, vectors: Tensor, inputs: Tensors) -> Tensors:
        return stage.function(graph, vectors, inputs if wrong is None else wrong(choice, graph, inputs))

    return function


def by(error: float, rows: Callable[[LocalGraph], slice] = lambda graph: slice(None)) -> Wrong:
    """Features of some rows are off by this share."""

    def wrong(choice: NativeChoice, graph: LocalGraph, inputs: Tensors) -> Tensors:
        features = inputs["features"]
        factor = torch.ones_like(features[:, :1])
        factor[rows(graph)] += error
        return {**inputs, "features": features * factor}

    return wrong


def halo_rows(graph: LocalGraph) -> slice:
    """Those of other partitions."""
    return slice(graph.n_owned, None)


def tables_by(errors: Callable[[NativeChoice], float]) -> Wrong:
    """Off by what the choice of tables says."""

    def wrong(choice: NativeChoice, graph: LocalGraph, inputs: Tensors) -> Tensors:
        return by(errors(choice))(choice, graph, inputs)

    return wrong
