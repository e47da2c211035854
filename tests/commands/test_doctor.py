"""What the doctor says of GPUs, builds and drivers, which are made up: there are none here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distmlip._native import core
from distmlip.commands import doctor
from distmlip.commands.doctor import Finding

Machine = Callable[..., dict[str, Finding]]


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The findings on a machine with these devices, torch, driver and build of distmlip."""

    def examined(
        devices: list[str],
        *,
        with_kernels: bool = False,
        architectures: str = "",
        nvcc: str = "",
        driver: str | None = None,
        **torch_is_for: str,
    ) -> dict[str, Finding]:
        built = importlib.import_module("distmlip._built_for")
        monkeypatch.setattr(built, "CUDA_ARCHITECTURES", architectures)
        monkeypatch.setattr(built, "CUDA_VERSION", nvcc)
        monkeypatch.setattr("distmlip._native.core.has_kernels", lambda device: with_kernels)
        monkeypatch.setattr(doctor, "accelerators", lambda: [torch.device(name) for name in devices])
        monkeypatch.setattr(doctor, "name_of", lambda device: "card")
        monkeypatch.setattr(doctor, "nvidia_driver", lambda: driver)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
        for name in ("cuda", "hip", "xpu"):
            monkeypatch.setattr(torch.version, name, torch_is_for.get(name))
        return {finding.what: finding for finding in (doctor._accelerators(), doctor._graphs())}

    return examined


def test_a_machine_without_gpus(examined: Machine) -> None:
    found = examined([])
    assert not found["accelerators"].works
    assert "sees none, calculations run on the CPU" in found["accelerators"].detail
    assert "built for the CPU, no NVIDIA driver is loaded" in found["accelerators"].detail
    assert found["graphs"] == Finding("graphs", True, "made on the CPU; this build has no CUDA kernels")


def test_a_build_with_kernels_on_its_gpus(examined: Machine) -> None:
    found = examined(
        ["cuda:0", "cuda:1"],
        with_kernels=True,
        architectures="80-real;90-real;90-virtual",
        nvcc="13.0.88",
        driver="580.65.06",
        cuda="13.0",
    )
    assert all(finding.works for finding in found.values())
    detail = found["accelerators"].detail
    assert "cuda:0 card, cuda:1 card" in detail
    assert "built for CUDA 13.0, the NVIDIA driver is 580.65.06" in detail
    assert found["graphs"].detail == (
        "made on cuda:0, cuda:1; this build has CUDA kernels of nvcc 13.0.88 for 80-real, 90-real, 90-virtual"
    )


KERNELS = {"architectures": "80-real", "nvcc": "13.0.88"}


@pytest.mark.parametrize(
    ("device", "machine", "remedy"),
    [
        ("cuda:0", {"cuda": "13.0"}, "no CUDA kernels; put nvcc 12.6 or newer on PATH and build again: pip"),
        ("cuda:0", {"cuda": "12.6", "driver": "550.54", **KERNELS}, "CUDA 13 needs driver 580 or newer"),
        ("cuda:0", {"cuda": "13.0", "driver": "580.65", **KERNELS}, "build again with CUDAARCHS=75"),
        ("cuda:0", {"hip": "7.0", **KERNELS}, "kernels for NVIDIA's GPUs only"),
        ("xpu:0", {"xpu": "2025"}, "kernels for NVIDIA's GPUs only"),
    ],
)  # fmt: skip
def test_a_gpu_that_no_kernel_runs_on(
    device: str, machine: dict[str, str], remedy: str, examined: Machine
) -> None:
    found = examined([device], **machine)
    assert found["accelerators"].works
    assert not found["graphs"].works
    assert f"made on the CPU and moved to {device}" in found["graphs"].detail
    assert remedy in found["graphs"].detail


@pytest.mark.parametrize(
    ("machine", "remedy"),
    [
        ({"driver": "580.65"}, "install a torch for CUDA 13 and build distmlip again"),
        ({"driver": "550.54"}, "install a torch for CUDA 12 and build distmlip again"),
        ({"driver": "470.1"}, "(CUDA 12 needs driver 525 or newer)"),
        ({"cuda": "13.0", "driver": "550.54"}, "CUDA 13 needs driver 580 or newer: update it, or install"),
    ],
)  # fmt: skip
def test_a_gpu_that_torch_does_not_see(machine: dict[str, str], remedy: str, examined: Machine) -> None:
    found = examined([], **machine)
    assert not found["accelerators"].works
    assert remedy in found["accelerators"].detail


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56\n", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n", "580.65.06"),
        ("something else\n", None),
    ],
)  # fmt: skip
def test_the_version_of_the_driver(text: str, version: str | None, tmp_path: Path) -> None:
    (tmp_path / "version").write_text(text)
    assert doctor.nvidia_driver(tmp_path / "version") == version
    assert doctor.nvidia_driver(tmp_path / "missing") is None


def test_the_instruction_set_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTMLIP_ISA", raising=False)
    has = ", ".join(core.simd_levels)
    found = doctor._instruction_set()
    assert found == Finding("instruction set", True, f"{core.simd()} runs; this processor has {has}")
    monkeypatch.setenv("DISTMLIP_ISA", core.simd())
    assert f"runs, as DISTMLIP_ISA={core.simd()} in the environment says;" in doctor._instruction_set().detail
