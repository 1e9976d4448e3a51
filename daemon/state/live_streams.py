"""Streams that are appended while they are recorded: when each append is due. Pure.

A stream opens with the first bytes of its files. A round appends what it has: at once where a
chunk has filled or another file can be read; at the latest ``tail_flush_s`` after the last tail
was shown, and then the tail too. When the run is finished its listing queues the stream, and the
job_queue closes it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from panoseti_zarr.core.pff.growth import Growth
from panoseti_zarr.daemon.state.events import AppendEnded, Outcome, RunScanned
from panoseti_zarr.daemon.state.instructions import Instruction, StartAppend
from panoseti_zarr.daemon.state.job_queue import JobQueue, requeue
from panoseti_zarr.daemon.state.records import FOLLOWED, Root, Run, Stream, StreamStatus
from panoseti_zarr.daemon.state.retries import quarantine, schedule_retry
from panoseti_zarr.daemon.state.settings import Settings

MAX_DIFFERING = 3
"""Rounds in a row that may find files that differ from the store, or end in an unexpected error,
before the stream is put in quarantine. A scan in the middle of a change finds differences that
are gone a moment later."""


@dataclass
class LiveStream:
    """What is known of an open stream: its files now, and as they were for the last round."""

    growth: Growth
    round: Growth | None = None
    n_pending_frames: int = 0
    next_chunk_bytes: int | None = None
    flush_due_s: float = -math.inf
    n_differing: int = 0

    @property
    def has_new_file(self) -> bool:
        """Another file can be read since the last round."""
        return self.round is not None and self.growth.n_files > self.round.n_files

    @property
    def has_filled_chunk(self) -> bool:
        """The files have grown to where a chunk is full."""
        return (
            self.round is not None
            and self.next_chunk_bytes is not None
            and self.growth.size_bytes >= self.next_chunk_bytes
            and self.growth.size_bytes > self.round.size_bytes
        )

    @property
    def due_s(self) -> float:
        """Monotonic time at which a round is due."""
        if self.has_new_file or self.has_filled_chunk:
            return -math.inf
        return self.flush_due_s if self.growth != self.round or self.n_pending_frames else math.inf


class LiveStreams:
    """The open streams.

    Parameters
    ----------
    runs, roots : dict
        The state machine's own records, shared with it.
    job_queue : JobQueue
        Knows whether a job may start; rounds are jobs too.
    """

    def __init__(self, runs: dict[str, Run], roots: dict[str, Root], job_queue: JobQueue) -> None:
        self._runs = runs
        self._roots = roots
        self._job_queue = job_queue
        self._open: dict[tuple[str, str], LiveStream] = {}

    def on_growth(self, run: Run, event: RunScanned) -> bool:
        """Take in how far the files of a run have come; return whether a stream opened."""
        has_opened = False
        for growth in event.growth:
            if growth.size_bytes == 0:
                continue
            stream = run.streams.get(growth.key)
            if stream is None:
                stream = run.streams[growth.key] = Stream(growth.key, StreamStatus.WAITING)
                stream.rebuild = run.rebuild
            is_wanted = not (stream.rebuild or stream.is_closed)
            if stream.status is StreamStatus.WAITING and is_wanted:
                stream.status = StreamStatus.OPEN
                has_opened = True
            if stream.status in FOLLOWED:
                stream.size_bytes = growth.size_bytes
                known = self._open.setdefault((run.name, growth.key), LiveStream(growth))
                known.growth = growth
        return has_opened

    def start(self, now_s: float, settings: Settings) -> list[Instruction]:
        """Start the rounds that are due, those first that have been for the longest."""
        if not (settings.follow and self._open):
            return []
        self._forget()
        if not self._job_queue.may_start:
            return []
        n_free = settings.max_streams - self._job_queue.n_running(StreamStatus.FOLLOWING)
        due = sorted((s, place) for place in self._open if (s := self._due_s(place)) <= now_s)
        instructions: list[Instruction] = []
        for _, (run, key) in due:
            if len(instructions) < n_free and not self._roots[self._runs[run].root].paused:
                instructions.append(self._start(self._runs[run], key, now_s, settings))
        return instructions

    def next_due_s(self, now_s: float) -> float | None:
        """Return the earliest time after ``now_s`` at which a round is due."""
        due = (self._due_s(place) for place in self._open)
        return min((due_s for due_s in due if now_s < due_s < math.inf), default=None)

    def on_ended(self, event: AppendEnded, settings: Settings) -> list[Instruction]:
        """Move a stream whose round ended."""
        run, stream = self._job_queue.end(event)
        if not (run.is_settling or run.is_removed):
            # It was listed meanwhile: what came last is appended, and it is closed.
            return [requeue(run, stream)]
        is_followed = not (stream.rebuild or run.is_removed)
        stream.status = StreamStatus.OPEN if is_followed else StreamStatus.WAITING
        known = self._open.get((event.run, event.stream))
        if known is None or not is_followed:
            return []
        if event.outcome is Outcome.DONE:
            known.n_pending_frames, known.next_chunk_bytes = (
                event.n_pending_frames,
                event.next_chunk_bytes,
            )
            known.n_differing = 0
            stream.recover()
            return []
        known.round, known.flush_due_s = None, -math.inf
        return self._failed(stream, known, event, settings)

    def _failed(
        self, stream: Stream, known: LiveStream, event: AppendEnded, settings: Settings
    ) -> list[Instruction]:
        """Let a stream whose round failed wait, or put it in quarantine."""
        if event.outcome is Outcome.MISSING:
            # It opens again with the next look that sees bytes of it.
            stream.status = StreamStatus.WAITING
        elif event.outcome in {Outcome.CORRUPT, Outcome.UNEXPECTED}:
            known.n_differing += 1
            if known.n_differing >= MAX_DIFFERING:
                return quarantine(stream, event)
        if event.outcome in {Outcome.FAILED, Outcome.CORRUPT, Outcome.UNEXPECTED}:
            return schedule_retry(stream, event, StreamStatus.OPEN, "stream.postponed", settings)
        return []

    def _forget(self) -> None:
        """Leave the streams that are not followed any more to the job queue."""
        for run, key in list(self._open):
            stream = self._runs[run].streams.get(key) if run in self._runs else None
            if stream is None or stream.status not in FOLLOWED:
                del self._open[run, key]

    def _due_s(self, place: tuple[str, str]) -> float:
        run, key = place
        stream = self._runs[run].streams[key]
        if stream.status is not StreamStatus.OPEN:
            return math.inf
        return self._open[place].due_s if stream.due_s is None else stream.due_s

    def _start(self, run: Run, key: str, now_s: float, settings: Settings) -> StartAppend:
        known, stream = self._open[run.name, key], run.streams[key]
        with_tail = known.flush_due_s <= now_s or known.has_new_file
        if with_tail:
            known.flush_due_s = now_s + settings.tail_flush_s
        known.round = known.growth
        stream.status = StreamStatus.FOLLOWING
        stream.due_s = None
        self._job_queue.running.add((run.name, key))
        return StartAppend(self._job_queue.target(run, key, "l0_dir"), with_tail)
