"""One script, many ranks: rank 0 runs it unchanged, the other ranks serve its calculators.

``torchrun … -m distmlip run script.py`` starts the ranks on one machine or several; :func:`launch` starts
them on this one.
"""

from __future__ import annotations

import builtins
import ctypes
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from distmlip.calculator import DistCalculator
from distmlip.errors import DistMLIPError, RankError
from distmlip.machine.limits import available_cores
from distmlip.ranks.driver import Driver, Message, Task
from distmlip.ranks.group import Ranks, ranks_of_this_run
from distmlip.ranks.heartbeat import rank_timeout
from distmlip.ranks.identity import LAUNCHER_VARIABLES

GRACE = 15.0
"""Seconds that survivors have, after a lost rank was noticed, to say so and end; and that a script has to end
after a signal."""

LAUNCHER = "DISTMLIP_LAUNCHER"
"""Environment variable that tells a rank the process that started it, with which it ends."""

PR_SET_PDEATHSIG = 1
"""Of Linux's prctl."""


def run_script(script: Path, arguments: Sequence[str]) -> None:
    """Run a script as ``python script.py arguments`` would; on ranks other than 0 serve it.

    Raises:
        RankError: another rank failed or is lost.
    """
    if leads():
        _run_as_main(script, arguments)


def leads() -> bool:
    """Whether this process is to do the work: it is alone, or rank 0. Other ranks have served it until then.

    Raises:
        RankError: another rank failed or is lost.
    """
    ends_with_launcher = _end_with_launcher()
    ranks = ranks_of_this_run()
    if ranks is not None and ranks.rank != 0:
        # What they mean is for the script to say. Slurm and terminals send them to every process.
        for number in _Signals.PASSED_ON if ends_with_launcher else (signal.SIGINT,):
            signal.signal(number, signal.SIG_IGN)
        serve(ranks)
        return False
    if ranks is not None:
        ranks.connect()  # while the environment says how
    for name in LAUNCHER_VARIABLES:  # the script, and programs that it starts, are no ranks of their own
        os.environ.pop(name, None)
    if ranks is not None:
        Driver(ranks).begin()
    return True


def _run_as_main(script: Path, arguments: Sequence[str]) -> None:
    """Unlike with runpy, the script stays the main module until the end, and has an absolute path."""
    sys.argv = [str(script), *arguments]
    _search_modules_beside(script)
    main = ModuleType("__main__")
    vars(main).update(__file__=str(script.absolute()), __builtins__=builtins)
    sys.modules["__main__"] = main
    with io.open_code(str(script)) as file:
        code = compile(file.read(), vars(main)["__file__"], "exec")
    try:
        exec(code, vars(main))
    except SystemExit:
        raise
    except BaseException as error:
        # As Python would; the command line would take an EOFError, or a pipe that broke, for its own.
        of_script = error.__traceback__.tb_next if error.__traceback__ else None
        sys.excepthook(type(error), error.with_traceback(of_script), of_script)
        raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None


def serve(ranks: Ranks) -> None:
    """Do what rank 0 says until its script ends."""
    calculators: dict[int, DistCalculator] = {}
    tasks: dict[Task, Callable[[Message], object]] = {
        Task.EVALUATE: lambda message: calculators[message.calculator].evaluate_shared(*message.content),
        Task.PLAN: lambda message: calculators[message.calculator].plan_shared(*message.content),
        Task.PROFILE: lambda message: calculators[message.calculator].profile_shared(*message.content),
    }
    while True:
        with ranks.together("receiving what rank 0 sends"):
            message: Message = ranks.broadcast(None)
        for number in message.dropped:
            calculators.pop(number, None)
        if message.task is Task.END:
            return
        if message.task is Task.MAKE:
            with ranks.together(message.task.value):
                model, options = message.content
                calculators[message.calculator] = DistCalculator(model, **options)
            continue
        try:
            tasks[message.task](message)
        except RankError:
            raise
        except DistMLIPError:
            pass  # rank 0 raises it as well, and its script decides what follows


