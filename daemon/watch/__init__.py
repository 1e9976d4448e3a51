"""Looking at the disk: change notices, scans of roots and runs, mounts."""
