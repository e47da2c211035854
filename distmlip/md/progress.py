"""How far a run is, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

BETWEEN_LINES = 30.0  # s, where lines stay, as in the file of a batch job


@contextmanager
def progress_bar(steps: int, label: str) -> Iterator[Callable[[int, str], None]]:
    """A bar of so many steps; what it gives is called with the steps done and what is to be seen beside."""
    stays = not sys.stderr.isatty()
    with tqdm(
        total=steps,
        desc=label,
        unit="step",
        dynamic_ncols=True,
        mininterval=BETWEEN_LINES if stays else 0.1,
    ) as bar:

        def advance(done: int, beside: str) -> None:
            bar.set_postfix_str(beside, refresh=False)
            bar.update(done - bar.n)

        yield advance
