"""The state machine's records of roots, runs and streams. Plain data."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum

from panoseti_zarr.daemon.state.readiness import StablePeriod
from panoseti_zarr.errors import ErrorCode


@dataclass(frozen=True)
class MountId:
    """Where a directory was: the volume, and in this process its ``st_dev`` too."""

    volume: str
    device: int | None = None

    def differs(self, volume: str, device: int) -> bool:
        """Whether a directory is on another file system than this one."""
        return self.volume != volume or (self.device is not None and self.device != device)


class ServicePhase(StrEnum):
    """What the service does: ``STARTING`` until it has a cluster for the first time."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class RunState(StrEnum):
    """A run's state in one word, made from its phase and its streams."""

    WAITING = "waiting"
    RECORDING = "recording"
    WORKING = "working"
    DONE = "done"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


class StreamStatus(StrEnum):
    """Where a stream is on its way from frame files to its L1 store.

    ``OPEN``: it is recorded and waits for its next round; ``FOLLOWING``: a round is under way.
    """

    WAITING = "waiting"
    QUEUED = "queued"
    OPEN = "open"
    FOLLOWING = "following"
    INGESTING = "ingesting"
    RETRYING = "retrying"
    L1_QUEUED = "l1_queued"
    L1_RUNNING = "l1_running"
    L1_RETRYING = "l1_retrying"
    DONE = "done"
    QUARANTINED = "quarantined"
    REMOVED = "removed"


class VerifyStatus(StrEnum):
    """Whether a closed L0 store was compared with its frame files.

    ``GONE``: the files, or the store, were removed before.
    """

    UNVERIFIED = "unverified"
    RUNNING = "running"
    VERIFIED = "verified"
    FAILED = "failed"
    GONE = "gone"


RUNNING = frozenset({StreamStatus.FOLLOWING, StreamStatus.INGESTING, StreamStatus.L1_RUNNING})
"""A job of the stream is under way."""

FOLLOWED = frozenset({StreamStatus.OPEN, StreamStatus.FOLLOWING})
"""The stream is appended while it is recorded."""

_WHOLE = frozenset({StreamStatus.DONE, StreamStatus.REMOVED})

L1_PENDING = frozenset({StreamStatus.L1_QUEUED, StreamStatus.L1_RETRYING})
"""The L0 store is closed; its L1 store is still to be made."""

L1_LEFT = L1_PENDING | {StreamStatus.L1_RUNNING}
"""The same, or it was being made when the service ended."""

SETTLED = frozenset({StreamStatus.DONE, StreamStatus.QUARANTINED, StreamStatus.REMOVED})
"""Nothing more happens to the stream by itself while its files stay as they are."""


@dataclass(slots=True)
class Stream:
    """One stream of a known run.

    Attributes
    ----------
    key : str
        Its name in logs: ``dp_img16.module_3``.
    digest : str
        Of its frame files' identities, as the run's last listing showed them.
    is_closed : bool
        Its L0 store was closed at least once.
    n_frames, n_bytes : int
        Committed frames, and bytes read for them.
    size_bytes : int
        Of its frame files, as the run's last listing showed them.
    lag_s : float or None
        Seconds between its last frame and that frame's commit.
    n_attempts : int
        Jobs that failed at present since the last progress.
    due_s : float or None
        Monotonic time of the next attempt.
    reason, code : str, ErrorCode
        The last error; empty if nothing is wrong.
    requeue_after_job : bool
        Its files changed while its job ran: it is queued again when the job ends.
    rebuild, refresh_l1 : bool
        What a retry asked for: a new L0 store; a new L1 store where settings differ.
    verify : VerifyStatus
        Of the store as it was closed last.
    verified_ns : int or None
        Unix time at which its frame files and it were found to agree.
    verified_store_id, verified_commit : str, int
        What was compared.
    verify_reason : str
        The difference that was found; empty if nothing is wrong.
    n_verify_attempts, verify_due_s : int, float or None
        As `n_attempts` and `due_s`.
    """

    key: str
    status: StreamStatus = StreamStatus.QUEUED
    digest: str = ""
    is_closed: bool = False
    n_frames: int = 0
    n_bytes: int = 0
    lag_s: float | None = None
    n_attempts: int = 0
    due_s: float | None = None
    reason: str = ""
    code: ErrorCode = ErrorCode.OTHER
    requeue_after_job: bool = False
    rebuild: bool = False
    refresh_l1: bool = False
    verify: VerifyStatus = VerifyStatus.UNVERIFIED
    verified_ns: int | None = None
    verified_store_id: str = ""
    verified_commit: int = 0
    verify_reason: str = ""
    n_verify_attempts: int = 0
    verify_due_s: float | None = None
    size_bytes: int = 0

    @property
    def n_behind_bytes(self) -> int:
        """Bytes of its frame files that no committed frame is of yet."""
        is_whole = self.is_closed or self.status in SETTLED
        return 0 if is_whole else max(0, self.size_bytes - self.n_bytes)

    def fail(self, reason: str, code: ErrorCode) -> None:
        """Note the last error."""
        self.reason, self.code = reason, code

    def recover(self) -> None:
        """Forget the last error: a job succeeded."""
        self.reason, self.code = "", ErrorCode.OTHER
        self.n_attempts = 0

    def unverify(self) -> None:
        """Forget what was found of a store that is not the same any more."""
        self.verify = VerifyStatus.UNVERIFIED
        self.verified_ns = None
        self.verified_store_id, self.verified_commit = "", 0
        self.verify_reason = ""

    def queue(self) -> None:
        """Put the stream in the queue afresh."""
        self.unverify()
        self.status = StreamStatus.QUEUED
        self.n_attempts = 0
        self.due_s = None
        self.requeue_after_job = False

    def retry(self, *, rebuild: bool) -> None:
        """Do what a retry asks; an L0 job waits until its files are listed as they are now.

        A store whose files were removed after its close is whole, unless it is gone too: the
        listing sees to that.
        """
        self.rebuild = self.rebuild or rebuild
        self.refresh_l1 = True
        if self.status in RUNNING:
            self.requeue_after_job = True
        elif rebuild or not (self.is_closed and self.status in _WHOLE):
            self.status = StreamStatus.WAITING
            self.is_closed = False
        elif self.status is StreamStatus.DONE:
            self.status = StreamStatus.L1_QUEUED
        if self.verify is VerifyStatus.FAILED or not self.is_closed:
            self.unverify()


