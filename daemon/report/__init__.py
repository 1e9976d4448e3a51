"""Who is told of what happened: the log, systemd, metrics, progress."""
