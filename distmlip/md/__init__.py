"""ASE drivers with progress, trajectories and checkpoints."""

from distmlip.md.conversion import convert
from distmlip.md.drivers import Ensemble
from distmlip.md.frames import Frames, read
from distmlip.md.history import History
from distmlip.md.pictures import plot
from distmlip.md.running import relax, run
from distmlip.md.stopping import Ending

__all__ = ["Ending", "Ensemble", "Frames", "History", "convert", "plot", "read", "relax", "run"]
