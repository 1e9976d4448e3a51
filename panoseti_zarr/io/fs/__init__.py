"""Files and file systems: durable writes, locks, failpoints, memory."""
