"""distmlip/_core.pyi says what the compiled core has: mypy's stubtest for the names, signatures by ours, as
functions of pybind11 have theirs in the docstring only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import distmlip
from distmlip._native import core

STUB = Path(distmlip.__file__).with_name("_core.pyi")
OF_PYBIND11 = r"""
distmlip._core.(Cost|Crossing|Decomposition|Evaluation|FlushedTeam|GraphPart|Graphs|LocalTensors|RankGroup|Routes)
distmlip._core.(DefaultStreams|MeasuredStage|StageRows|StageSpecs|Step)
distmlip._core.(AngleLayer|AtomMessages|BondBasis|GatedPerceptron)
distmlip._core.(AngularFunction|EndAtoms|GatedLayer|LayerNorm|LengthTables|NodeUpdate|ThreeBodySums|WeightedLayer)
distmlip._core.(ComplexMatrix|FrameEdges|GaussianNetwork|PairTables|RadialNorm|SO2Convolution)
distmlip._core.(Agnesi|Cells|ConvolutionPath|Gated|LinearMap|RadialBasis|Repulsion)
distmlip._core.(DeviceContraction|DeviceConvolution|DeviceEdges|DeviceGate|DeviceMessages|DeviceTensorFunction)
distmlip._core.(NativeStage|StageBuilder32|StageBuilder64)
distmlip._core.(Cost|Evaluation|GraphPart|LocalTensors|MeasuredStage|NativeStage|SO2Convolution|StageRows).__init__
distmlip._core.Recompute.__pybind11_native_enum__
"""
"""Metaclasses, constructors that cannot be called, and a mark: what a stub does not have."""


def signatures() -> Iterator[tuple[str, list[str]]]:
    """Name and parameters of all functions and methods in the stub, a name for each overload."""
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, names_of(node)
        if isinstance(node, ast.ClassDef):
            for method in node.body:
                decorators = [ast.unparse(of) for of in getattr(method, "decorator_list", [])]
                if isinstance(method, ast.FunctionDef) and "property" not in decorators:
                    yield f"{node.name}.{method.name}", names_of(method)


def names_of(function: ast.FunctionDef) -> list[str]:
    arguments = function.args
    without_name = [f"arg{k}" for k in range(len(arguments.posonlyargs) - 1)]
    return [
        *(["self", *without_name] if arguments.posonlyargs else []),
        *(argument.arg for argument in arguments.args),
        *([f"*{arguments.vararg.arg}"] if arguments.vararg else []),
        *(["*"] if arguments.kwonlyargs else []),
        *(argument.arg for argument in arguments.kwonlyargs),
    ]


def names_in(docstring: str) -> list[list[str]]:
    """Parameters of each signature that pybind11 wrote down."""
    found = re.findall(r"^(?:\d+\. )?\w+\((.*)\) -> .*$", docstring, flags=re.MULTILINE)
    return [parameters(text) for text in found]


def parameters(text: str) -> list[str]:
    while (shorter := re.sub(r"\[[^\[\]]*\]|\([^()]*\)", "", text)) != text:  # of types and defaults
        text = shorter
    return [part.split(":")[0].strip() for part in text.split(",") if part.strip()]


@pytest.mark.parametrize(("name", "expected"), list(signatures()))
def test_parameters_are_those_of_the_core(name: str, expected: list[str]) -> None:
    found = core
    for part in name.split("."):
        found = getattr(found, part)
    assert found.__doc__
    assert expected in names_in(found.__doc__)


def test_names_are_those_of_the_core(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text(OF_PYBIND11)
    command = [sys.executable, "-m", "mypy.stubtest", "distmlip._core", "--allowlist", str(allowed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
