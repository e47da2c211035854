"""REANN, recursively embedded atom neural networks, over partitions: see README.md."""
