"""The statistics and formulas of L1; pure functions."""
