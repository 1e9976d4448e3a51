"""Settings of the C library that keep the memory of one chunk for the next."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), as glibc's malloc.h numbers them.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MOST_BYTES = 2**31 - 1


def tune_malloc() -> None:
    """Have freed memory used again by this process, not given back and fetched again.

    By default glibc maps each large buffer again, and every page of it costs a fault when it is
    first touched: for chunks that is as much time as decoding them. One arena for all threads,
    because others cannot hold such buffers and would keep memory of their own. The process keeps
    its peak until it ends. Where there is no ``mallopt`` nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    for parameter, value in (
        (_M_MMAP_THRESHOLD, _MOST_BYTES),
        (_M_TRIM_THRESHOLD, _MOST_BYTES),
        (_M_ARENA_MAX, 1),
    ):
        mallopt(parameter, value)
