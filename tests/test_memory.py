from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch

from distmlip import memory


def test_free_memory_is_that_of_the_machine_or_of_its_container() -> None:
    free = memory.available_bytes(torch.device("cpu"))
    assert 0 < free <= 1.5 * psutil.virtual_memory().available


def test_a_containers_limit_counts_without_what_it_can_give_back(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._of_control_group(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._of_control_group(tmp_path) is None
    assert memory._of_control_group(tmp_path / "nowhere") is None


def test_an_allocation_that_no_machine_can_make_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**56, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_other_errors_are_not(error: Exception, is_it: bool) -> None:
    assert memory.is_out_of_memory(error) == is_it
