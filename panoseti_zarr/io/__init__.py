"""What touches the disk: reading runs, writing and checking stores, simulating runs."""
