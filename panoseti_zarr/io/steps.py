"""The named steps of the protocols: where a process can be killed and what was done by then.

The code says when it has taken a step; nobody listens, but for the tests that kill the process
there. `STEPS` is the whole list, in the order of an append to a new store, then to one that exists.
"""

from __future__ import annotations

from collections.abc import Callable

STEPS = (
    "recover.swept",
    "recover.arrays_restored",
    "recover.chunks_removed",
    "append.planned",
    "chunk.read",
    "chunk.written",
    "chunk.durable",
    "create.begun",
    "create.written",
    "create.durable",
    "create.renamed",
    "create.done",
    "commit.checked",
    "commit.chunks_moved",
    "commit.chunks_durable",
    "commit.arrays_replaced",
    "commit.arrays_durable",
    "commit.root_replaced",
    "commit.done",
)

_listener: Callable[[str], None] | None = None


def reached(step: str) -> None:
    """Say that a step is done."""
    if _listener is not None:
        _listener(step)


def listen(listener: Callable[[str], None] | None) -> None:
    """Have a function called, in the thread that takes the step, with each step's name."""
    global _listener  # noqa: PLW0603 - one listener a process, for tests
    _listener = listener
