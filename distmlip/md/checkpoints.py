"""Checkpoints of a run: all that it needs to go on as if nothing had happened, in one file each.

A file is written under another name first, so that one of a checkpoint's name is whole; the newest two are
kept. They are NumPy's .npz, whose members have checksums, with the rest as JSON beside the arrays.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distmlip.errors import RunFolderError

KEPT = 2
_NAME = re.compile(r"checkpoint-(\d+)\.npz")
_TEXT = "text"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state after a step."""

    step: int
    arrays: Mapping[str, NDArray[Any]]
    content: Mapping[str, Any] = field(default_factory=dict)
    """What JSON can hold."""


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write it, and drop all but the newest ones.

    Raises:
        RunFolderError: it cannot be written; those before it are as they were.
    """
    path = folder / f"checkpoint-{checkpoint.step:012d}.npz"
    draft = folder / f".{path.name}.new"
    text = json.dumps({"format": _FORMAT, "step": checkpoint.step, "content": checkpoint.content})
    try:
        with draft.open("wb") as file:
            members: dict[str, Any] = {_TEXT: np.frombuffer(text.encode(), np.uint8), **checkpoint.arrays}
            np.savez(file, **members)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        for old in _all(folder)[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RunFolderError(
            f"{path} cannot be written: {error}; the checkpoint before it is in {folder}. Make room, and go "
            "on from it with resume"
        ) from error
    return path


def has_checkpoints(folder: Path) -> bool:
    """Whether there are any, whole or not."""
    return bool(_all(folder))


def newest_checkpoint(folder: Path) -> tuple[Checkpoint, list[str]]:
    """The newest one that is whole, and what is wrong with those that are newer.

    Raises:
        RunFolderError: there is none.
    """
    damages: list[str] = []
    for path in _all(folder):
        try:
            return _read(path), damages
        except Exception as error:  # zipfile, zlib and json have many kinds for what is damaged
            damages.append(f"{path} is damaged ({error})")
    what = "; ".join([*damages, f"there is no {'other ' if damages else ''}checkpoint in {folder}"])
    raise RunFolderError(f"{what}; begin anew, in another folder")


def _all(folder: Path) -> list[Path]:
    """The newest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _read(path: Path) -> Checkpoint:
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    text = json.loads(arrays.pop(_TEXT).tobytes())
    if text["format"] != _FORMAT:
        raise ValueError(f"it has the format {text['format']}, and this distmlip reads {_FORMAT}")
    return Checkpoint(text["step"], arrays, text["content"])
