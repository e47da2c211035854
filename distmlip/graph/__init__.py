"""Neighbour lists and partitions by themselves, for everybody."""
