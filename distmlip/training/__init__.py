"""Predictions over partitions that can be differentiated with respect to the model's parameters."""
