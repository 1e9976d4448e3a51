"""Pure functions on names, frames, times and statistics: no disk, clock or log."""
