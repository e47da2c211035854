"""From atoms and an adapter to energies, forces and virials over partitions."""
