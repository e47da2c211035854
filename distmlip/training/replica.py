"""Lets a replica compute with the parameters of the user's model, so that gradients reach them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from distmlip.errors import UnsupportedModelError
from distmlip.models.replicate import replicate

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
        own = {id(parameter): name for name, parameter in model.named_parameters()}
        if any(id(parameter) in own for parameter in replica.parameters()):
            replica = replicate(replica, device, dtype)  # it is the user's own object
        self.module = replica
        self._device, self._dtype = device, dtype
        self._slots: list[tuple[Any, str, nn.Parameter]] = []
        strange: list[str] = []
        for path, part in replica.named_modules():
            for name, parameter in part.named_parameters(recurse=False, remove_duplicate=False):
                original = getattr(parameter, "original", None)
                if id(original) in own:
                    self._slots.append((part, name, cast(nn.Parameter, original)))
                else:
                    strange.append(f"{path}.{name}")
        reached = {id(original) for _, _, original in self._slots}
        missing = [name for key, name in own.items() if key not in reached]
        if missing or strange:
            raise UnsupportedModelError(
                f"the stages of a {type(model).__name__} do not compute with all of its parameters as they "
                f"are, so it cannot be trained over partitions: without gradients would be {_some(missing)}; "
                f"copies without an original are {_some(strange)}"
            )

    def renew(self, shared: Mapping[int, torch.Tensor]) -> None:
        """Take the parameters over. What is computed until the next time belongs to one autograd graph.

        ``shared``: what takes the place of parameters, by their id.
        """
        taken: dict[int, torch.Tensor] = {}
        for part, name, original in self._slots:
            if id(original) not in taken:
                parameter = shared.get(id(original), original)
                dtype = self._dtype if parameter.is_floating_point() else parameter.dtype
                # A new tensor also where nothing is copied: what is derived of parameters and kept as long as
                # these are the same tensors (CHGNet's joined layers) must be of this graph, not of the last.
                taken[id(original)] = parameter.to(self._device, dtype).view_as(original)
            part._parameters[name] = taken[id(original)]


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