def launch(n_ranks: int, arguments: Sequence[str]) -> int:
    """Run ``distmlip`` with these arguments on so many processes of this machine; returns the exit code.

    Each gets its share of the job's cores, unless OMP_NUM_THREADS says otherwise, and the GPU of its number.
    They end with this process, whatever ends it.
    """
    environment = {
        "OMP_NUM_THREADS": str(max(1, available_cores() // n_ranks)),
        **{name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES},
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(n_ranks),
        LAUNCHER: str(os.getpid()),
    }
    # -P: the working folder is no place for modules, as it is none for `python script.py`.
    command = [sys.executable, "-P", "-m", "distmlip", *arguments]
    processes: list[subprocess.Popen[bytes]] = []
    signals = _Signals(processes)
    try:
        for rank in range(n_ranks):
            of_rank = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            stdin = None if rank == 0 else subprocess.DEVNULL
            processes.append(subprocess.Popen(command, env=of_rank, stdin=stdin))
        return signals.exit_code or _wait(processes, signals)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        signals.restore()


class _Signals:
    """What ends the launcher is passed on to the script on rank 0, which may want to save something; other
    ranks serve it until it ends."""

    PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)

    def __init__(self, processes: list[subprocess.Popen[bytes]]) -> None:
        self.exit_code = 0
        """128 + the signal's number, as shells have it; 0 before."""
        self.deadline = float("inf")
        """When all have had time enough to end by themselves."""
        self._processes = processes
        self._before = {
            number: signal.signal(number, self._handle)
            for number in self.PASSED_ON
            if signal.getsignal(number) is not signal.SIG_IGN  # as nohup has it
        }

    def end_within(self, seconds: float) -> None:
        """Unless that was said before."""
        self.deadline = min(self.deadline, time.monotonic() + seconds)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: object) -> None:
        # An interrupted script may go on for as long as it likes, unless it is interrupted again.
        if number != signal.SIGINT or self.exit_code:
            self.end_within(GRACE)
        self.exit_code = self.exit_code or 128 + number
        # A terminal has sent the interrupt to the script, too.
        if self._processes and not (number == signal.SIGINT and _has_terminal()):
            self._processes[0].send_signal(number)


def _wait(processes: list[subprocess.Popen[bytes]], signals: _Signals) -> int:
    """The first exit code that is not 0. Survivors of a lost rank get the time to find out and to say so."""
    failed = 0
    while any(process.poll() is None for process in processes) and time.monotonic() < signals.deadline:
        codes = [process.returncode for process in processes]
        if signals.exit_code and codes[0] is not None:
            break
        if not failed and any(codes):
            failed = _first_failure(codes)
            signals.end_within(rank_timeout() + GRACE)
        time.sleep(0.05)
    codes = [process.poll() for process in processes]
    if not signals.exit_code:
        code = failed or _first_failure(codes)
    else:  # the script may have taken the signal as an order to end well
        code = signals.exit_code if codes[0] is None else codes[0]
    return 128 - code if code < 0 else code


def _first_failure(codes: Sequence[int | None]) -> int:
    return next((code for code in codes if code), 0)


def _has_terminal() -> bool:
    """Whether this process and its children belong to a terminal's foreground."""
    try:
        with open("/dev/tty") as terminal:  # noqa: PTH123  a device
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _end_with_launcher() -> bool:
    """Die when the launcher does, also if it was killed and could not say so (Linux); whether that is so."""
    launcher = os.environ.pop(LAUNCHER, None)
    if launcher is None or not sys.platform.startswith("linux"):
        return False
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.kill(int(launcher), 0)
    except ProcessLookupError:  # it died before this
        os.kill(os.getpid(), signal.SIGKILL)
    return True


def _search_modules_beside(script: Path) -> None:
    """As for ``python script.py``, the script's folder takes the place of that of this command."""
    if os.environ.get("PYTHONSAFEPATH"):
        return
    if not sys.flags.safe_path:
        del sys.path[0]
    sys.path.insert(0, str(script.resolve().parent))


def free_port() -> int:
    """A port that nobody listens on, at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
