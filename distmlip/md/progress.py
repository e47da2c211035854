"""A progress bar for any ASE driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ase.optimize.optimize import Dynamics
from tqdm import tqdm


@contextmanager
def progress_bar(dynamics: Dynamics, steps: int, label: str, describe: Callable[[], str]) -> Iterator[None]:
    """Show ``label``, the steps done of ``steps`` and ``describe()`` on stderr while ``dynamics`` runs."""
    with tqdm(total=steps, desc=label, unit="step", dynamic_ncols=True) as bar:

        def advance() -> None:
            # A driver calls its observers for the initial state, too.
            bar.update(dynamics.nsteps - bar.n)
            bar.set_postfix_str(describe(), refresh=True)

        dynamics.attach(advance)
        yield
