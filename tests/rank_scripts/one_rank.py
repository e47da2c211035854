"""One rank: the collectives of a group, with itself, over the backend and on the device that are named."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
from support.launching import PASSED

from distmlip._native import core

backend, device = sys.argv[1], torch.device(sys.argv[2])
dist.init_process_group(backend)
ranks = core.RankGroup(dist.new_group(backend=backend).group_name, device)
tensor = torch.arange(6, dtype=torch.float64, device=device)
received, counts = ranks.all_to_all(tensor, [6])
assert counts == [6]
assert torch.equal(received, tensor)
total = tensor.clone()
ranks.all_sum(total)
ranks.broadcast(total)
assert torch.equal(total, tensor)
dist.destroy_process_group()
print(PASSED, flush=True)
