"""What runs in threads and child processes: ingests, comparisons, pictures, tables."""
