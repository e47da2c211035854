"""ASE calculators that add something to a model's calculator: what to distribute of them, and how."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ase.calculators.calculator import BaseCalculator
from ase.calculators.mixing import LinearCombinationCalculator, Mixer

from distmlip.errors import UnsupportedModelError
from distmlip.models.interface import ModelLike

HOLDERS = ("dft", "calculator")
"""Attributes, and arguments, of calculators that correct another one's results: dispersion corrections of
ASE and torch_dftd, formation energies of fairchem."""


def refuse_mixture(calculator: ModelLike, is_supported: Callable[[ModelLike], bool]) -> None:
    """A mixture is no model, but the calculator of one may be a part of it.

    ``is_supported``: whether a part could be distributed.

    Raises:
        UnsupportedModelError: there is such a part; the message says how to mix again.
    """
    kind = type(calculator).__name__
    if isinstance(calculator, Mixer | LinearCombinationCalculator):
        mixer = calculator if isinstance(calculator, Mixer) else calculator.mixer
        members = [f"calcs[{k}]" for k in range(len(mixer.calcs))]
        models = [is_supported(member) for member in mixer.calcs]
        if any(models):
            parts = [
                f"DistCalculator({member})" if is_model else member
                for member, is_model in zip(members, models, strict=True)
            ]
            raise UnsupportedModelError(
                f"{kind} mixes {' and '.join(type(member).__name__ for member in mixer.calcs)}; distribute "
                f"the {_names(mixer.calcs, models)} and mix again: with calcs = calculator"
                f"{'' if mixer is calculator else '.mixer'}.calcs, {_again(parts, mixer.weights)}"
            )
    for name in HOLDERS:
        part = getattr(calculator, name, None) if isinstance(calculator, BaseCalculator) else None
        if part is not None and is_supported(part):
            raise UnsupportedModelError(
                f"{kind} corrects the results of a {type(part).__name__}; distribute that one, and make the "
                f"{kind} anew: {kind}({name}=DistCalculator(calculator.{name}), ...)"
            )


def _names(members: list[BaseCalculator], models: list[bool]) -> str:
    return " and the ".join(type(m).__name__ for m, is_model in zip(members, models, strict=True) if is_model)


def _again(parts: list[str], weights: Sequence[float]) -> str:
    calculators = f"[{', '.join(parts)}]"
    if all(weight == 1 for weight in weights):
        return f"SumCalculator({calculators})"
    return f"LinearCombinationCalculator({calculators}, {list(map(float, weights))})"
