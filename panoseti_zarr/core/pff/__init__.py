"""PFF: names, frames, headers, times; pure functions."""
