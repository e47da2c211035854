"""Several processes that share the partitions: the undivided model's results, scripts, and lost ranks."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from support.launching import LIMIT, PASSED, SCRIPTS, python_path, run_ranks, succeeded

from distmlip._native import core
from distmlip.errors import InvalidInputError
from distmlip.ranks.identity import Identity
from distmlip.ranks.joining import _wait_for_all

RANK_TIMEOUT = 4.0  # s


# --- graphs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("here", [(0, 1), (2, 5), (4, 7), (0, 7)])
def test_a_rank_builds_only_its_partitions(here: tuple[int, int]) -> None:
    atoms = bulk("Cu", cubic=True) * 5
    atoms.rattle(0.1, seed=0)
    arguments = (atoms.positions, atoms.cell.array, [True] * 3, 4.0, 7, 3.0, 0.4)
    whole, some = core.Decomposition(*arguments), core.Decomposition(*arguments, here=here)
    np.testing.assert_array_equal(some.owner, whole.owner)
    for p in range(7):
        if not here[0] <= p < here[1]:
            assert len(some.owned(p)) == len(some.halo(p)) == len(some.send(p)) == 0
            continue
        np.testing.assert_array_equal(some.owned(p), whole.owned(p))
        np.testing.assert_array_equal(some.halo(p), whole.halo(p))
        ours, theirs = some.step(p, atoms.positions), whole.step(p, atoms.positions)
        for name in ("senders", "receivers", "shifts", "angles", "cut_edges"):
            np.testing.assert_array_equal(ours[name], theirs[name])
        partners, begin = some.send_groups(p)
        for partner, first, end in zip(partners, begin[:-1], begin[1:], strict=True):
            assert here[0] <= partner < here[1]
            all_partners, all_begin = whole.send_groups(p)
            (at,) = np.flatnonzero(all_partners == partner)
            np.testing.assert_array_equal(
                some.send(p)[first:end], whole.send(p)[all_begin[at] : all_begin[at + 1]]
            )


@pytest.mark.parametrize("here", [(-1, 2), (3, 3), (4, 2), (0, 8)])
def test_partitions_that_are_not_there(here: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="partitions"):
        core.Decomposition(np.zeros((3, 3)), np.eye(3), [False] * 3, 4.0, 7, here=here)


# --- results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_ranks", [1, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4))])
def test_results_are_those_of_the_undivided_model(n_ranks: int) -> None:
    output = succeeded(run_ranks(n_ranks, "toy_parity.py"))
    assert output.count(PASSED) == n_ranks


@pytest.mark.parametrize(
    ("family", "n_ranks", "n_partitions"), [("chgnet", 2, 5), ("chgnet", 3, 3), ("mace", 2, 3)]
)
def test_families(family: str, n_ranks: int, n_partitions: int) -> None:
    output = succeeded(run_ranks(n_ranks, "families.py", family, str(n_partitions)))
    assert output.count(PASSED) == n_ranks


@pytest.mark.parametrize("n_ranks", [2, 3])
def test_choices_are_the_same_on_all_ranks(n_ranks: int) -> None:
    assert succeeded(run_ranks(n_ranks, "choices.py")).count(PASSED) == n_ranks


def test_kernels_are_the_same_on_all_ranks() -> None:
    assert succeeded(run_ranks(2, "kernels.py")).count(PASSED) == 2


@pytest.mark.parametrize(
    ("family", "n_ranks"),
    [
        *(("toy", 2), ("toy", 3), ("chgnet", 2), ("mace", 2)),
        pytest.param("matgl_chgnet", 2, marks=pytest.mark.slow),
    ],
)
def test_gradients_of_parameters_are_those_of_the_undivided_model(family: str, n_ranks: int) -> None:
    assert succeeded(run_ranks(n_ranks, "training.py", family)).count(PASSED) == n_ranks


# --- scripts ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def energies(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """Of the script in one process."""
    file = tmp_path_factory.mktemp("dynamics") / "energies.npy"
    succeeded(run_ranks(1, "dynamics.py", str(file)))
    return np.load(file)


def test_an_unchanged_script_runs_on_rank_0(energies: np.ndarray, tmp_path: Path) -> None:
    file = tmp_path / "energies.npy"
    command = [sys.executable, "-m", "distmlip", "run", "-n", "3", str(SCRIPTS / "dynamics.py"), str(file)]
    environment = {
        **os.environ,
        "PYTHONPATH": python_path(),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("done") == 1
    np.testing.assert_allclose(np.load(file), energies, rtol=0, atol=1e-9)


def test_a_script_on_all_ranks_follows_rank_0(energies: np.ndarray, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        f"sys.argv = ['script.py', os.environ['RANK'] == '0' and {str(tmp_path / 'e.npy')!r} or '-', "
        "os.environ['RANK']]\n"  # another seed on every rank
        f"exec(compile(open({str(SCRIPTS / 'dynamics.py')!r}).read(), 'dynamics.py', 'exec'))\n"
    )
    succeeded(run_ranks(2, str(script)))
    np.testing.assert_allclose(np.load(tmp_path / "e.npy"), energies, rtol=0, atol=1e-9)


def test_torchrun(tmp_path: Path, energies: np.ndarray) -> None:
    file = tmp_path / "energies.npy"
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "distmlip", "run", str(SCRIPTS / "dynamics.py"), str(file)]
    environment = {
        **os.environ,
        "PYTHONPATH": python_path(),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(np.load(file), energies, rtol=0, atol=1e-9)


@pytest.fixture
def two_machines() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them, 10.91.0.1 and 10.91.0.2."""
    names = f"distmlip{os.getpid()}a", f"distmlip{os.getpid()}b"
    commands = [f"ip netns add {name}" for name in names]
    commands.append(f"ip link add cable netns {names[0]} type veth peer name cable netns {names[1]}")
    for number, name in enumerate(names, start=1):
        inside = f"ip -n {name}"
        commands += [f"{inside} addr add 10.91.0.{number}/24 dev cable", f"{inside} link set cable up"]
        commands.append(f"{inside} link set lo up")
    try:
        for command in commands:
            done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"the system refuses network namespaces: {command}: {done.stderr.strip()}")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.skipif(shutil.which("ip") is None, reason="needs the command ip for network namespaces")
