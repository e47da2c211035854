"""How a calculator keeps results: ASE's properties apart from a model's own, as long as they are true, also
in copies."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_properties
from torch import Tensor, equal

from distmlip.cell import volume_of
from distmlip.inputs import checked_atoms
from distmlip.torch_modes import usual_modes

if TYPE_CHECKING:
    from ase import Atoms


class KeepsResults(Calculator):
    """An ASE calculator whose ``results`` are ASE's properties, and whose ``extras`` are all others.

    It is made of a model and options, which copies share.
    """

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__()
        self._arguments = (model, options)
        self._extras: dict[str, Any] = {}
        self._read: dict[str, Tensor] = {}  # at the last calculation, by value

    @abstractmethod
    def _reads(self, atoms: Atoms) -> Mapping[str, Tensor]:
        """What results depend on besides what ASE compares: charge, spin, …"""

    @abstractmethod
    def _turn(self) -> AbstractContextManager[None]:
        """One thread at a time."""

    def _keep(self, read: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
        """Results that were calculated for atoms of which this was read."""
        self._read = {name: tensor.clone() for name, tensor in read.items()}
        self._extras = {name: value for name, value in found.items() if name not in all_properties}
        self.results = {name: value for name, value in found.items() if name in all_properties}

    @property
    def extras(self) -> Mapping[str, Any]:
        """What the original's results have besides ASE's properties, such as ``node_energy`` of MACE."""
        return self._extras if self.results else {}

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:
        """ASE's way to one result, and to one of ``extras``; calculates if something has changed.

        Raises:
            PropertyNotImplementedError: there is no such result for this model, or for these atoms.
        """
        with self._turn():
            target = checked_atoms(atoms) if atoms is not None else self.atoms
            known = name in self.implemented_properties
            if known and target is not None and _needs_a_volume(name) and volume_of(target) == 0:
                if not allow_calculation:
                    return None
                raise PropertyNotImplementedError(_no_volume(name, target))
            if not known or name in all_properties:
                return super().get_property(name, atoms, allow_calculation)
            return self._extra(name, atoms, allow_calculation)

    def _extra(self, name: str, atoms: Atoms | None, allow_calculation: bool) -> Any:
        changes = [] if atoms is None else self.check_state(atoms)
        if changes or name not in self.extras:
            if not allow_calculation:
                return None
            self.calculate(atoms, [name], changes)
        if name not in self.extras:
            raise PropertyNotImplementedError(f"the model gives no {name} for these atoms")
        return copy.copy(self.extras[name])

    def calculation_required(self, atoms: Atoms, properties: Sequence[str]) -> bool:
        """Whether some of the properties would have to be calculated for these atoms (ASE's contract)."""
        others = [name for name in properties if name not in self.extras]
        return bool(super().calculation_required(atoms, others))

    @usual_modes()
    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; also quantities such as the charge in ``atoms.info``."""
        changes: list[str] = super().check_state(checked_atoms(atoms), tol=tol)
        if self.results and not changes and not _equal(self._reads(atoms), self._read):
            changes.append("info")
        return changes

    def reset(self) -> None:
        """Forget the results and the atoms that they belong to."""
        super().reset()
        self._extras = {}

    def with_options(self, **changes: Any) -> Self:
        """A calculator of the same model with some options changed, and without results."""
        model, options = self._arguments
        return type(self)(model, **{**options, **changes})

    def __copy__(self) -> Self:
        twin = self.with_options()
        twin.__setstate__(self._state())
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # the model is never changed, so copies share it

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), *self._arguments), self._state()

    def _state(self) -> dict[str, Any]:
        """What a copy has besides what it is made from: the results, and the atoms that they belong to."""
        state = copy.deepcopy({name: getattr(self, name) for name in ("results", "_extras", "_read")})
        # Atoms that somebody else has set here may have this calculator.
        return {"atoms": None if self.atoms is None else self.atoms.copy(), **state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def _rebuild(kind: type[KeepsResults], model: Any, options: dict[str, Any]) -> KeepsResults:
    return kind(model, **options)


def _needs_a_volume(name: str) -> bool:
    return name.partition("_")[0] in ("stress", "stresses")  # stress_var, … of a committee, too


def _no_volume(name: str, atoms: Atoms) -> str:
    return (
        f"there is no {name}: the cell {atoms.cell.array.tolist()} of these {len(atoms)} atoms has no "
        "volume; give them one, for example with atoms.center(vacuum=10)"
    )


def _equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
