"""The queue of closed stores to compare with their frame files. Pure.

One at a time, and only while no stream is being converted: a comparison that is under way is
held when a job starts. What waits needs no list of its own: it is every closed stream that is
not verified, so a restart goes on by itself.
"""

from __future__ import annotations

from panoseti_zarr.daemon.state.events import Outcome, VerifyEnded
from panoseti_zarr.daemon.state.instructions import Instruction, Log, PauseVerify, StartVerify
from panoseti_zarr.daemon.state.job_queue import JobQueue, mb_per_s
from panoseti_zarr.daemon.state.records import (
    L1_PENDING,
    Root,
    Run,
    Stream,
    StreamStatus,
    VerifyStatus,
)
from panoseti_zarr.daemon.state.settings import Settings

_CLOSED = frozenset({*L1_PENDING, StreamStatus.L1_RUNNING, StreamStatus.DONE})


class VerificationQueue:
    """The comparison under way, and the streams that wait for theirs.

    Parameters
    ----------
    runs, roots : dict
        The state machine's own records, shared with it.
    job_queue : JobQueue
        Its jobs go first.
    """

    def __init__(self, runs: dict[str, Run], roots: dict[str, Root], job_queue: JobQueue) -> None:
        self.job: tuple[str, str] | None = None
        """Run and stream of the comparison under way."""
        self._runs = runs
        self._roots = roots
        self._job_queue = job_queue
        self._wanted: set[str] = set()
        self._is_held = False

    def update_run(self, run: Run, settings: Settings) -> list[Instruction]:
        """Take in that something about a run may have changed."""
        instructions: list[Instruction] = []
        for stream in run.streams.values():
            is_gone = _is_gone(run, stream)
            if stream.verify is VerifyStatus.GONE and not is_gone:
                stream.unverify()
            if _is_unverified(stream) and is_gone and settings.verify:
                stream.verify = VerifyStatus.GONE
                reason = "its frame files, or its L0 store, were removed before"
                fields = {"reason": reason}
                log = Log("stream.not_verified", "warning", run.name, stream.key, fields)
                instructions.append(log)
        if settings.verify and any(map(_is_unverified, run.streams.values())):
            self._wanted.add(run.name)
        else:
            self._wanted.discard(run.name)
        return instructions

    def start(self, now_s: float) -> list[Instruction]:
        """Start the next comparison where nothing else is to be done; hold it while there is."""
        is_busy = bool(self._job_queue.running)
        if self.job is not None:
            if is_busy == self._is_held:
                return []
            self._is_held = is_busy
            return [PauseVerify(is_busy)]
        if is_busy or not (self._job_queue.is_connected and self._job_queue.are_outputs_there):
            return []
        for run in sorted((self._runs[name] for name in self._wanted), key=lambda run: run.order):
            for stream in run.streams.values():
                if self._may_start(run, stream) and (stream.verify_due_s or 0.0) <= now_s:
                    return self._start(run, stream)
        return []

    def next_due_s(self, now_s: float) -> float | None:
        """Return the earliest time after ``now_s`` at which a delayed comparison is due."""
        streams = (s for name in self._wanted for s in self._runs[name].streams.values())
        due = (stream.verify_due_s for stream in streams if stream.verify_due_s is not None)
        return min((due_s for due_s in due if due_s > now_s), default=None)

    def on_ended(self, event: VerifyEnded, settings: Settings) -> list[Instruction]:
        """Take in how a comparison ended."""
        self.job = None
        run = self._runs[event.run]
        stream = run.streams[event.stream]
        if stream.verify is not VerifyStatus.RUNNING:
            # Its files changed meanwhile: what was found is of a store that is no more.
            return []
        stream.unverify()
        if event.outcome is Outcome.DONE:
            return [_verified(stream, event)]
        if event.outcome is Outcome.CORRUPT:
            return [_failed(stream, event)]
        if event.outcome in {Outcome.STOPPED, Outcome.BROKEN} or _is_gone(run, stream):
            return []
        if event.outcome in {Outcome.CHANGED, Outcome.MISSING}:
            # The next listing shows whether its files or its store are gone.
            run.recheck_s = event.now_s
        stream.n_verify_attempts += 1
        delay_s = settings.backoff_s(stream.n_verify_attempts)
        stream.verify_due_s = event.now_s + delay_s
        fields = {
            "reason": event.reason,
            "n_attempts": stream.n_verify_attempts,
            "retry_in_s": delay_s,
        }
        return [Log("stream.verify_postponed", "warning", event.run, event.stream, fields)]

    def _may_start(self, run: Run, stream: Stream) -> bool:
        root = self._roots.get(run.root)
        if root is None or root.paused or root.scanned_s is None or run.is_settling:
            return False
        return _is_unverified(stream) and stream.status in _CLOSED and not run.is_removed

    def _start(self, run: Run, stream: Stream) -> list[Instruction]:
        stream.verify = VerifyStatus.RUNNING
        stream.verify_due_s = None
        self.job = (run.name, stream.key)
        self._is_held = False
        target = self._job_queue.target(run, stream.key, "l0_dir")
        return [PauseVerify(is_held=False), StartVerify(target, stream.digest)]


def _is_gone(run: Run, stream: Stream) -> bool:
    return run.is_removed or stream.status is StreamStatus.REMOVED


def _is_unverified(stream: Stream) -> bool:
    return stream.is_closed and stream.verify is VerifyStatus.UNVERIFIED


def _verified(stream: Stream, event: VerifyEnded) -> Log:
    stream.verify = VerifyStatus.VERIFIED
    stream.verified_ns = event.verified_ns
    stream.verified_store_id = event.store_id
    stream.verified_commit = event.commit
    fields = {
        "n_frames": event.n_frames,
        "n_bytes": event.n_bytes,
        "seconds": round(event.seconds, 3),
        "mb_per_s": mb_per_s(event.n_bytes, event.seconds),
    }
    return Log("stream.verified", "info", event.run, event.stream, fields)


def _failed(stream: Stream, event: VerifyEnded) -> Log:
    stream.verify = VerifyStatus.FAILED
    stream.verify_reason = f"verify: {event.reason}"
    fields = {
        "reason": event.reason,
        "frame": event.frame_index,
        "file": event.file,
        "byte_offset": event.byte_offset,
    }
    return Log("stream.verify_failed", "error", event.run, event.stream, fields)
