from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from distmlip.models.replicate import replicate


@pytest.fixture
def new_parameters_on_conversion() -> Iterator[None]:
    """What torch does for kinds of devices whose tensors it cannot put into a parameter that is there."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield
    torch.__future__.set_overwrite_module_params_on_conversion(False)


@pytest.mark.usefixtures("new_parameters_on_conversion")
def test_parameters_know_their_originals_wherever_they_were_moved() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    replica = replicate(model, torch.device("cpu"), torch.float64)
    for own, copied in zip(
        model.parameters(),
        (replica[0].weight, replica[0].bias, replica[1].bias),
        strict=True,
    ):
        assert copied.dtype == torch.float64
        assert copied.original is own
    assert replica[1].weight.original is model[0].weight
