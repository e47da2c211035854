"""Machine-learning interatomic potentials over many partitions and devices, exactly."""

from distmlip.calculator import DistCalculator, Verification
from distmlip.neighbors import neighbor_list
from distmlip.partitioning import partition
from distmlip.plan import Plan
from distmlip.training import DistModel, Prediction

__all__ = ["DistCalculator", "DistModel", "Plan", "Prediction", "Verification", "neighbor_list", "partition"]
__version__ = "0.1.0"
