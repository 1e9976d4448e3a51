"""Summaries over time and pixels; pure functions."""
