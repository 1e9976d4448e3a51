"""Sidecar files of the stores: the housekeeping table, copies of a run's small files."""