def test_two_machines(two_machines: tuple[str, str]) -> None:
    environment = {"MASTER_ADDR": "10.91.0.1", "GLOO_SOCKET_IFNAME": "cable"}
    ended = run_ranks(2, "toy_parity.py", environment=environment, machines=two_machines)
    assert succeeded(ended).count(PASSED) == 2


# --- trouble ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("killed", "rank 1 is lost"),
        ("stopped", "rank 1 is lost: it has given no sign of life for [4-9] s"),
        ("out_of_memory", "rank 1 failed in an evaluation: OutOfMemoryError: no memory on purpose"),
        ("ended", "rank 1 has ended its script"),
    ],
)
def test_a_lost_rank_ends_the_run_on_every_rank(trouble: str, message: str) -> None:
    def release(processes: Sequence[subprocess.Popen[str]]) -> None:
        if trouble == "stopped":  # it stays so until the others have ended
            for rank in (0, 2):
                processes[rank].wait(timeout=LIMIT)
            processes[1].send_signal(signal.SIGKILL)

    environment = {"DISTMLIP_RANK_TIMEOUT": str(RANK_TIMEOUT), "TROUBLE": trouble}
    start = time.monotonic()
    ended = run_ranks(3, "trouble.py", environment=environment, meanwhile=release)
    assert time.monotonic() - start < LIMIT
    for rank in (0, 2):
        assert ended[rank].code == 3, ended[rank].output
        found = re.search(rf"after ([\d.]+) s: .*{message}", ended[rank].output)
        assert found, ended[rank].output
        assert float(found[1]) < 30.0
        assert re.search(rf"again: .*{message}", ended[rank].output)


def test_a_backward_that_fails_on_one_rank_ends_the_run_on_all() -> None:
    ended = run_ranks(2, "broken_backward.py", environment={"DISTMLIP_RANK_TIMEOUT": str(RANK_TIMEOUT)})
    message = "rank 1 failed in a backward"
    assert [one.code for one in ended] == [3, 3], ended
    assert re.search(rf"after ([\d.]+) s: .*{message}", ended[0].output), ended[0].output
    assert "went on" in ended[1].output
    for one in ended:
        assert re.search(rf"again: .*{message}", one.output), one.output


