from __future__ import annotations

import psutil
import pytest
import torch

from distmlip.machine import memory


def test_free_memory_is_that_of_the_machine_or_of_its_container() -> None:
    free = memory.available_bytes(torch.device("cpu"))
    assert 0 < free <= 1.5 * psutil.virtual_memory().available


@pytest.mark.parametrize(
    ("machine", "group", "own", "n_processes", "expected"),
    [
        (1000, None, None, 1, 1000),
        (1000, 600, None, 1, 600),
        (1000, 600, None, 4, 150),  # of which every process has a share
        (1000, None, 100, 4, 100),  # which every process has for itself
        (1000, 600, 200, 4, 150),
        (None, None, None, 4, 2**62),
    ],
)
def test_processes_share_what_is_the_machines_and_not_what_is_their_own(
    machine: int | None,
    group: int | None,
    own: int | None,
    n_processes: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "_of_machine", lambda: machine)
    monkeypatch.setattr(memory, "control_group_bytes", lambda: group)
    monkeypatch.setattr(memory, "process_bytes", lambda: own)
    assert memory.available_bytes(torch.device("cpu"), n_processes) == expected


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
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5.05 GB)"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA could not start a scan: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: CUSOLVER_STATUS_ALLOC_FAILED"), True),
        (
            RuntimeError("UR backend returns:39 (UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY)"),
            True,
        ),
        (RuntimeError("Failed to allocate 4194304 bytes on device 'cuda:0'"), True),
        (RuntimeError("Failed to allocate memory during graph capture because pools are not enabled"), False),
        (RuntimeError("CUDA could not start a kernel: invalid device function"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("DefaultCPUAllocator: can't allocate memory"), False),
    ],
)
def test_other_errors_are_not(error: Exception, is_it: bool) -> None:
    assert memory.is_out_of_memory(error) == is_it
