"""How many partitions, and what is computed again, where the user leaves it open."""
