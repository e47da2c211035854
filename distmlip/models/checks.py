"""What an adapter says of its stages, checked: mistakes are named where they are, not where they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.models.exchanges import Exchange
from distmlip.models.local_graph import LocalGraph
from distmlip.models.stages import Pullback, Stage, Tensors

NAMES = tuple(field.name for field in fields(Stage) if field.name not in ("name", "before", "is_cheap"))
WITH_BONDS = ("bonds", "angles")


@dataclass(frozen=True)
class CheckedStage(Stage):
    """A :class:`Stage` that looks at what another one returns before it goes any further."""

    stage: Stage
    leaving: tuple[Exchange, ...]
    """Exchanges before later stages of what this one writes."""

    @property
    def native(self) -> core.NativeStage | None:
        """That of the other one: it gives what it says."""
        return self.stage.native

    def run(self, graph: LocalGraph, inputs: Tensors, keep: bool) -> tuple[Tensors, Pullback]:
        """As the other one does; looks at the outputs."""
        outputs, pullback = self.stage.run(graph, inputs, keep)
        self.check(graph, outputs)
        return outputs, pullback

    def check(self, graph: LocalGraph, outputs: Tensors) -> None:
        """Raise InvalidInputError if these are not what the stage says that it gives."""
        for name in (*self.writes, *self.results, *self.system_results):
            if not isinstance(outputs.get(name), Tensor):
                raise InvalidInputError(
                    f"stage {self.name!r} says that it gives {name!r}, but it returned only {sorted(outputs)}"
                )
        for exchange in self.leaving:
            self._require_shape(outputs, exchange.name, exchange.shape(graph))
        for name in self.results:
            width = () if name == "energy" else tuple(outputs[name].shape[1:])
            self._require_shape(outputs, name, (graph.n_owned, *width))

    def _require_shape(self, outputs: Tensors, name: str, shape: tuple[int, ...]) -> None:
        if outputs[name].shape != shape:
            raise InvalidInputError(
                f"stage {self.name!r} gives {name!r} with shape {tuple(outputs[name].shape)}; as a result, "
                f"or as what is exchanged before a later stage, it must be {shape}"
            )


def checked(stages: Sequence[Stage], *, has_bonds: bool, conservative: bool) -> list[CheckedStage]:
    """The stages, each of which will check what it returns.

    Raises:
        InvalidInputError: they do not fit together.
    """
    stages = list(stages)
    if not stages:
        raise InvalidInputError("the adapter has no stages; it needs at least one")
    written: set[str] = set()
    for stage in stages:
        _check_names(stage, has_bonds)
        _check_exchanges(stage, has_bonds)
        missing = sorted(set(stage.reads) - written)
        if missing:
            raise InvalidInputError(
                f"stage {stage.name!r} reads {missing}, which no stage before it writes; written are "
                f"{sorted(written)}"
            )
        written |= set(stage.writes)
    if conservative and "energy" not in stages[-1].results:
        raise InvalidInputError(
            f"results of the last stage, {stages[-1].name!r}, are {list(stages[-1].results)}; 'energy' must "
            "be one of them, because forces are its gradient"
        )
    return [_checked(stage, stages[k + 1 :]) for k, stage in enumerate(stages)]


def _check_names(stage: Stage, has_bonds: bool) -> None:
    for field in NAMES:
        names = getattr(stage, field)
        if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
            raise InvalidInputError(
                f"{field} of stage {stage.name!r} is {names!r}; it must be a tuple of names, such as ('x',)"
            )
    known = ("atoms", "edges", *(WITH_BONDS if has_bonds else ()))
    unknown = sorted(set(stage.computes) - set(known))
    if unknown:
        raise InvalidInputError(
            f"computes of stage {stage.name!r} has {unknown}; known are {list(known)}"
            + ("" if has_bonds else f", and {list(WITH_BONDS)} if the adapter has a bond_cutoff")
        )


def _check_exchanges(stage: Stage, has_bonds: bool) -> None:
    if not isinstance(stage.before, tuple | list):
        raise InvalidInputError(
            f"before of stage {stage.name!r} is {stage.before!r}; it must be a tuple of exchanges, such as "
            "(Halo('x', (64,)),)"
        )
    if stage.is_cheap and stage.before:
        raise InvalidInputError(
            f"{stage.before[0]} before stage {stage.name!r}: nothing may cross partitions before a stage "
            "with is_cheap=True"
        )
    seen: set[str] = set()
    for exchange in stage.before:
        if not isinstance(exchange, Exchange):
            raise InvalidInputError(
                f"before of stage {stage.name!r} has {exchange!r}; it must be a Halo, Fold, Add, Swap or "
                "AllSum"
            )
        width = exchange.width
        if not isinstance(width, tuple | list) or not all(isinstance(n, int) and n >= 0 for n in width):
            raise InvalidInputError(
                f"{exchange} before stage {stage.name!r}: width must be a tuple of numbers, such as (64,)"
            )
        if exchange.needs_bonds and not has_bonds:
            raise InvalidInputError(
                f"{exchange} before stage {stage.name!r} needs bonds; set the adapter's bond_cutoff"
            )
        if exchange.name not in stage.reads or exchange.name in seen:
            raise InvalidInputError(
                f"{exchange} before stage {stage.name!r}: every name must be in the stage's reads, and be "
                f"exchanged once; it reads {list(stage.reads)}"
            )
        seen.add(exchange.name)


def _checked(stage: Stage, later: Sequence[Stage]) -> CheckedStage:
    leaving: list[Exchange] = []
    names = set(stage.writes)
    for reader in later:
        leaving += [exchange for exchange in reader.before if exchange.name in names]
        names -= set(reader.writes)
    own = {field: tuple(getattr(stage, field)) for field in ("before", *NAMES)}
    return CheckedStage(stage.name, stage, tuple(leaving), is_cheap=stage.is_cheap, **own)
