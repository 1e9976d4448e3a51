"""Making an L1 store."""
