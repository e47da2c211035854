"""What commands say on terminals: words for characters that cannot be written, errors in one line."""

from __future__ import annotations

import codecs
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from distmlip.errors import DistMLIPError

HANDLER = "distmlip.words"

_WORDS = {
    "Å": "Ang",
    "Δ": "d",
    "σ": "sigma",
    "μ": "mu",
    "µ": "u",  # the prefix, which is another character
    "×": "x",
    "−": "-",
    "–": "-",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "…": "...",
    "╷": " ",
    "╵": " ",
    **dict.fromkeys("─━═╌┄", "-"),
    **dict.fromkeys("│┃║╎┆", "|"),
}


@contextmanager
def printable_output() -> Iterator[None]:
    """In the block stdout never raises because its encoding lacks a character: what was computed is not lost.

    For commands, whose process is their own: in a user's process an encoding error is the user's.
    """
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or stream.errors not in ("strict", "surrogateescape"):
        yield  # it writes something for every character already
        return
    before = stream.errors
    codecs.register_error(HANDLER, _in_words)
    stream.reconfigure(errors=HANDLER)
    try:
        yield
    finally:
        stream.reconfigure(errors=before)


def _in_words(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_word, error.object[error.start : error.end])), error.end


def _word(character: str) -> str:
    is_box = "\u2500" <= character <= "\u257f"
    return _WORDS.get(character, "+" if is_box else "?")


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Errors that a user can act on end the command with their message instead of a traceback."""
    try:
        yield
    except (DistMLIPError, ImportError) as error:
        typer.echo("; ".join([f"distmlip: {error}", *getattr(error, "__notes__", [])]), err=True)
        raise typer.Exit(1) from error


def quiet_model_packages() -> None:
    """Model packages warn about their own use of other packages; in a command nobody can act on that."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
