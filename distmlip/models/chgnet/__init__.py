"""CHGNet of the package chgnet."""
