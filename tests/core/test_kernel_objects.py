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
KERNELS = ROOT / "csrc" / "kernels"
X86 = platform.machine() in ("x86_64", "AMD64")
TOOLS = ("g++", "nm", "objdump")

pytestmark = [
    pytest.mark.slow,  # the compiler takes half a minute
    pytest.mark.skipif(not X86, reason="instruction sets are those of x86-64"),
    pytest.mark.skipif(
        not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)} to compile and to look"
    ),
]


def flags_of(name: str) -> list[str]:
    """Those that CMakeLists.txt gives to ``operators_<name>.cpp``."""
    text = (KERNELS / "CMakeLists.txt").read_text()
    variables = dict(re.findall(r"set\((_\w+) ([^)]*)\)", text))
    properties = rf"\(irreps/operators_{name}\.cpp PROPERTIES COMPILE_OPTIONS\s+\"([^\"]*)\""
    given = re.search("set_source_files_properties" + properties, text)
    assert given, f"no flags of operators_{name}.cpp"
    flags = re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]].replace(" ", ";"), given[1])
    return flags.split(";")


def compiled(name: str, folder: Path) -> Path:
    target = folder / f"{name}.o"
    command = [
        *("g++", "-std=c++20", "-fPIC", "-DNDEBUG", "-DDISTMLIP_X86_SIMD", f"-I{ROOT / 'csrc'}"),
        *flags_of(name),
        *("-c", str(KERNELS / "irreps" / f"operators_{name}.cpp"), "-o", str(target)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return target


def output_of(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout


@pytest.mark.parametrize("name", ["portable", "avx2", "avx512"])
def test_nothing_is_shared_with_other_instruction_sets(name: str, tmp_path: Path) -> None:
    target = compiled(name, tmp_path)
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
