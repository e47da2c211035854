"""Lets a replica compute with the parameters of the user's model, so that gradients reach them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from distmlip.errors import UnsupportedModelError

MOST_NAMES = 5
"""In a message."""


class TrainableReplica:
    """A replica on one device; :meth:`renew` gives it the parameters that the user's model has now.

    Where device and dtype are the model's own it computes with these very parameters, else with copies that
    are differentiable, too. Buffers, which are not trained, are those that the model had when it was copied.
    """

    def __init__(
        self, replica: nn.Module, model: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> None:
        """
        Raises:
            UnsupportedModelError: some parameter of the model is not, as it is, one of the replica.
        """
        self.module = replica
        self._device, self._dtype = device, dtype
        self._slots: list[tuple[Any, str, nn.Parameter]] = []
        own = {id(parameter): name for name, parameter in model.named_parameters()}
        reached: set[int] = set()
        strange: list[str] = []
        for path, part in replica.named_modules():
            for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
                original = getattr(parameter, "original", parameter)
                if id(original) not in own:
                    strange.append(f"{path}.{name}")
                elif original is parameter:
                    _require_agreement(f"{path}.{name}", parameter, device, dtype)
                else:
                    self._slots.append((part, name, original))
                reached.add(id(original))
        missing = [name for key, name in own.items() if key not in reached]
        if missing or strange:
            raise UnsupportedModelError(
                f"the stages of a {type(model).__name__} do not compute with all of its parameters as they "
                f"are, so it cannot be trained over partitions: without gradients would be {_some(missing)}; "
                f"copies without an original are {_some(strange)}"
            )

    def renew(self) -> None:
        """Take the parameters over. What is computed until the next time belongs to one autograd graph."""
        taken: dict[int, torch.Tensor] = {}
        for part, name, original in self._slots:
            if id(original) not in taken:
                dtype = self._dtype if original.is_floating_point() else original.dtype
                # A new tensor also where nothing is copied: what is derived of parameters and kept as long as
                # these are the same tensors (CHGNet's joined layers) must be of this graph, not of the last.
                taken[id(original)] = original.to(self._device, dtype).view_as(original)
            part._parameters[name] = taken[id(original)]


def _require_agreement(name: str, parameter: nn.Parameter, device: torch.device, dtype: torch.dtype) -> None:
    if parameter.device != device or (parameter.is_floating_point() and parameter.dtype != dtype):
        raise UnsupportedModelError(
            f"{name} is {parameter.dtype} on {parameter.device}, and the adapter evaluates the model itself "
            f"and no copy, so that it cannot be {dtype} on {device}; convert the model"
        )


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
