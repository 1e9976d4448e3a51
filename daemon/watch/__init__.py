"""What looks at the disk: notices, scans of roots and runs, mounts."""
