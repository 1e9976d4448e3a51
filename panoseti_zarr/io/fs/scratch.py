"""Memory that is reused for chunk after chunk.

The first touch of fresh memory costs as much as the work on it.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

_thread_buffers = threading.local()


def scratch(name: str, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> npt.NDArray[Any]:
    """Return an uninitialised array in memory that this thread keeps under a name.

    A thread has one chunk at a time in hand, so it can have the same memory each time: what was
    returned before under this name is overwritten.
    """
    n_bytes = int(np.prod(shape)) * dtype.itemsize
    buffers: dict[str, npt.NDArray[np.uint8]] = _thread_buffers.__dict__
    if name not in buffers or buffers[name].size < n_bytes:
        buffers.pop(name, None)
        buffers[name] = np.empty(n_bytes, np.uint8)
    return buffers[name][:n_bytes].view(dtype).reshape(shape)
