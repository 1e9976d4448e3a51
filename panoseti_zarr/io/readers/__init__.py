"""Reading stores, also while they grow."""
