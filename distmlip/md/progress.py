"""How far a run is, on stderr."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import TqdmWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TqdmWarning)  # of notebooks without widgets, where a line of text will do
    from tqdm.auto import tqdm

BETWEEN_LINES = 30.0  # s, where lines stay, as in the file of a batch job


FS_PER_NS, S_PER_DAY = 1e6, 86400.0


@contextmanager
def progress_bar(
    steps: int, label: str, done: int = 0, timestep: float | None = None, unit: str = "step"
) -> Iterator[Callable[[int, str], None]]:
    """A bar of so many steps, some of them ``done`` before it; what it gives is called with the steps that
    are done by then and what is to be seen beside. With a ``timestep`` (fs) the speed of dynamics is, too."""
    stays = not (sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel"))
    with tqdm(
        total=steps,
        initial=done,
        desc=label,
        unit=unit,
        dynamic_ncols=True,
        mininterval=BETWEEN_LINES if stays else 0.1,
    ) as bar:

        def advance(now: int, beside: str) -> None:
            elapsed = bar.format_dict["elapsed"]  # s
            if timestep is not None and elapsed > 0:
                per_second = (now - done) * timestep / elapsed
                beside = f"{per_second / FS_PER_NS * S_PER_DAY:.3g} ns/day, {beside}"
            bar.set_postfix_str(beside, refresh=False)
            bar.update(now - bar.n)

        yield advance
