"""Reports of what happened: the log, systemd, metrics, progress."""
