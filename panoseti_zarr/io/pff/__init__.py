"""Reading run directories and their frame files."""
