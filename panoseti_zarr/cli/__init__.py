"""The commands. Heavy imports stay inside them, so that ``--help`` answers at once."""
