"""What is installed here, and whether it works."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
from packaging.version import Version
from rich.markup import escape
from rich.table import Table

from distmlip.machine.devices import accelerators, name_of
from distmlip.models import FAMILIES, Family

PACKAGES = ["distmlip", "torch", "numpy", "ase"]

DRIVERS = {12: 525, 13: 580}
"""The oldest NVIDIA driver for what was made with each CUDA, whatever its minor version."""

OLDEST_NVCC = "12.6"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    works: bool
    detail: str


def examine() -> list[Finding]:
    """Look at the versions, the compiled core, the model families and the devices."""
    return [
        Finding("python", True, platform.python_version()),
        *(_version(package) for package in PACKAGES),
        _core(),
        _instruction_set(),
        *(_family(family) for family in FAMILIES.values()),
        _accelerators(),
        _graphs(),
    ]


def findings_table(findings: list[Finding]) -> Table:
    """The findings as a table for the terminal."""
    table = Table(title="distmlip doctor", title_justify="left")
    for name in ("what", "", "detail"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(
            finding.what, "[green]ok[/]" if finding.works else "[yellow]no[/]", escape(finding.detail)
        )
    return table


def _version(package: str) -> Finding:
    try:
        return Finding(package, True, importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return Finding(package, False, f"not installed; run: pip install {package}")


def _core() -> Finding:
    try:
        from ase.build import bulk

        from distmlip.graph.neighbors import neighbor_list

        n_neighbors = len(neighbor_list("i", bulk("Cu"), 3.0))
    except Exception as error:  # a doctor reports whatever is wrong
        return Finding("compiled core", False, str(error))
    return Finding("compiled core", n_neighbors == 12, f"finds {n_neighbors} of 12 neighbours in fcc copper")


def _instruction_set() -> Finding:
    """That kernels on the CPU use."""
    what = "instruction set"
    try:
        from distmlip._native import core

        runs, has = core.simd(), ", ".join(core.simd_levels)
    except Exception as error:  # a doctor reports whatever is wrong
        return Finding(what, False, str(error))
    wanted = os.environ.get("DISTMLIP_ISA")
    why = f", as DISTMLIP_ISA={wanted} in the environment says" if wanted else ""
    return Finding(what, True, f"{runs} runs{why}; this processor has {has}")


def _family(family: Family) -> Finding:
    what = f"{family.extra} models"
    try:
        version = importlib.metadata.version(family.distribution)
    except importlib.metadata.PackageNotFoundError:
        detail = (
            f"{family.distribution} is not installed; run: pip install {family.distribution}, or pip install "
            f"'.[{family.extra}]' in distmlip's source folder"
        )
        return Finding(what, False, detail)
    found = f"{family.distribution} {version}"
    try:
        family.adapter_module()
    except Exception as error:  # whatever that package does when it is imported
        return Finding(what, False, f"{found} cannot be used: {type(error).__name__}: {error}")
    tested = family.lowest if family.lowest == family.newest else f"{family.lowest} to {family.newest}"
    if not Version(family.lowest) <= Version(version) <= Version(family.newest):
        return Finding(
            what, True, f"{found}, which was not tested ({tested} was); check with calc.verify(atoms)"
        )
    return Finding(what, True, f"{found} (tested: {tested}) can be distributed")


def _accelerators() -> Finding:
    """What torch sees, what it was built for, and what would be needed if that does not fit."""
    usable, driver = accelerators(), nvidia_driver()
    toolkits = {"CUDA": torch.version.cuda, "HIP": torch.version.hip, "XPU": torch.version.xpu}
    built_for = next((f"{name} {version}" for name, version in toolkits.items() if version), "the CPU")
    found = f"torch {torch.__version__} is built for {built_for}, " + (
        f"the NVIDIA driver is {driver}" if driver else "no NVIDIA driver is loaded"
    )
    if usable:
        names = ", ".join(f"{device} {name_of(device)}" for device in usable)
        return Finding("accelerators", True, f"{names}; {found}")
    found = f"torch sees none, calculations run on the CPU; {found}"
    if driver and torch.version.cuda and is_older(driver, torch.version.cuda):
        found += f", and {needs(torch.version.cuda)}: update it, or install a torch for an older CUDA"
    elif driver and built_for == "the CPU":
        cuda = max((major for major in DRIVERS if not is_older(driver, str(major))), default=min(DRIVERS))
        found += f"; install a torch for CUDA {cuda} and build distmlip again ({needs(str(cuda))})"
    return Finding("accelerators", False, found)


def _graphs() -> Finding:
    """Where graphs are made: on a GPU only if this build has kernels that run on it."""
    try:
        from distmlip._native import core

        built = importlib.import_module("distmlip._built_for")
    except Exception as error:  # a doctor reports whatever is wrong
        return Finding("graphs", False, str(error))
    has = f"CUDA kernels of nvcc {built.CUDA_VERSION} for {built.CUDA_ARCHITECTURES.replace(';', ', ')}"
    this_build = f"this build has {has if built.CUDA_ARCHITECTURES else 'no CUDA kernels'}"
    usable = accelerators()
    without = [device for device in usable if not core.has_kernels(device)]
    if not without:
        return Finding("graphs", True, f"made on {', '.join(map(str, usable)) or 'the CPU'}; {this_build}")
    where = f"made on the CPU and moved to {', '.join(map(str, without))}, where steps take longer for it"
    return Finding("graphs", False, f"{where}; {this_build}; {_remedy(without[0], built)}")


def _remedy(device: torch.device, built: ModuleType) -> str:
    """What would bring the graphs to a device that has no kernels."""
    if device.type != "cuda" or torch.version.hip:
        return "there are kernels for NVIDIA's GPUs only"
    again = "pip install --force-reinstall --no-deps . (in the distmlip source folder)"
    if not built.CUDA_ARCHITECTURES:
        return f"put nvcc {OLDEST_NVCC} or newer on PATH and build again: {again}"
    driver = nvidia_driver()
    if driver and is_older(driver, built.CUDA_VERSION):
        return (
            f"{needs(built.CUDA_VERSION)}, and {driver} is loaded: update it, or build again with an older "
            f"nvcc: {again}"
        )
    architecture = "".join(map(str, torch.cuda.get_device_capability(device)))
    return f"build again with CUDAARCHS={architecture} in the environment: {again}"


def nvidia_driver(file: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of the driver that is loaded."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+(\.\d+)+)\s", file.read_text())
    except OSError:
        return None
    return found[1] if found else None


def is_older(driver: str, cuda: str) -> bool:
    """Whether a driver is too old for what was made with this CUDA."""
    return _major(driver) < DRIVERS.get(_major(cuda), 0)


def needs(cuda: str) -> str:
    """Which driver, in words."""
    return f"CUDA {_major(cuda)} needs driver {DRIVERS[_major(cuda)]} or newer"


def _major(version: str) -> int:
    return int(version.partition(".")[0])
