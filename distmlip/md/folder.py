"""The folder of a run: who writes to it, with which options, and what went on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from distmlip.errors import InvalidInputError, RunFolderError

CONFIG, LOG, LOCK = "config.toml", "log.txt", "lock"
TRAJECTORY = "trajectory.h5"
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)
"""What file systems of some clusters say: there a run is not kept from a folder that is in use."""
MAY_CHANGE = frozenset({"steps", "max_time", "checkpoint_every", "max_drift"})
"""Options with which a run may go on that are others than before."""


class RunFolder:
    """A folder that one run at a time writes to.

    Raises:
        InvalidInputError: it is there already, or is not there to go on in; options differ from before.
        RunFolderError: another process is writing to it, or nobody can.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], resume: bool) -> None:
        self.path = path
        config = _as_toml(options)
        with ExitStack() as failed:
            try:
                self._require_place(resume)
                path.mkdir(parents=True, exist_ok=True)
                self._lock = self._locked()
                failed.callback(os.close, self._lock)
                if resume:
                    self._require_same(config)
                self._write_config(config)
                self._log = (path / LOG).open("a", encoding="utf-8", buffering=1)
            except OSError as error:
                if isinstance(error, RunFolderError):
                    raise
                raise RunFolderError(f"{path} cannot be written: {error}; give another folder") from error
            failed.pop_all()

    def _require_place(self, resume: bool) -> None:
        path = self.path
        is_used = path.exists() and (not path.is_dir() or any(path.iterdir()))
        if is_used and not resume:
            raise InvalidInputError(
                f"{path} is there already; give another folder, or resume to go on with the run in it"
            )
        if resume and not (path / CONFIG).is_file():
            raise InvalidInputError(f"{path} has no {CONFIG}: there is no run in it to resume; run without")

    def _locked(self) -> int:
        """While this process lives, or the folder is open."""
        lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 100).decode(errors="replace").strip()
            os.close(lock)
            raise RunFolderError(
                f"{self.path} is in use by another run ({owner or 'unknown'}); wait for it, or give another "
                "folder"
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {os.uname().nodename}\n".encode())
        return lock

    def _require_same(self, config: str) -> None:
        path = self.path / CONFIG
        try:
            before, now = (_options_of(text) for text in (path.read_text(encoding="utf-8"), config))
        except ValueError as error:
            raise RunFolderError(
                f"{path} cannot be understood: {error}; begin anew, in another folder"
            ) from error
        differing = [
            f"{name}: {before.get(name, 'none')} before, {now.get(name, 'none')} now"
            for name in sorted((before.keys() | now.keys()) - MAY_CHANGE)
            if before.get(name) != now.get(name)
        ]
        if differing:
            raise InvalidInputError(
                f"the run in {self.path} had other options ({'; '.join(differing)}); give the same, or "
                "another folder"
            )

    def _write_config(self, config: str) -> None:
        draft = self.path / f".{CONFIG}.new"
        draft.write_text(config, encoding="utf-8")
        draft.replace(self.path / CONFIG)

    def say(self, line: str) -> None:
        """A line of the log; remarks, which begin with ``#``, may be several."""
        with contextlib.suppress(OSError):  # what is lost is only the log
            self._log.write(line.replace("\n", "\n# ") + "\n")

    def close(self) -> None:
        """Others may write to it from now on."""
        self._log.close()
        os.close(self._lock)


def _as_toml(options: Mapping[str, Any]) -> str:
    """The content of the file of options.

    Raises:
        InvalidInputError: one of them is of a kind that TOML has not.
    """
    # TOML has no word for nothing, and knows no numbers of NumPy.
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in options.items()
        if value is not None
    }
    try:
        return tomli_w.dumps({"distmlip": metadata.version("distmlip"), "options": plain})
    except TypeError as error:
        raise InvalidInputError(f"options cannot be kept: {error}; give numbers and texts") from error


def _options_of(text: str) -> dict[str, Any]:
    """
    Raises:
        ValueError: there are none.
    """
    options = tomllib.loads(text).get("options")
    if not isinstance(options, dict):
        raise ValueError("it has no table of options")
    return {name: str(value) for name, value in options.items()}  # texts of what is no number are the same
