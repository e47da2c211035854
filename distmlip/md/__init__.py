"""ASE drivers with a progress bar and a record of what happened."""

from distmlip.md.drivers import nvt, relax
from distmlip.md.history import History

__all__ = ["History", "nvt", "relax"]
