"""What evaluates the inside of stages: native stages, or the model's own modules. Decided for each set of
elements, after both were compared with the original."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from ase import Atoms

from distmlip._native import core
from distmlip.choice import cache
from distmlip.choice.guard import Guard
from distmlip.choice.probe import versions
from distmlip.errors import InvalidInputError, NotNativeError, type_name
from distmlip.evaluation.evaluator import Evaluator
from distmlip.evaluation.settings import Settings
from distmlip.models.interface import Adapter
from distmlip.models.native import NativeChoice, TableSize
from distmlip.ranks.agreement import digest_of

TABLES = {
    torch.float32: (TableSize(36, 8), TableSize(36, 12), TableSize(64, 12)),
    torch.float64: (TableSize(32, 14), TableSize(48, 16)),
}
"""That are tried, the smallest one first."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """Which stages evaluate structures of some elements, and why."""

    numbers: tuple[int, ...]
    """Ascending atomic numbers."""
    native: NativeChoice | None
    """None: the model's own modules."""
    why: str
    """A part of a sentence: why not native stages, or why their radial functions are what they are."""
    differs: bool = False
    """Whether native stages were found to be off."""
    cause: Exception | None = field(default=None, compare=False)

    @property
    def in_words(self) -> str:
        """As the plan says it."""
        if self.native is None:
            return f"the model's own modules: {self.why}"
        table = self.native.table
        radial = "exact radial functions" if table is None else f"radial functions from tables of {table}"
        return f"native stages ({core.simd()}), {radial}{self.why and f', {self.why}'}"

    def covers(self, numbers: tuple[int, ...]) -> bool:
        """Whether it holds for these elements, too: native stages for some are right for fewer of them."""
        return self.numbers == numbers or (self.native is not None and set(numbers) <= set(self.numbers))

    def to_json(self) -> cache.Json:
        """Plain values, for a file."""
        values = asdict(self)
        del values["cause"]
        return values

    @classmethod
    def from_json(cls, values: cache.Json) -> Outcome:
        """Of what :meth:`to_json` gave.

        Raises:
            ValueError, TypeError, KeyError: it is something else.
        """
        numbers = tuple(int(number) for number in values["numbers"])
        native = values["native"]
        if native is not None:
            table = native["table"]
            native = NativeChoice(
                numbers, None if table is None else TableSize(int(table["cells"]), int(table["coefficients"]))
            )
        return cls(numbers, native, str(values["why"]), bool(values["differs"]))


OUTCOMES = cache.Shelf("kernels", Outcome.to_json, Outcome.from_json)
"""On disk: of comparisons, not of what is found out without one."""


