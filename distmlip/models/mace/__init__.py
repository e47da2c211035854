"""MACE of the package mace-torch."""

import torch

# e3nn 0.4.4 loads its constants with torch.load, which has to be told about slices since torch 2.6. It is
# imported here, before any module of this folder can ask for it.
with torch.serialization.safe_globals([slice]):
    from mace.calculators import MACECalculator

__all__ = ["MACECalculator"]
