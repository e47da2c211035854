"""The device "ordered": ordinary memory, several devices and streams; tells what is not ordered.

To be imported before the first backward of a process: torch's autograd engine counts devices once. It is then
the accelerator of the process, so it is imported in processes of these tests' own and nowhere else.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.machinery
import importlib.util
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(__file__).parent
BUILD = FOLDER.parents[1] / "build" / f"ordered-{sys.implementation.cache_tag}-torch-{torch.__version__}"


def _built() -> Path:
    """The module of C++, compiled where it is not up to date."""
    pybind11 = subprocess.check_output([sys.executable, "-m", "pybind11", "--cmakedir"], text=True).strip()
    options = [f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11}"]
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes wait until it is there
        for command in (
            ["cmake", "-S", str(FOLDER), "-B", str(BUILD), *options],
            ["cmake", "--build", str(BUILD), "-j2"],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    (module,) = BUILD.glob("_ordered*.so")
    return module


def _loaded() -> Any:
    loader = importlib.machinery.ExtensionFileLoader("_ordered", str(_built()))
    spec = importlib.util.spec_from_loader("_ordered", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


core = _loaded()
torch.utils.rename_privateuse1_backend("ordered")


class _Current:
    """The `with` block in which a device is current."""

    def __init__(self, device: torch.device | str | int) -> None:
        self.index = device if isinstance(device, int) else torch.device(device).index or 0

    def __enter__(self) -> None:
        self.before = core.exchange_device(self.index)

    def __exit__(self, *_: object) -> None:
        core.set_device(self.before)


def _module() -> types.ModuleType:
    """What torch.cuda is for CUDA; random numbers are the CPU's."""
    module: Any = types.ModuleType("torch.ordered")
    module.device = _Current
    module.device_count = core.device_count
    module.is_available = module.is_initialized = lambda: True
    module.current_device = core.current_device
    module.set_device = lambda device: core.set_device(_Current(device).index)
    module.synchronize = lambda device=None: torch.accelerator.synchronize(device)
    module.manual_seed = module.manual_seed_all = lambda seed: None
    module.get_rng_state = lambda device="ordered": torch.get_rng_state()
    module.set_rng_state = lambda state, device="ordered": None
    module.get_amp_supported_dtype = lambda: [torch.float16, torch.bfloat16]
    module._is_in_bad_fork = lambda: False
    return module


torch._register_device_module("ordered", _module())
torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)


def synchronize() -> None:
    """Waits for all devices."""
    for device in range(core.device_count()):
        torch.accelerator.synchronize(device)


def reports() -> list[str]:
    """What was found since the last call."""
    return [text for _, text in core.take_reports()]


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Collects what is found inside."""
    found: list[str] = []
    synchronize()  # what was before is known to everybody
    core.take_reports()
    core.take_counts()
    core.begin_host()
    try:
        yield found
    finally:
        core.end_host()
        synchronize()
        found += reports()


@contextlib.contextmanager
def devices_must_be_current() -> Iterator[None]:
    """Inside, an operator whose device is not current is a fault."""
    core.set_check_device(True)
    try:
        yield
    finally:
        core.set_check_device(False)
