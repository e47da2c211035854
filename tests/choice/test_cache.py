"""What is found of models, on disk: found again, also by colleagues, and never an error."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from pathlib import Path
from typing import TextIO

import pytest

from distmlip.choice import cache
from distmlip.choice.costs import CostModel, PerKind, StageCost
from distmlip.choice.probe import COSTS

ONES = PerKind(1.0, 1.0, 1.0, 1.0, 1.0)
MODEL = CostModel((StageCost("only", *[ONES] * 8),), (StageCost("only", *[ONES] * 8),))
KEY = {"model": "toy", "tensors": ["weight (3, 4)"], "threads": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTMLIP_CACHE", str(tmp_path / "costs"))
    monkeypatch.setattr(cache, "_has_warned", threading.Event())
    return tmp_path / "costs"


def test_what_was_saved_is_found_by_its_key_only(folder: Path) -> None:
    assert COSTS.load(KEY) is None
    COSTS.save(KEY, MODEL)
    assert COSTS.load(KEY) == MODEL
    assert COSTS.load({**KEY, "threads": 3}) is None
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\x00", b'{"key": 1, "costs": 2}'])
def test_a_spoilt_file_is_as_good_as_none_and_is_replaced(folder: Path, content: bytes) -> None:
    COSTS.save(KEY, MODEL)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert COSTS.load(KEY) is None
    COSTS.save(KEY, MODEL)
    assert COSTS.load(KEY) == MODEL


def test_a_file_of_another_key_under_the_same_name_is_not_believed(folder: Path) -> None:
    COSTS.save(KEY, MODEL)
    (file,) = folder.iterdir()
    file.write_text(file.read_text().replace("weight (3, 4)", "weight (4, 4)"))
    assert COSTS.load(KEY) is None


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_have_the_mode_that_the_users_umask_gives(mask: int, mode: int, folder: Path) -> None:
    before = os.umask(mask)
    try:
        COSTS.save(KEY, MODEL)
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == mode
    assert folder.stat().st_mode & 0o777 == 0o777 & ~mask


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_a_folder_that_cannot_be_written_is_one_warning_and_no_error(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be")
    for _ in range(2):
        COSTS.save(KEY, MODEL)
        assert COSTS.load(KEY) is None
    (warning,) = warnings_of(caplog)
    assert str(folder) in warning
    assert "DISTMLIP_CACHE" in warning


def test_a_file_that_cannot_be_read_is_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    COSTS.save(KEY, MODEL)
    (file,) = folder.iterdir()

    def refuse(path: Path, *_: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))  # which root never gets

    monkeypatch.setattr(Path, "read_text", refuse)
    for _ in range(2):
        assert COSTS.load(KEY) is None
    (warning,) = warnings_of(caplog)
    assert str(file) in warning
    assert "Permission denied" in warning


def test_a_disk_that_is_full_leaves_no_parts_of_files(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(_: object, file: TextIO) -> None:
        file.write("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(json, "dump", write_half)
    COSTS.save(KEY, MODEL)
    assert list(folder.iterdir()) == []
    assert len(warnings_of(caplog)) == 1


def test_no_file_and_a_spoilt_file_are_no_warnings(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert COSTS.load(KEY) is None
    COSTS.save(KEY, MODEL)
    (file,) = folder.iterdir()
    file.write_text("{")
    assert COSTS.load(KEY) is None
    assert warnings_of(caplog) == []


def test_the_users_cache_directory_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISTMLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "distmlip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "distmlip"
