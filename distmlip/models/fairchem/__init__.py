"""eSEN and UMA."""
