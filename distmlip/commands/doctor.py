"""What is installed here, and whether it works."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from dataclasses import dataclass

from packaging.version import Version
from rich.markup import escape
from rich.table import Table

from distmlip.models import FAMILIES, Family

PACKAGES = ["distmlip", "torch", "numpy", "ase"]


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
        *(_family(family) for family in FAMILIES.values()),
        _cuda(),
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


def _cuda() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("CUDA", False, "torch sees no CUDA device; calculations run on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Finding("CUDA", True, ", ".join(names))
