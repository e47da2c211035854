"""The house in figures, for `make figures`: sizes, rooms and arrows between them, types, docstrings.

Of another checkout: `python benchmarks/house.py FOLDER`. A *room* is a module or package in `distmlip/`
or a folder in `csrc/`; an *arrow* goes from a room to one that it imports or includes. *Floors*: rooms on the
longest way along arrows, where rooms that use each other in a circle count as one; arrows inside of a circle
run *upward*. *Code*: lines that are not blank, comment or docstring, as lizard counts them.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import lizard

PYTHON, CPP = {".py", ".pyi"}, {".h", ".cuh", ".cpp", ".cu"}
FOLDERS = ("distmlip", "csrc", "tests", "benchmarks")

Arrows = Mapping[str, set[str]]


@dataclass(frozen=True)
class Source:
    """One file of a checkout."""

    path: Path
    """Relative to the checkout."""
    text: str
    n_code: int
    functions: list[int]
    """Lines of each."""

    @property
    def is_python(self) -> bool:
        return self.path.suffix in PYTHON

    @property
    def n_lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        """By the name under its folder."""
        return self.path.parts[1].partition(".")[0]


def sources(root: Path) -> list[Source]:
    """What git knows of, or would: nothing that a build has left."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    paths = [Path(name) for name in names if Path(name).suffix in PYTHON | CPP and (root / name).is_file()]
    return [source_of(root, path) for path in paths]


def source_of(root: Path, path: Path) -> Source:
    """Of a ``path`` relative to ``root``."""
    found = lizard.analyze_file(str(root / path))
    lengths = [function.end_line - function.start_line + 1 for function in found.function_list]
    return Source(path, (root / path).read_text(), found.nloc, lengths)


def imported(source: Source) -> Iterator[str]:
    """Rooms of the package that a Python file imports when it runs, anywhere in it."""
    tree = source.tree
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = source.path.parts[: len(source.path.parts) - node.level] if node.level else ()
            names = [".".join([*package, *filter(None, [node.module]), alias.name]) for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("distmlip."))


def included(source: Source) -> Iterator[str]:
    """Folders of csrc that a C++ file includes from."""
    yield from re.findall(r'^\s*#\s*include\s*"(\w+)/', source.text, flags=re.MULTILINE)


def arrows(files: list[Source]) -> Arrows:
    """The rooms that each room uses."""
    uses: dict[str, set[str]] = {source.room: set() for source in files}
    for source in files:
        used = imported(source) if source.is_python else included(source)
        uses[source.room] |= set(used) & uses.keys() - {source.room}
    return uses


def floors_and_upward(uses: Arrows) -> tuple[int, int]:
    """How many floors there are, and how many arrows run upward."""
    reached = {room: set(used) for room, used in uses.items()}
    for through, beyond in reached.items():  # Warshall: ways that lead through one room more
        for known in reached.values():
            known.update(beyond if through in known else ())

    def floor(room: str) -> int:
        below = {other for other in reached[room] if room not in reached[other]}
        return 1 + max(map(floor, below), default=0)

    upward = sum(room in reached[other] for room, used in uses.items() for other in used)
    return max(map(floor, uses)), upward


def public_definitions(source: Source) -> Iterator[tuple[str, bool]]:
    """Modules, classes, functions and methods without an underscore in front: name, and whether described."""

    def within(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, bool]]:
        yield name, ast.get_docstring(node) is not None
        for part in node.body:
            if isinstance(part, ast.ClassDef) and not part.name.startswith("_"):
                yield from within(part, f"{name}.{part.name}")
            elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and not part.name.startswith("_"):
                yield f"{name}.{part.name}", ast.get_docstring(part) is not None

    name = source.path.with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
    if not source.path.stem.startswith("_") or source.path.stem.startswith("__"):
        yield from within(source.tree, name)


def print_sizes(files: list[Source]) -> None:
    """Of files and functions, by folder and language."""
    header = "   lines of a file, median/max   of a function, median/p90/max"
    print(f"{'':12}{'files':>7}{'lines':>8}{'code':>8}{header}")
    groups = {folder: [source for source in files if source.path.parts[0] == folder] for folder in FOLDERS}
    groups |= {"all Python": [source for source in files if source.is_python]}
    groups |= {"all C++": [source for source in files if not source.is_python], "all": files}
    for name, group in groups.items():
        lines = [source.n_lines for source in group]
        functions = sorted(length for source in group for length in source.functions)
        of_files = f"{statistics.median(lines):.0f} / {max(lines)}"
        p90 = functions[int(0.9 * len(functions))]
        of_functions = f"{statistics.median(functions):.0f} / {p90} / {functions[-1]}"
        n_code = sum(source.n_code for source in group)
        print(f"{name:12}{len(group):7}{sum(lines):8}{n_code:8}{of_files:>30}{of_functions:>32}")


def print_rooms(files: list[Source]) -> None:
    """Of the package and of the core."""
    print(f"\n{'':12}{'rooms':>7}{'floors':>8}{'arrows':>8}{'upward':>8}")
    for folder in ("distmlip", "csrc"):
        # A stub imports nothing when the package runs.
        running = [source for source in files if source.path.suffix != ".pyi"]
        uses = arrows([source for source in running if source.path.parts[0] == folder])
        floors, upward = floors_and_upward(uses)
        print(f"{folder:12}{len(uses):7}{floors:8}{sum(map(len, uses.values())):8}{upward:8}")


def print_types(package: list[Source]) -> None:
    """Where types say nothing."""
    names = [node.id for source in package for node in ast.walk(source.tree) if isinstance(node, ast.Name)]
    n_code = sum(source.n_code for source in package)
    n_any = names.count("Any")
    ignores = sum(len(re.findall(r"#\s*type:\s*ignore", source.text)) for source in package)
    print(f"\nAny: {n_any}, {1000 * n_any / n_code:.1f} per 1000 lines of code in distmlip", end="; ")
    print(f"cast: {names.count('cast')}; object: {names.count('object')}; type: ignore: {ignores}")


def print_docstrings(package: list[Source]) -> None:
    """How many there are, and where one is missing."""
    found = [definition for source in package for definition in public_definitions(source)]
    missing = [name for name, is_described in found if not is_described]
    n_described = len(found) - len(missing)
    print(f"\ndocstrings: {n_described} of {len(found)} public definitions, {n_described / len(found):.1%}")
    print(*(f"  none: {name}" for name in missing), sep="\n")


def main() -> None:
    """Measure the checkout that is given, or this one."""
    files = sources(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
    package = [source for source in files if source.path.parts[0] == "distmlip"]
    print_sizes(files)
    print_rooms(files)
    print_types(package)
    print_docstrings([source for source in package if source.path.suffix == ".py"])


if __name__ == "__main__":
    main()
