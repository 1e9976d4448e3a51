"""Comparison of an L0 store with its frame files, in a thread of its own.

Its chunks are tasks on the executor, on at most half of its slots, so that a job that starts
finds one free; while jobs run no further chunk is begun.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from panoseti_zarr.core.pff.names import store_name
from panoseti_zarr.daemon.jobs.context import JobContext, check_device, classify_error, run_path
from panoseti_zarr.daemon.state.events import Outcome, VerifyEnded
from panoseti_zarr.daemon.state.instructions import JobTarget, StartVerify
from panoseti_zarr.daemon.watch.run_scan import stream_digest
from panoseti_zarr.errors import SourceChangedError, StopRequestedError, TransientIOError
from panoseti_zarr.io.l0.metadata import L0State, read_state
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.io.verify import ChunkWork, Difference, compare_chunk, verify_store
from panoseti_zarr.pipeline.ordered import run_in_order

_POLL_S = 0.2
"""How often a comparison that is held looks whether it is to stop."""


def run_verify(job: StartVerify, context: JobContext) -> None:
    """Compare a closed L0 store with its frame files, and post how the job ended."""
    try:
        event = _VerifyRun(job, context).run()
    except BaseException as error:  # noqa: BLE001 - a job's boundary: every end is reported
        if isinstance(error, SourceChangedError):
            error = TransientIOError(str(error))
        failure = classify_error(error, context.stop)
        target = job.target
        if failure.blames_data and not _is_there(target, context):
            failure = failure._replace(outcome=Outcome.MISSING)
        event = VerifyEnded(time.monotonic(), target.run, target.stream, *failure)
    context.post(event)


class _VerifyRun:
    """One comparison under way."""

    def __init__(self, job: StartVerify, context: JobContext) -> None:
        target = self._target = job.target
        self._digest = job.digest
        self._context = context
        self._key = target.key
        self._beside = context.live_runs.directories(Path(target.root), target.run)
        self._store = context.l0_dir / store_name(target.run, self._key)
        self._held_s = 0.0

    def run(self) -> VerifyEnded:
        """Compare, and see that neither side changed meanwhile."""
        if not _is_there(self._target, self._context):
            return self._ended(Outcome.MISSING, "its frame files, or its L0 store, are gone")
        before = self._look()
        if before is None or not before.closed:
            return self._ended(Outcome.CHANGED, "its frame files changed, or its store is open")
        report = verify_store(
            self._store, run_path(self._target), self._compare, beside=self._beside
        )
        verified_ns = time.time_ns()
        if (after := self._look()) is None or _version(after) != _version(before):
            return self._ended(Outcome.CHANGED, "its frame files or its store changed meanwhile")
        if found := report.difference:
            return VerifyEnded(
                time.monotonic(),
                self._target.run,
                self._target.stream,
                Outcome.CORRUPT,
                str(found),
                frame_index=found.frame_index,
                file=found.file,
                byte_offset=found.byte_offset,
            )
        return VerifyEnded(
            time.monotonic(),
            self._target.run,
            self._target.stream,
            Outcome.DONE,
            verified_ns=verified_ns,
            store_id=before.store_id,
            commit=before.commit,
            n_frames=report.n_frames,
            n_bytes=report.n_bytes,
            seconds=max(0.0, report.seconds - self._held_s),
        )

    def _ended(self, outcome: Outcome, reason: str) -> VerifyEnded:
        return VerifyEnded(time.monotonic(), self._target.run, self._target.stream, outcome, reason)

    def _look(self) -> L0State | None:
        """Return what the store says of itself; None where the frame files are not as listed.

        Raises
        ------
        TransientIOError
            A root or an output directory is another file system than before.
        """
        check_device(Path(self._target.root), self._target.root_device, "the data root")
        check_device(self._context.l0_dir, self._target.output_device, "l0_dir")
        listing = list_run(run_path(self._target), self._beside, only=self._key)
        is_as_listed = stream_digest(listing, self._key) == self._digest
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
            self._context.executor,
            compare_chunk,
            wanted(),
            lambda results: found.extend(difference for difference in results if difference),
            n_at_once=max(1, self._context.executor.n_slots // 2),
            check_stop=self._check_stop,
        )
        return found[0] if found else None

    def _wait_for_turn(self) -> None:
        started_s = time.monotonic()
        while not self._context.may_verify.wait(_POLL_S):
            self._check_stop()
        self._held_s += time.monotonic() - started_s

    def _check_stop(self) -> None:
        if self._context.stop.is_set():
            raise StopRequestedError(f"{self._key}: stopped")


def _is_there(target: JobTarget, context: JobContext) -> bool:
    """Whether there are a run and a store to compare."""
    store = context.l0_dir / store_name(target.run, target.key)
    return os.path.isdir(run_path(target)) and os.path.lexists(store)


def _version(state: L0State) -> tuple[str, int]:
    return state.store_id, state.commit
