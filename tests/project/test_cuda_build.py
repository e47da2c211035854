"""Which architectures are compiled for: what the compiler knows of what we want. No CUDA is needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
cmake_minimum_required(VERSION 3.24)
include({root}/cmake/cuda_architectures.cmake)
known_cuda_architectures({nvcc} "80;90;100" found)
message("${{found}}")
"""


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ("compute_75 compute_80 compute_90 compute_100 compute_103", "80-real;90-real;100-real;100-virtual"),
        ("compute_75 compute_80 compute_86 compute_90", "80-real;90-real;90-virtual"),  # before 12.8
        ("", "80-real;90-real;100-real;100-virtual"),  # one that does not say
    ],
)
def test_an_older_compiler_is_asked_for_what_it_knows(known: str, expected: str, tmp_path: Path) -> None:
    nvcc = tmp_path / "nvcc"
    nvcc.write_text(f'#!/bin/sh\n[ "$1" = --list-gpu-arch ] && printf "%s\\n" {known}\n')
    nvcc.chmod(0o755)
    (tmp_path / "script.cmake").write_text(SCRIPT.format(root=ROOT, nvcc=nvcc))
    done = subprocess.run(
        ["cmake", "-P", tmp_path / "script.cmake"], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == expected
