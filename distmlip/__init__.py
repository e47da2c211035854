"""Machine-learning interatomic potentials over many partitions and devices, exactly."""

from distmlip.calculator import DistCalculator
from distmlip.graph.neighbors import neighbor_list
from distmlip.graph.partitioning import partition
from distmlip.records.plan import Plan
from distmlip.records.profile import Profile
from distmlip.records.verification import Verification
from distmlip.training.model import DistModel, Prediction

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