class RunPhase(StrEnum):
    """How far a run is, apart from its streams.

    ``SETTLING``: waits until it is finished, the first time or after a change. ``LISTED``: is
    finished, and its streams are known. ``REMOVED``: its directory is gone.
    """

    SETTLING = "settling"
    LISTED = "listed"
    REMOVED = "removed"


@dataclass(slots=True)
class Run:
    """One run directory.

    Attributes
    ----------
    order : tuple
        Sorts runs oldest first.
    phase : RunPhase
    quiet : StablePeriod or None
        Since when its files are unchanged; None before the first scan in this process.
    is_scanning : bool
        A scan of it is under way.
    digest : str
        Of all its files when it was last listed; empty before.
    directory_mtime_ns : int
        Of its directory, at that listing.
    unreadable : str
        Why the last scan failed, as it was logged; empty if it did not.
    discovered_s, finished_s : float or None
        Monotonic times.
    completed_s : float or None
        Monotonic time at which its completion was announced; None once a stream has work again.
    recheck_s : float or None
        Monotonic time of the next scan of a complete run.
    began_s : float or None
        Monotonic time at which its streams had work again after none had.
    reason : str
        Why it waits.
    warnings : tuple of str
        Files cut short or refused, one line each.
    n_empty_files : int
        Frame files of zero bytes.
    rebuild : bool
        A rebuild was asked for before the run was listed.
    streams : dict of str to Stream
        By key, in the order of the listing.
    """

    name: str
    root: str
    order: tuple[int, int, str]
    phase: RunPhase = RunPhase.SETTLING
    quiet: StablePeriod | None = None
    is_scanning: bool = False
    digest: str = ""
    directory_mtime_ns: int = 0
    unreadable: str = ""
    discovered_s: float | None = None
    finished_s: float | None = None
    completed_s: float | None = None
    recheck_s: float | None = None
    began_s: float | None = None
    reason: str = ""
    warnings: tuple[str, ...] = ()
    n_empty_files: int = 0
    rebuild: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)

    @property
    def is_settling(self) -> bool:
        """It waits until it is finished: the first time, or after a change."""
        return self.phase is RunPhase.SETTLING

    @property
    def is_removed(self) -> bool:
        """Its directory is gone."""
        return self.phase is RunPhase.REMOVED

    @property
    def is_complete(self) -> bool:
        """Its completion was announced, and no stream had work since."""
        return self.completed_s is not None

    def settle(self) -> None:
        """Wait until the run is finished, and list it then; a removed run stays removed."""
        if not self.is_removed:
            self.phase = RunPhase.SETTLING

    @property
    def n_quarantined(self) -> int:
        """Streams in quarantine."""
        return sum(s.status is StreamStatus.QUARANTINED for s in self.streams.values())

    @property
    def n_verified(self) -> int:
        """Streams that equal their frame files; none while files of the run change."""
        if self.is_settling:
            return 0
        return sum(s.verify is VerifyStatus.VERIFIED for s in self.streams.values())

    @property
    def n_verify_failed(self) -> int:
        """Streams in which a difference was found."""
        return sum(s.verify is VerifyStatus.FAILED for s in self.streams.values())

    @property
    def state(self) -> RunState:
        """Its state in one word."""
        if self.is_removed:
            return RunState.REMOVED
        if self.is_settling and any(s.status in FOLLOWED for s in self.streams.values()):
            return RunState.RECORDING
        if not all(s.status in SETTLED for s in self.streams.values()):
            return RunState.WORKING
        if self.is_settling:
            return RunState.WAITING
        return RunState.QUARANTINED if self.n_quarantined else RunState.DONE


@dataclass(slots=True)
class Root:
    """One data root.

    Attributes
    ----------
    scan_due_s : float
        Monotonic time of the next rescan.
    scanned_s : float or None
        When the last one ended.
    is_scanning : bool
        One is under way.
    answered_s : float
        Monotonic time of its last answer, or of the rescan that was asked for since.
    is_hung : bool
        It is paused because it gives no answer.
    place : MountId or None
        Where it was when it was last well.
    paused : str
        Why it is paused; empty where it is not.
    rechecks : deque of str
        Complete runs whose files are to be looked at again, one at a time.
    rechecking : str
        The one under way; empty for none.
    n_ignored : int
        Runs that are older than ``ignore_before``.
    refused : dict of str to str
        Names in it that are refused, and why.
    """

    path: str
    scan_due_s: float
    scanned_s: float | None = None
    is_scanning: bool = False
    answered_s: float = 0.0
    is_hung: bool = False
    place: MountId | None = None
    paused: str = ""
    rechecks: deque[str] = field(default_factory=deque)
    rechecking: str = ""
    n_ignored: int = 0
    refused: dict[str, str] = field(default_factory=dict)
