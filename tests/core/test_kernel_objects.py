"""Each instruction set's kernels stay in their own object file.

Whatever is compiled more than once must have internal linkage: of a weak symbol the linker keeps one copy,
maybe with instructions that the processor lacks.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
X86 = platform.machine() in ("x86_64", "AMD64")
TOOLS = ("nm", "objdump")

pytestmark = [
    pytest.mark.skipif(not X86, reason="instruction sets are those of x86-64"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {' and '.join(TOOLS)}"),
]


def built(name: str) -> Path:
    """The object file of the build that is tested: of the wheel that make installs."""
    pattern = f"make*/csrc/kernels/CMakeFiles/distmlip_irreps.dir/irreps/operators_{name}.cpp.o"
    objects = sorted((ROOT / "build").glob(pattern), key=lambda path: path.stat().st_mtime)
    if not objects:
        pytest.skip("the package was not built by make")
    return objects[-1]


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout


@pytest.mark.parametrize("name", ["portable", "avx2", "avx512"])
def test_nothing_is_shared_with_other_instruction_sets(name: str) -> None:
    target = built(name)
    symbols = output_of("nm", "-C", str(target)).splitlines()
    weak = [line for line in symbols if re.search(r" [WwVvu] ", line)]
    assert not weak, "\n".join(weak)
    exported = {line.rsplit("::", 1)[-1] for line in symbols if re.search(r" [A-TX-Z] ", line)}
    assert exported == {f"operators_{name}_f32", f"operators_{name}_f64"}
    code = output_of("objdump", "-d", "--no-show-raw-insn", str(target))
    wide = re.findall(r"%[yz]mm\d+|\tv[a-z0-9]+ .*%xmm", code)
    # Whatever a processor without AVX does not have; and a check that this looks at the right thing.
    assert bool(wide) == (name != "portable"), sorted(set(wide))[:10]
    assert ("%zmm" in code) == (name == "avx512")
