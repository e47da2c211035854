"""Cost models on disk: found again, and never an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from distmlip import cost_cache
from distmlip.costs import KINDS, CostModel, StageCost

COSTS = (1.0,) * len(KINDS)
MODEL = CostModel((StageCost("only", *[COSTS] * 6),), (StageCost("only", *[COSTS] * 6),))
KEY = {"model": "toy", "tensors": ["weight (3, 4)"], "threads": 2}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DISTMLIP_CACHE", str(tmp_path / "costs"))
    return tmp_path / "costs"


def test_what_was_saved_is_found_by_its_key_only(folder: Path) -> None:
    assert cost_cache.load(KEY) is None
    cost_cache.save(KEY, MODEL)
    assert cost_cache.load(KEY) == MODEL
    assert cost_cache.load({**KEY, "threads": 3}) is None
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\x00", b'{"key": 1, "costs": 2}'])
def test_a_spoilt_file_is_as_good_as_none_and_is_replaced(folder: Path, content: bytes) -> None:
    cost_cache.save(KEY, MODEL)
    (file,) = folder.iterdir()
    file.write_bytes(content)
    assert cost_cache.load(KEY) is None
    cost_cache.save(KEY, MODEL)
    assert cost_cache.load(KEY) == MODEL


def test_a_file_of_another_key_under_the_same_name_is_not_believed(folder: Path) -> None:
    cost_cache.save(KEY, MODEL)
    (file,) = folder.iterdir()
    file.write_text(file.read_text().replace("weight (3, 4)", "weight (4, 4)"))
    assert cost_cache.load(KEY) is None


def test_a_folder_that_cannot_be_written_is_no_error(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    cost_cache.save(KEY, MODEL)
    assert cost_cache.load(KEY) is None


def test_the_users_cache_directory_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISTMLIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cost_cache.folder() == tmp_path / "distmlip"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cost_cache.folder() == tmp_path / ".cache" / "distmlip"
