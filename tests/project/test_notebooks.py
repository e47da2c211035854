"""Every notebook runs from top to bottom, and prints what stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from support.notebooks import NOTEBOOKS, code_cells, executed, n_pictures, printed

# Of cells tagged "volatile": seconds, memory and rounding are another machine's.
NUMBER = re.compile(r"-?\d+\.\d+(?:e[+-]?\d+)?")


def test_they_are_numbered_without_gaps() -> None:
    assert [path.name[:3] for path in NOTEBOOKS] == [f"{k:02d}_" for k in range(1, len(NOTEBOOKS) + 1)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_visitor_sees_results(path: Path) -> None:
    cells = code_cells(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run `make notebooks`"
    assert sum(map(n_pictures, cells)) >= 1
    assert {output.output_type for cell in cells for output in cell.outputs} == {"stream", "display_data"}
    assert path.stat().st_size < 400_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_prints_what_stands_in_it(path: Path, tmp_path: Path) -> None:
    pytest.importorskip("chgnet", reason="the notebooks use CHGNet's weights")
    committed = code_cells(nbformat.read(path, as_version=4))
    for before, now in zip(committed, code_cells(executed(path, tmp_path)), strict=True):
        assert n_pictures(now) == n_pictures(before), now.source
        if "volatile" in before.metadata.get("tags", []):
            continue
        assert NUMBER.sub("#", printed(now)) == NUMBER.sub("#", printed(before)), "run `make notebooks`"
        found, expected = ([float(x) for x in NUMBER.findall(printed(cell))] for cell in (now, before))
        assert found == pytest.approx(expected, rel=0.02, abs=2e-3), "run `make notebooks`"
