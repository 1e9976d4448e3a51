"""The named steps of the protocols: where a process can be killed and what was done by then.

The code says when it has taken a step; nobody listens, but for the tests that kill the process
there.
"""

from __future__ import annotations

from collections.abc import Callable

L0_STEPS = (
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
"""Of an append to a new store, then to one that exists, in their order."""

SWAP_STEPS = ("swap.put_aside", "swap.in_place", "swap.durable")
"""Of a store that takes its place, L0 or L1; the first only where names cannot be exchanged."""

L1_STEPS = (
    "l1.swept",
    "l1.begun",
    "l1.created",
    "l1_chunk.written",
    "l1_chunk.staged",
    "l1_chunk.moved",
    "l1.root_written",
    "l1.durable",
    "l1.done",
)
"""Of the making of an L1 store, but for `SWAP_STEPS` before the last."""

SERVICE_STEPS = (
    "ledger.put_aside",
    "ledger.opened",
    "ledger.run_written",
    "ledger.committed",
    "snapshot.written",
    "snapshot.replaced",
)
"""Of the service's own files; the first only where a ledger cannot be used."""

_listener: Callable[[str], None] | None = None


def reached(step: str) -> None:
    """Say that a step is done."""
    if _listener is not None:
        _listener(step)


def listen(listener: Callable[[str], None] | None) -> None:
    """Have a function called, in the thread that takes the step, with each step's name."""
    global _listener  # noqa: PLW0603 - one listener a process, for tests
    _listener = listener