class Kernels:
    """Has an evaluator use native stages where they suit the atoms. All ranks call this together."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._settings = evaluator.settings
        self._ranks = evaluator.settings.ranks
        self._outcomes: list[Outcome] = []
        self._now: Outcome | None = None
        self._numbers = np.zeros(0, np.int64)  # of the last atoms

    @property
    def in_words(self) -> str:
        """What evaluates the last atoms, and why."""
        return "" if self._now is None else self._now.in_words

    def settle(self, atoms: Atoms) -> bool:
        """Decide for these atoms, if that has not been done for their elements; whether other stages than
        before are used now."""
        before = self._evaluator.native
        if self._is_stale():
            self._evaluator.use(None)
            self._outcomes.clear()
            self._now = None
        elif np.array_equal(atoms.numbers, self._numbers):
            return False
        self._now = self._outcome(atoms)
        self._evaluator.use(self._now.native)
        self._numbers = atoms.numbers.copy()
        return self._evaluator.native != before

    def require(self) -> None:
        """
        Raises:
            NotNativeError: ``kernels="fused"``, but the model's own modules are used: with the reason.
            InvalidInputError: the same because tables were asked for, and are not exact enough.
        """
        if self._settings.kernels != "fused" or self._now is None or self._now.native is not None:
            return
        why = self._now.why
        if self._now.differs and self._settings.radial == "table":
            raise InvalidInputError(
                f"radial='table' and kernels='fused', but {why}; give radial='auto', or kernels='auto'"
            )
        raise NotNativeError(f"kernels='fused', but {why}; give kernels='auto'") from self._now.cause

    def _is_stale(self) -> bool:
        if self._evaluator.native is None:
            return False
        stale = self._evaluator.is_stale
        if self._ranks is None:
            return stale
        return bool(self._ranks.sum(np.array([float(stale)]))[0])

    def _outcome(self, atoms: Atoms) -> Outcome:
        numbers = numbers_of(atoms)
        now = [] if self._now is None else [self._now]  # whose stages are there already
        known = next((outcome for outcome in (*now, *self._outcomes) if outcome.covers(numbers)), None)
        if known is None:
            known = self._decided(atoms)
            self._outcomes.append(known)
        return known

    def _decided(self, atoms: Atoms) -> Outcome:
        adapter, settings, ranks = self._evaluator.adapter, self._settings, self._ranks
        if ranks is None:
            return decide(adapter, settings, atoms)
        devices = ranks.gather(str(settings.devices.devices[0]))
        other = next((device for device in devices if device != "cpu"), None)
        if settings.kernels != "original" and other is not None:
            return Outcome(numbers_of(atoms), None, _no_cpu(other))
        # Without the cause: not every exception can be pickled.
        found = replace(decide(adapter, settings, atoms), cause=None) if ranks.rank == 0 else None
        return ranks.broadcast(found)


def decide(adapter: Adapter, settings: Settings, atoms: Atoms) -> Outcome:
    """Native stages or the model's own modules, for structures of these atoms' elements.

    Looked up where it was found out before, by the model's weights, versions and the instruction set. Warns
    of native stages that are off.
    """
    numbers = numbers_of(atoms)
    why_not = _why_not(adapter, settings)
    if why_not:
        return Outcome(numbers, None, why_not)
    key = _key(adapter, settings, numbers)
    outcome = OUTCOMES.load(key)
    if outcome is None:
        try:
            outcome = _compared(adapter, settings, atoms)
        except Exception as error:  # whatever a model may raise on clusters that nobody asked for
            log.warning("native stages could not be compared with the original", exc_info=True)
            why = f"native stages could not be compared with the original: {type(error).__name__}: {error}"
            return Outcome(numbers, None, why, cause=error)
        if outcome.native is not None or outcome.differs:
            OUTCOMES.save(key, outcome)
    if outcome.differs and settings.kernels == "auto":
        log.warning("the model's own modules are used: %s", outcome.why)
    return outcome


def numbers_of(atoms: Atoms) -> tuple[int, ...]:
    """Ascending atomic numbers of the elements."""
    return tuple(np.unique(atoms.numbers).tolist())


def candidates(adapter: Adapter, numbers: tuple[int, ...], radial: str) -> Iterator[NativeChoice]:
    """Native stages that are tried, the fastest first."""
    if radial != "exact" and adapter.has_radial_tables:
        yield from (NativeChoice(numbers, table) for table in TABLES[adapter.dtype])
    if radial != "table" or not adapter.has_radial_tables:
        yield NativeChoice(numbers, None)


def _why_not(adapter: Adapter, settings: Settings) -> str:
    """Where there is nothing to compare."""
    if settings.kernels == "original":
        return "as asked for"
    other = next((device for device in settings.devices.devices if device.type != "cpu"), None)
    if other is not None:
        return _no_cpu(str(other))
    if type(adapter).native_stages is Adapter.native_stages:
        return f"there are no native stages for {adapter.family}"
    return ""


def _no_cpu(device: str) -> str:
    return f"native stages are for CPUs, and {device} is none"


def _compared(adapter: Adapter, settings: Settings, atoms: Atoms) -> Outcome:
    """The first candidate that agrees with the original; if there is none, what the last one lacks."""
    numbers = numbers_of(atoms)
    guard = Guard(adapter, settings.devices.devices[0], settings.devices.slots[0], atoms)
    off, unknown = "", None
    for choice in candidates(adapter, numbers, settings.radial):
        try:
            complaint = guard.complaint(choice)
        except NotNativeError as error:
            unknown = error
            continue
        if not complaint:
            these = "tables" if choice.table is None else "smaller ones"
            why = f"because {these} are not as exact" if off else ""
            return Outcome(numbers, choice, why)
        off = complaint
    if off:
        return Outcome(numbers, None, f"native stages differ from the original: {off}", differs=True)
    return Outcome(numbers, None, str(unknown), cause=unknown)


def _parts(models: Sequence[torch.nn.Module]) -> str:
    """A short name of models apart from their weights: their parts' types and plain attributes."""
    digest, of_all = hashlib.blake2b(digest_size=16), set(vars(torch.nn.Module()))
    for model in models:
        for name, part in model.named_modules():
            plain = [
                f"{key}={getattr(value, '__qualname__', type_name(value)) if callable(value) else value!r}"
                for key, value in sorted(vars(part).items())
                if key not in of_all and (callable(value) or isinstance(value, str | int | float))
            ]
            digest.update(f"{name} {type_name(part)} {plain}\n".encode())
    return str(digest.hexdigest())


def _key(adapter: Adapter, settings: Settings, numbers: tuple[int, ...]) -> cache.Key:
    """What an outcome depends on."""
    plain = {name: value for name, value in vars(adapter).items() if isinstance(value, str | int | float)}
    return {
        "model": [f"{adapter.family} {type_name(model)}" for model in adapter.models],
        "weights": digest_of(adapter.models, {}, with_buffers=True),
        "parts": _parts(adapter.models),
        "options": {name: plain[name] for name in sorted(plain)},
        "numbers": numbers,
        "dtype": str(adapter.dtype),
        "radial": settings.radial,
        "simd": core.simd(),
        "versions": versions(adapter.models[0]),
    }
