"""What people see of a run that goes on: in a terminal, in the file of a batch job, and in a notebook."""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from support.notebooks import WIDGET

from distmlip.md import progress

NOTEBOOK = """
import sys
{before}
from ase.build import bulk
from ase.calculators.emt import EMT
from distmlip.md import relax, run
atoms = bulk("Cu", cubic=True) * (2, 2, 2)
atoms.calc = EMT()
run(atoms, 20, temperature=300.0, timestep=2.0)
relax(atoms, 3);
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("kind", "least", "most"), [(Terminal, 4, 100), (io.StringIO, 2, 2)])
def test_a_terminal_is_kept_up_to_date_and_a_file_is_not_filled(
    kind: type[io.StringIO], least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = kind()
    monkeypatch.setattr(sys, "stderr", out)
    with progress.progress_bar(100, "NVT", done=40, timestep=2.0) as show:
        for now in range(41, 101):
            time.sleep(0.01)
            show(now, "300 K")
    lines = [line for line in re.split("[\r\n]", out.getvalue()) if line]
    assert least <= len(lines) <= most
    assert "40/100" in lines[0]
    assert "100/100" in lines[-1]
    speed = re.search(r"([\d.]+)step/s, ([\d.e+]+) ns/day, 300 K", lines[-1])
    assert speed is not None, lines[-1]
    rate, ns_per_day = float(speed[1]), float(speed[2])
    assert ns_per_day == pytest.approx(rate * 2e-6 * 86400, rel=0.5)
    assert rate < 150, "steps that were done before are no speed"


def outputs(before: str, folder: Path) -> list[NotebookNode]:
    cell = nbformat.v4.new_code_cell(NOTEBOOK.format(before=before))
    notebook = nbformat.v4.new_notebook(cells=[cell])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    found: list[NotebookNode] = notebook.cells[0].outputs
    return found


def test_notebooks_show_widgets_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("ipywidgets", reason="no widgets")
    found = outputs("", tmp_path)
    assert len(found) == 2, found
    assert all(WIDGET in output.get("data", {}) for output in found)


def test_notebooks_without_widgets_show_a_line(tmp_path: Path) -> None:
    found = outputs("sys.modules['ipywidgets'] = None", tmp_path)
    assert {output.get("name") for output in found} == {"stderr"}
    text = "".join(output.text for output in found)
    assert "20/20" in text
    assert "Warning" not in text
