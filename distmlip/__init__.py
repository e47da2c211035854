"""Machine-learning interatomic potentials over many partitions and devices, exactly."""

from distmlip.calculator import DistCalculator
from distmlip.neighbors import neighbor_list
from distmlip.partitioning import partition
from distmlip.plan import Plan
from distmlip.profiling import Profile
from distmlip.training.model import DistModel, Prediction
from distmlip.verification import Verification

__all__ = [
    "DistCalculator",
    "DistModel",
    "Plan",
    "Prediction",
    "Profile",
    "Verification",
    "neighbor_list",
    "partition",
]
__version__ = "0.1.0"
