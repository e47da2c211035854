"""What the package says can be printed on every terminal."""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import distmlip
from distmlip.commands import report
from distmlip.commands.terminal import printable_output

NOT_OF_SCRIPTS = {"commands/cli.py", "commands/report.py", "commands/terminal.py", "md/pictures.py"}
"""What commands print, and what is drawn."""


def said_by(path: Path) -> Iterator[str]:
    """Strings of a module that are no docstrings."""
    tree = ast.parse(path.read_text())
    statements = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in statements:
            yield node.value


def test_tables_and_errors_of_the_library_are_plain_text() -> None:
    """A script prints them; only commands can write words for what a terminal does not have."""
    folder = Path(distmlip.__file__).parent
    modules = [path for path in folder.rglob("*.py") if str(path.relative_to(folder)) not in NOT_OF_SCRIPTS]
    said = {path.name: [text for text in said_by(path) if not text.isascii()] for path in modules}
    assert len(said) > 40
    assert {name: texts for name, texts in said.items() if texts} == {}


def test_errors_of_the_core_are_plain_text() -> None:
    literal = re.compile(r'"(?:[^"\\\n]|\\.)*"')
    sources = [
        path
        for path in (Path(__file__).parents[2] / "csrc").rglob("*")
        if path.suffix in {".cpp", ".h", ".cu"}
    ]
    said = [text for path in sources for text in literal.findall(re.sub(r"//.*", "", path.read_text()))]
    assert len(said) > 300
    assert [text for text in said if not text.isascii()] == []


def terminal(monkeypatch: pytest.MonkeyPatch, encoding: str, errors: str = "strict") -> io.TextIOWrapper:
    """In the place of stdout; called by the test itself, because pytest changes stdout after its fixtures."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    return stream


def written(stream: io.TextIOWrapper) -> str:
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode(stream.encoding)


def test_words_stand_for_characters_only_where_a_command_asked_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = terminal(monkeypatch, "latin-1")
    with printable_output():
        sys.stdout.write("1 Å × 2 µs, max|Δσ| ≤ 3 μ → ┌─┐│ 铜 \udcff …")
    assert written(stdout) == "1 Å × 2 µs, max|dsigma| <= 3 mu -> +-+| ? ? ..."
    with pytest.raises(UnicodeEncodeError):
        sys.stdout.write("Δ")
    assert stdout.errors == "strict"


def test_utf_8_stays_as_it_is_and_so_does_a_handler_of_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, errors, expected in (("utf-8", "strict", "Δσ"), ("ascii", "replace", "??")):
        stdout = terminal(monkeypatch, encoding, errors)
        with printable_output():
            sys.stdout.write("Δσ")
        assert written(stdout) == expected


def test_every_character_of_the_commands_has_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = terminal(monkeypatch, "ascii")
    folder = Path(report.__file__).parent
    for name in ("cli.py", "report.py"):
        with printable_output():
            sys.stdout.write("".join(said_by(folder / name)).replace("?", ""))
    assert "|dE|/atom" in written(stdout)
    assert "?" not in written(stdout)
