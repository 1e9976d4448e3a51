"""Keeps the ledger up to date with the state machine's records."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr.daemon.log import get_logger
from panoseti_zarr.daemon.state.events import Started
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.daemon.status.ledger import Ledger, Rows, rows_of


@dataclass(frozen=True)
class LedgerBatch:
    """One write to the ledger: runs by name, volumes, and request files to delete afterwards."""

    rows: dict[str, Rows]
    volumes: tuple[tuple[str, str], ...]
    requests: tuple[Path, ...]


class LedgerWriter:
    """Collects changed runs in the loop and writes them in another thread.

    Parameters
    ----------
    ledger : Ledger
    state : ServiceStateMachine
        Read in the loop's thread only.
    offset_ns : int
        Unix time minus monotonic time.
    """

    def __init__(self, ledger: Ledger, state: ServiceStateMachine, offset_ns: int) -> None:
        self._ledger = ledger
        self._state = state
        self._offset_ns = offset_ns
        self._unsaved: set[str] = set()
        self._requests: list[Path] = []

    def load(self, roots: tuple[str, ...]) -> Started:
        """Return the start of the service, with what the ledger remembers."""
        runs = self._ledger.load(self._offset_ns)
        if self._ledger.replaced:
            get_logger().warning("ledger.replaced", reason=self._ledger.replaced)
        return Started(time.monotonic(), roots, runs, self._ledger.volumes())

    @property
    def has_news(self) -> bool:
        """Whether something is to be written."""
        return bool(self._unsaved or self._requests)

    def save(self, run: str) -> None:
        """Write a run with the next batch."""
        self._unsaved.add(run)

    def delete_when_saved(self, request: Path) -> None:
        """Delete a request file once the next batch is written."""
        self._requests.append(request)

    def take(self) -> LedgerBatch:
        """Return what is to be written now."""
        rows = {name: rows_of(self._state.runs[name], self._offset_ns) for name in self._unsaved}
        batch = LedgerBatch(rows, self._state.volumes(), tuple(self._requests))
        self._unsaved, self._requests = set(), []
        return batch

    def write(self, batch: LedgerBatch) -> bool:
        """Write a batch, in the writer's thread; log a failure and return whether it worked."""
        try:
            self._ledger.save(list(batch.rows.values()), batch.volumes)
            for path in batch.requests:
                path.unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - a thread's boundary: it is tried again
            get_logger().error("ledger.failed", reason=str(error))
            return False
        return True

    def put_back(self, batch: LedgerBatch) -> None:
        """Have a batch that could not be written written again, with what is new."""
        self._unsaved.update(batch.rows)
        self._requests[:0] = batch.requests

    def close(self) -> None:
        """Close the ledger, in the writer's thread."""
        self._ledger.close()
