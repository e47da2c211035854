"""One rank: the collectives of a group over NCCL, with itself."""

from __future__ import annotations

import torch
import torch.distributed as dist
from support.launching import PASSED

from distmlip._native import core

dist.init_process_group("nccl")
ranks = core.RankGroup(dist.new_group(backend="nccl").group_name, torch.device("cuda"))
tensor = torch.arange(6, dtype=torch.float64, device="cuda")
received, counts = ranks.all_to_all(tensor, [6])
assert counts == [6]
assert torch.equal(received, tensor)
total = tensor.clone()
ranks.all_sum(total)
ranks.broadcast(total)
assert torch.equal(total, tensor)
dist.destroy_process_group()
print(PASSED, flush=True)