def test_a_slow_rank_is_not_lost() -> None:
    environment = {"DISTMLIP_RANK_TIMEOUT": str(RANK_TIMEOUT), "TROUBLE": "slow"}
    output = succeeded(run_ranks(2, "trouble.py", environment=environment))
    assert output.count(PASSED) == 2


def test_the_launcher_names_the_lost_rank() -> None:
    command = [sys.executable, "-m", "distmlip", "run", "-n", "2", str(SCRIPTS / "trouble.py")]
    environment = {
        **os.environ,
        "TROUBLE": "killed",
        "DISTMLIP_RANK_TIMEOUT": str(RANK_TIMEOUT),
        "PYTHONPATH": python_path(),
    }
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode != 0
    assert "rank 1 is lost" in done.stdout


def test_fewer_partitions_than_ranks_are_refused() -> None:
    ended = run_ranks(2, "refused.py")
    assert succeeded(ended).count(PASSED) == 2


# --- ranks that do not do the same --------------------------------------------------------------------------


def test_what_differs_between_ranks_is_an_error_on_all() -> None:
    assert succeeded(run_ranks(2, "disagreement.py")).count(PASSED) == 2


QUICK = {"DISTMLIP_RANK_TIMEOUT": "1"}


def test_a_first_call_on_rank_0_only_says_who_is_missing() -> None:
    output = succeeded(run_ranks(2, "absent.py", "first_call_on_rank_0_only", environment=QUICK))
    message = r"after ([\d.]+) s: rank 1 did not come within 10 s: .*first calculation.*ranks=False"
    first, second = re.findall(message, output)
    assert 10.0 <= float(first) < 40.0
    assert float(second) < 2.0, "who did not come once is not waited for again"
    assert "rank 0 waits for rank 1" in output


def test_a_later_call_on_rank_0_only_ends_with_the_time_limit_of_the_group() -> None:
    ended = run_ranks(2, "absent.py", "later_call_on_rank_0_only", environment=QUICK)
    found = re.search(
        r"after ([\d.]+) s: rank 0 has waited (\d+) s for rank 1 in an evaluation", ended[0].output
    )
    assert found, ended
    assert 10.0 <= float(found[1]) < 20.0
    assert "ranks=False" in ended[0].output


def test_the_last_rank_may_come_while_the_missing_ones_are_named() -> None:
    class JustInTime:
        """A store in which rank 1 appears between two looks."""

        looks = 0

        def set_timeout(self, _: object) -> None: ...

        def compare_set(self, _: str, __: str, value: str) -> bytes:
            return value.encode()

        def check(self, keys: list[str]) -> bool:
            self.looks += 1
            return "failed" not in keys and ("joined/1" not in keys or self.looks > 1)

    _wait_for_all(JustInTime(), Identity(0, 2, "cpu", os.getpid()), limit=1.0)


@pytest.mark.parametrize(
    ("rank", "environment", "message"),
    [
        ("0", {}, r"RankError: rank 1 did not come within 10 s"),
        (
            "1",
            {},
            r"RankError: rank 0 did not come within 10 s: MASTER_ADDR=.* do not answer.*RANK_TIMEOUT",
        ),
        ("1", {"MASTER_ADDR": ""}, r"InvalidInputError: RANK=1.*but MASTER_ADDR is not set.*ranks=False"),
        ("2", {}, r"InvalidInputError: RANK=2, WORLD_SIZE=2.*no rank below"),
        ("first", {}, r"InvalidInputError: RANK=first"),
    ],
)
def test_a_process_that_is_said_to_be_one_of_several_but_is_alone(
    rank: str, environment: dict[str, str], message: str
) -> None:
    environment = {**os.environ, **QUICK, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29876", **environment}
    environment |= {"PYTHONPATH": python_path(), "WORLD_SIZE": "2", "RANK": rank}
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert re.search(message, done.stdout), done.stdout + done.stderr


ALONE = """
import os
os.environ["RANK"], rank = "0", os.environ["RANK"]  # for the script itself
import runpy
names = runpy.run_path("{script}")
os.environ["RANK"] = rank
names["alone"]()
""".format(script=SCRIPTS / "absent.py")


def test_a_program_that_a_rank_starts_is_not_the_rank() -> None:
    output = succeeded(run_ranks(2, "absent.py", "twice", environment=QUICK))
    assert re.search(r"RankError: rank 1 of this run is process \d+ on .* already; .*ranks=False", output), (
        output
    )
