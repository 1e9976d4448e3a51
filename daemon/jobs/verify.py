"""The comparison of an L0 store with its frame files, run to its end in a thread.

Its chunks are tasks on the executor, on at most half of its slots, so that a job that starts
finds one free; while jobs run no further chunk is begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from panoseti_zarr.core.pff.names import store_name
from panoseti_zarr.daemon.jobs.context import JobContext, check_device, classify_error, parse_stream
from panoseti_zarr.daemon.state.events import Outcome, VerifyEnded
from panoseti_zarr.daemon.state.instructions import StartVerify
from panoseti_zarr.daemon.watch.run_scan import stream_digest
from panoseti_zarr.errors import SourceChangedError, StopRequestedError, TransientIOError
from panoseti_zarr.io.l0.metadata import L0State, read_state
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.verify import ChunkWork, Difference, compare_chunk, verify_store
from panoseti_zarr.pipeline.ordered import run_in_order

_POLL_S = 0.2
"""How often a comparison that is held looks whether it is to stop."""


def run_verify(job: StartVerify, workshop: JobContext) -> None:
    """Compare a closed L0 store with its frame files; tell how it ended."""
    try:
        event = _VerifyRun(job, workshop).run()
    except BaseException as error:  # noqa: BLE001 - the task boundary: it must be reported
        if isinstance(error, SourceChangedError):
            error = TransientIOError(str(error))
        outcome, reason = classify_error(error, workshop.stop)
        if outcome is Outcome.CORRUPT and not _is_there(job, workshop):
            outcome = Outcome.MISSING
        event = VerifyEnded(time.monotonic(), job.run, job.stream, outcome, reason)
    workshop.tell(event)


class _VerifyRun:
    """One comparison under way."""

    def __init__(self, job: StartVerify, workshop: JobContext) -> None:
        self._job = job
        self._workshop = workshop
        self._key = parse_stream(job.stream)
        self._run = Path(job.root) / job.run
        self._beside = workshop.recordings.directories(Path(job.root), job.run)
        self._store = workshop.l0_dir / store_name(job.run, self._key)
        self._held_s = 0.0

    def run(self) -> VerifyEnded:
        """Compare, and see that neither side changed meanwhile."""
        if not _is_there(self._job, self._workshop):
            return self._ended(Outcome.MISSING, "its frame files, or its L0 store, are gone")
        before = self._look()
        if before is None or not before.closed:
            return self._ended(Outcome.CHANGED, "its frame files changed, or its store is open")
        report = verify_store(self._store, self._run, self._compare, beside=self._beside)
        verified_ns = time.time_ns()
        if (after := self._look()) is None or _version(after) != _version(before):
            return self._ended(Outcome.CHANGED, "its frame files or its store changed meanwhile")
        if found := report.difference:
            return VerifyEnded(
                time.monotonic(),
                self._job.run,
                self._job.stream,
                Outcome.CORRUPT,
                str(found),
                frame_index=found.frame_index,
                file=found.file,
                byte_offset=found.byte_offset,
            )
        return VerifyEnded(
            time.monotonic(),
            self._job.run,
            self._job.stream,
            Outcome.DONE,
            "",
            verified_ns,
            before.store_id,
            before.commit,
            report.n_frames,
            report.n_bytes,
            max(0.0, report.seconds - self._held_s),
        )

    def _ended(self, outcome: Outcome, reason: str) -> VerifyEnded:
        return VerifyEnded(time.monotonic(), self._job.run, self._job.stream, outcome, reason)

    def _look(self) -> L0State | None:
        """Return what the store says of itself; None where the frame files are not as listed.

        Raises
        ------
        TransientIOError
            A root or an output directory is another file system than before.
        """
        check_device(Path(self._job.root), self._job.root_device, "the data root")
        check_device(self._workshop.l0_dir, self._job.l0_device, "l0_dir")
        listing = list_run(self._run, self._beside, only=self._key)
        is_as_listed = stream_digest(listing, self._key) == self._job.digest
        return read_state(self._store) if is_as_listed else None

    def _compare(self, works: Iterable[ChunkWork]) -> Difference | None:
        """Compare chunks on the executor, in order, and none after a difference was found."""
        found: list[Difference] = []

        def wanted() -> Iterator[tuple[ChunkWork]]:
            for work in works:
                if found:
                    return
                self._wait_for_turn()
                yield (work,)

        run_in_order(
            self._workshop.executor,
            compare_chunk,
            wanted(),
            lambda results: found.extend(difference for difference in results if difference),
            n_at_once=max(1, self._workshop.executor.n_slots // 2),
            check_stop=self._check_stop,
        )
        return found[0] if found else None

    def _wait_for_turn(self) -> None:
        started_s = time.monotonic()
        while not self._workshop.may_verify.wait(_POLL_S):
            self._check_stop()
        self._held_s += time.monotonic() - started_s

    def _check_stop(self) -> None:
        if self._workshop.stop.is_set():
            raise StopRequestedError(f"{self._key}: stopped")


def _is_there(job: StartVerify, workshop: JobContext) -> bool:
    """Whether there is a run and a store to compare, however they may be."""
    store = workshop.l0_dir / store_name(job.run, parse_stream(job.stream))
    return os.path.isdir(Path(job.root) / job.run) and os.path.lexists(store)


def _version(state: L0State) -> tuple[str, int]:
    return state.store_id, state.commit
