"""The folders are the architecture: who may include or import whom, and how large a file may grow."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from distmlip.models import FAMILIES

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
PACKAGE = ROOT / "distmlip"

# Each one may use those before it, and itself.
CPP_ORDER = ["core", "cut", "kernels", "neighbors", "partition", "exchange", "executor", "native", "bindings"]
LIBTORCH_FOLDERS = {"exchange", "executor", "native", "bindings"}

# Each group of modules and packages may use those before it; what stands in one group knows nothing of each
# other. `__init__` is the public face: it may use all.
PYTHON_ORDER = [
    {"errors", "torch_modes", "data"},
    {"_native", "_core", "_built_for", "cell"},
    {"inputs", "machine", "records"},
    {"graph", "models", "kept_results"},
    {"ranks"},
    {"evaluation"},
    {"choice", "training"},
    {"calculator"},
    {"md", "lammps", "torchsim"},
    {"commands"},
    {"__main__"},
]
# Third-party package -> the folders of its families in distmlip/models, which alone import it.
MODEL_PACKAGES = {package: {family.folder} for family in FAMILIES.values() for package in family.packages}
MODEL_PACKAGES["e3nn"] = {"mace", "nequip", "sevennet"}

MAX_HEADER_LINES = 150
MAX_SOURCE_LINES = 300


def cpp_files() -> list[Path]:
    return sorted(path for path in CSRC.rglob("*") if path.suffix in {".h", ".cuh", ".cpp", ".cu"})


def python_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', path.read_text(), flags=re.MULTILINE)


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that a file imports at run time, anywhere in it, as an absolute name."""
    for node in ast.walk(without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level:
                package = path.relative_to(ROOT).parent.parts
                base = ".".join([*package[: len(package) - node.level + 1], node.module or ""]).rstrip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def without_type_checking(tree: ast.AST) -> ast.AST:
    """Drop `if TYPE_CHECKING:` blocks: a name in an annotation is no dependency at run time."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = [ast.Pass()]
    return tree


@pytest.mark.parametrize("path", cpp_files(), ids=relative)
def test_cpp_file_includes_only_the_folders_below_it(path: Path) -> None:
    folder = path.relative_to(CSRC).parts[0]
    allowed = CPP_ORDER[: CPP_ORDER.index(folder) + 1]
    for header in includes(path):
        head = header.split("/")[0]
        if head in CPP_ORDER:
            assert head in allowed, f"{relative(path)} ({folder}) must not include {header}"
        if head in {"torch", "ATen", "c10"}:
            assert folder in LIBTORCH_FOLDERS, f"{relative(path)}: torch headers begin at exchange"
        if head == "pybind11" or header in {"torch/extension.h", "torch/csrc/utils/pybind.h"}:
            assert folder == "bindings", f"{relative(path)}: only bindings include pybind11"


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_python_module_imports_only_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imported_modules(path):
        head, *rest = name.split(".")
        if head == "distmlip" and rest and rest[0] != room:
            assert floor(rest[0]) < floor(room), f"{relative(path)} must not import {name}"


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def floor(room: str) -> int:
    for number, group in enumerate(PYTHON_ORDER):
        if room in group:
            return number
    raise AssertionError(f"distmlip.{room} has no place in PYTHON_ORDER: give it one, and docs/design.md")


def test_no_two_modules_import_each_other() -> None:
    """Inside of a room, too: `static_order` raises for a cycle."""
    modules = {module_name(path): path for path in python_files()}
    uses = {}
    for name, path in modules.items():
        uses[name] = {
            module
            for imported in imported_modules(path)
            for module in (imported, imported.rpartition(".")[0])
            if module in modules and module != name
        }
    assert len(list(TopologicalSorter(uses).static_order())) == len(modules)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_model_package_is_imported_in_its_own_folder_only(path: Path) -> None:
    for name in imported_modules(path):
        package = name.split(".")[0]
        if package in MODEL_PACKAGES:
            homes = [PACKAGE / "models" / folder for folder in MODEL_PACKAGES[package]]
            assert any(path.is_relative_to(home) for home in homes), (
                f"{relative(path)} imports {name}; its home is {', '.join(map(relative, homes))}"
            )


def test_importing_distmlip_imports_no_model_package() -> None:
    script = f"import sys, distmlip; print(sorted(set(sys.modules) & set({list(MODEL_PACKAGES)})))"
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [*cpp_files(), *python_files()], ids=relative)
def test_file_fits_on_a_readable_page(path: Path) -> None:
    limit = MAX_HEADER_LINES if path.suffix in {".h", ".cuh"} else MAX_SOURCE_LINES
    n_lines = len(path.read_text().splitlines())
    assert n_lines <= limit, f"{relative(path)} has {n_lines} lines, the limit is {limit}: split it"
