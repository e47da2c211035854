"""What holds for every test: the CPU or a GPU, reproducible examples in CI, one torch thread, nothing global
changed.

A run is for the CPU, and then there is no GPU in it, also where the machine has one; or for GPUs: `pytest -m
cuda` imports only the files that have such tests, because packages of the others may be missing there.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from support.gpu import REHEARSAL

collect_ignore = ["ordered"]  # its device is the whole process's: only with `pytest tests/ordered`

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def for_gpus(config: pytest.Config) -> bool:
    expression: str = config.getoption("markexpr")
    return expression.startswith("cuda")


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # As in a job in the background; what tests start would ignore it, too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not for_gpus(config):
        # Torch has not looked yet; processes that tests start inherit it.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    if is_test and for_gpus(config) and "pytest.mark.cuda" not in collection_path.read_text():
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if for_gpus(config) and (REHEARSAL or torch.cuda.is_available()):
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and pytest -m cuda"))


@pytest.fixture(autouse=True, scope="session")
def cost_models_are_not_the_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DISTMLIP_CACHE", str(tmp_path_factory.mktemp("costs")))
        yield


@pytest.fixture(autouse=True)
def default_dtype_is_unchanged() -> Iterator[None]:
    """Model packages like to change torch's default dtype; neither ours nor a test may leave it changed."""
    before = torch.get_default_dtype()
    yield
    after = torch.get_default_dtype()
    torch.set_default_dtype(before)
    assert after == before, f"the test left torch's default dtype at {after}, not at {before}"
