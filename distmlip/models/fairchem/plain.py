"""What makes a copy of a fairchem model compute the same in every call, and nothing but what it has to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from fairchem.core.models.uma.nn.embedding import ChgSpinEmbedding
from fairchem.core.models.uma.nn.execution_backends import get_execution_backend
from torch.overrides import TorchFunctionMode

from distmlip.models.replicate import cast_inputs

if TYPE_CHECKING:
    from fairchem.core.models.uma.escn_md import eSCNMDBackbone


class FixedRoll(TorchFunctionMode):
    """Sets the roll of every edge's frame about the edge to 0, where fairchem draws an angle at random.

    Energies do not depend on it (with ``act_type="s2"`` by the resolution of its grid), but random numbers
    are the user's, and a stage that is computed again has to give the same. Only the thread that enters it is
    affected.
    """

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is torch.rand:
            func = torch.zeros
        elif func is torch.rand_like:
            func = torch.zeros_like
        return func(*args, **(kwargs or {}))


def make_plain(backbone: eSCNMDBackbone, dtype: torch.dtype) -> None:
    """Let a copy of a backbone run without checkpointing, on any device and in any dtype."""
    plain = get_execution_backend("general")
    for part in (backbone, backbone.edge_degree_embedding, *(block.edge_wise for block in backbone.blocks)):
        part.backend = plain
        part.activation_checkpoint_chunk_size = None
    for part in backbone.modules():
        if isinstance(part, ChgSpinEmbedding) and part.embedding_type == "lin_emb":
            cast_inputs(part.lin_emb, dtype)  # it is given float32
