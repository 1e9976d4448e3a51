"""A frame file as the DAQ writes it, through a buffer of the C library."""

from __future__ import annotations

import os
from pathlib import Path

BUFFER_BYTES = 1 << 20
"""What the DAQ gives to ``setvbuf`` for a frame file: its size on disk grows in such steps."""


class DaqFile:
    """A file whose bytes reach the disk when a buffer is full, and when it is closed.

    Parameters
    ----------
    path : pathlib.Path
        Appended to; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pending = bytearray()
        self._file = path.open("ab", buffering=0)

    def write(self, data: memoryview) -> None:
        """Take bytes; write those of full buffers, and no others."""
        self._pending += data
        n_whole = len(self._pending) // BUFFER_BYTES * BUFFER_BYTES
        if n_whole:
            self._write_out(n_whole)
            del self._pending[:n_whole]

    def close(self, n_cut: int = 0) -> None:
        """Write the rest, but the last ``n_cut`` bytes of the file, and close it."""
        n_rest = len(self._pending) - n_cut
        self._write_out(max(n_rest, 0))
        if n_rest < 0:
            self._file.truncate(max(self._file.tell() + n_rest, 0))
        self.abandon()

    def abandon(self) -> None:
        """Close the file without the rest, as when the DAQ is killed."""
        self._pending.clear()
        self._file.close()

    def _write_out(self, n_bytes: int) -> None:
        with memoryview(self._pending) as pending:
            done = 0
            while done < n_bytes:
                done += os.write(self._file.fileno(), pending[done:n_bytes])
