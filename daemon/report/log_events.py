"""The events of the service's log: level, keys, meaning. docs/logs.md is generated from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from panoseti_zarr.config import wrap_markdown


@dataclass(frozen=True)
class EventSpec:
    """One event of the log.

    Attributes
    ----------
    name : str
    level : str
        ``any`` where it differs.
    keys : tuple of str
        Besides ``event``, ``timestamp`` and ``level``, in this order.
    text : str
        The meaning, as Markdown.
    """

    name: str
    level: str
    keys: tuple[str, ...]
    text: str


SECTIONS: dict[str, tuple[EventSpec, ...]] = {
    "The service": (
        EventSpec(
            "service.started",
            "info",
            ("version", "pid", "config", "state_dir"),
            "The process started and locked its state directory. `config` is the file it read.",
        ),
        EventSpec(
            "service.ready",
            "info",
            ("n_slots",),
            "It is watching and connected to its executor, which runs `n_slots` tasks at once.",
        ),
        EventSpec(
            "service.stopping",
            "info",
            ("reason",),
            "It received a signal.",
        ),
        EventSpec(
            "service.stopped",
            "info",
            ("exit_code", "n_abandoned"),
            "The last line. `n_abandoned` jobs did not stop in time; what they committed stays.",
        ),
        EventSpec(
            "service.stuck",
            "critical",
            ("reason",),
            "A write to `state_dir`, or the cluster, has not answered for three minutes. "
            "The service stops pinging the watchdog, so that systemd restarts it.",
        ),
        EventSpec(
            "service.failed",
            "critical",
            ("reason", "exception"),
            "The start failed, or an internal invariant was violated and the service exits. "
            "`exception` is the traceback of an unexpected error.",
        ),
        EventSpec(
            "config.noted",
            "info",
            ("note",),
            "A key has no effect together with the others.",
        ),
        EventSpec(
            "config.reloaded",
            "info",
            ("changed", "needs_restart"),
            "SIGHUP: the keys that changed now, and those that need a restart.",
        ),
        EventSpec(
            "config.refused",
            "error",
            ("reason",),
            "SIGHUP: the file is wrong. The old configuration stays in effect.",
        ),
    ),
    "Watching": (
        EventSpec(
            "root.scanned",
            "debug",
            ("root", "n_runs"),
            "A rescan of a data root ended.",
        ),
        EventSpec(
            "root.paused",
            "warning",
            ("root", "reason"),
            "A data root is missing, unreadable, empty but was not before, on another file "
            "system than before, or has not answered for `hang_s`. It is skipped until that "
            "changes.",
        ),
        EventSpec(
            "root.resumed",
            "info",
            ("root",),
            "The data root is available again.",
        ),
        EventSpec(
            "watch.lost",
            "warning",
            ("root", "reason"),
            "Change notices stopped. The periodic rescan still finds changes.",
        ),
        EventSpec(
            "watch.overflowed",
            "warning",
            (),
            "The kernel dropped change notices. Everything is rescanned now.",
        ),
        EventSpec(
            "run.discovered",
            "info",
            ("run", "root"),
            "A new run directory.",
        ),
        EventSpec(
            "run.refused",
            "warning",
            ("run", "root", "reason"),
            "A run was rejected: its name or a link could do harm, or another data root has "
            "a run of this name.",
        ),
        EventSpec(
            "run.unreadable",
            "warning",
            ("run", "reason"),
            "The run directory cannot be read at present.",
        ),
        EventSpec(
            "run.changed",
            "info",
            ("run",),
            "Files of a listed run changed. The run waits to be finished again.",
        ),
        EventSpec(
            "run.finished",
            "info",
            ("run", "n_streams", "n_empty_files"),
            "A finished marker exists and the files are stable. The streams are queued.",
        ),
        EventSpec(
            "run.progress",
            "info",
            (
                "run",
                "n_streams",
                "n_closed",
                "n_done",
                "n_bytes",
                "n_behind_bytes",
                "mb_per_s",
                "left_s",
            ),
            "Written every `progress_s` while a run is processed: streams with a closed L0 "
            "store, and with their L1 store too; PFF bytes committed and remaining; the "
            "rate since the last such line, and the time left at that rate (null without a "
            "commit).",
        ),
        EventSpec(
            "run.completed",
            "info",
            ("run", "n_streams", "n_frames", "n_quarantined", "seconds"),
            "The last L1 store of the run is made. `seconds` since the run had work.",
        ),
        EventSpec(
            "run.removed",
            "info",
            ("run",),
            "The run directory is gone. Its stores stay.",
        ),
        EventSpec(
            "run.retried",
            "info",
            ("run", "rebuild"),
            "`panoseti-zarr retry` was carried out.",
        ),
        EventSpec(
            "retry.refused",
            "warning",
            ("run", "reason"),
            "`panoseti-zarr retry` could not be carried out.",
        ),
        EventSpec(
            "file.refused",
            "warning",
            ("run", "reason"),
            "A frame file was rejected: its name fits no stream, or could do harm. It is "
            "not opened.",
        ),
        EventSpec(
            "file.cut_short",
            "warning",
            ("run", "stream", "reason"),
            "A frame file ends too early. Its whole frames are ingested.",
        ),
    ),
    "Streams and stores": (
        EventSpec(
            "stream.queued",
            "info",
            ("run", "stream"),
            "The stream waits for a job.",
        ),
        EventSpec(
            "stream.committed",
            "info",
            (
                "run",
                "stream",
                "n_frames",
                "n_new_frames",
                "n_bytes",
                "seconds",
                "mb_per_s",
                "lag_s",
            ),
            "Readers now see `n_frames` frames. Bytes (PFF), seconds and MB/s (10^6) "
            "describe this commit. `lag_s` is the age of the last frame, null if it has no "
            "time.",
        ),
        EventSpec(
            "stream.closed",
            "info",
            ("run", "stream", "n_frames", "n_new_frames", "n_bytes", "seconds", "gaps"),
            "The L0 store is complete. `n_new_frames`, `n_bytes` and `seconds` describe "
            "this job; `gaps` are missing seqnos.",
        ),
        EventSpec(
            "stream.postponed",
            "warning",
            ("run", "stream", "reason", "n_attempts", "retry_in_s"),
            "A transient failure, for example a store that another process writes. The "
            "service retries.",
        ),
        EventSpec(
            "stream.quarantined",
            "error",
            ("run", "stream", "reason"),
            "The stream cannot continue until its files change or an operator runs "
            "`panoseti-zarr retry`.",
        ),
        EventSpec(
            "stream.verified",
            "info",
            ("run", "stream", "n_frames", "n_bytes", "seconds", "mb_per_s"),
            "`[daemon] verify`: the closed L0 store equals its frame files. `seconds` "
            "without interruptions by other work.",
        ),
        EventSpec(
            "stream.verify_failed",
            "error",
            ("run", "stream", "reason", "frame", "file", "byte_offset"),
            "Store and files differ, first at this frame of the store, file and byte (null "
            "if not applicable). Nothing was changed; `panoseti-zarr retry` compares again.",
        ),
        EventSpec(
            "stream.verify_postponed",
            "warning",
            ("run", "stream", "reason", "n_attempts", "retry_in_s"),
            "The comparison failed with a transient error. The service retries.",
        ),
        EventSpec(
            "stream.not_verified",
            "warning",
            ("run", "stream", "reason"),
            "The frame files or the L0 store were removed before the comparison.",
        ),
        EventSpec(
            "stream.removed",
            "info",
            ("run", "stream", "reason"),
            "The frame files or the L0 store were deleted. The stream is not converted again.",
        ),
        EventSpec(
            "l1.started",
            "info",
            ("run", "stream"),
            "An L1 store is being made.",
        ),
        EventSpec(
            "l1.finished",
            "info",
            ("run", "stream", "n_frames", "n_bytes", "seconds"),
            "The L1 store is in place. `n_bytes` is its size.",
        ),
        EventSpec(
            "l1.postponed",
            "warning",
            ("run", "stream", "reason", "n_attempts", "retry_in_s"),
            "A transient failure. The service retries.",
        ),
        EventSpec(
            "quicklook.made",
            "info",
            ("run", "stream", "path", "seconds"),
            "The picture of a stream, after its L1 store was made.",
        ),
        EventSpec(
            "quicklook.failed",
            "warning",
            ("run", "stream", "reason"),
            "The picture could not be made. Nothing else is affected, and the service does "
            "not retry.",
        ),
        EventSpec(
            "quicklook.unavailable",
            "info",
            ("reason",),
            "At the start: matplotlib is not installed, so there will be no pictures.",
        ),
        EventSpec(
            "housekeeping.made",
            "info",
            ("run", "path", "n_rows", "n_bad_lines", "n_files", "seconds"),
            "The run's `hk.pff` is now the table `path` with `n_rows` rows; `n_bad_lines` "
            "lines were skipped. `n_files` JSON files and logs were copied. `path` is null "
            "if the run has no `hk.pff`, or after `housekeeping.failed`.",
        ),
        EventSpec(
            "housekeeping.failed",
            "warning",
            ("run", "reason"),
            "The table or the copies could not be made. The service retries when the run "
            "changes, at the next start, and every `recheck_s`; without a readable record "
            "in `hk.pff`, when that file changes. A missing pyarrow is logged once.",
        ),
    ),
    "Queue and cluster": (
        EventSpec(
            "queue.paused",
            "warning",
            ("reason",),
            "No job starts: too little free disk, or an output directory is missing, not "
            "writable, or has not answered for `hang_s`.",
        ),
        EventSpec(
            "queue.resumed",
            "info",
            (),
            "Jobs start again.",
        ),
        EventSpec(
            "cluster.unreachable",
            "warning",
            ("reason", "retry_in_s"),
            "There is no cluster yet, or it is gone. The service retries.",
        ),
        EventSpec(
            "cluster.lost",
            "error",
            ("reason",),
            "The cluster stopped answering. It is recreated or looked for again, and its "
            "tasks are repeated.",
        ),
        EventSpec(
            "cluster.connected",
            "info",
            ("n_slots",),
            "The cluster is back.",
        ),
        EventSpec(
            "cluster.scheduler_started",
            "info",
            ("host", "address"),
            '`type = "ssh"`: the scheduler is running, also after a restart.',
        ),
        EventSpec(
            "cluster.host_joined",
            "info",
            ("host", "n_workers", "n_threads"),
            "The workers of a host are running, also after a restart. `n_threads` of each.",
        ),
        EventSpec(
            "cluster.host_lost",
            "warning",
            ("host", "reason", "retry_in_s"),
            "A scheduler or workers ended, failed to start, or their host is unreachable. "
            "The service retries (logged as `debug` while the reason stays the same).",
        ),
        EventSpec(
            "cluster.host_said",
            "info",
            ("host", "line"),
            "A line that a scheduler or worker wrote to stderr; at most 100 lines in 10 s "
            "from each process.",
        ),
        EventSpec(
            "cluster.worker_lost",
            "warning",
            ("worker",),
            "A worker is gone. Its tasks run again elsewhere.",
        ),
    ),
    "Records, metrics, page": (
        EventSpec(
            "ledger.replaced",
            "warning",
            ("reason",),
            "The ledger was unusable and was set aside. It is rebuilt from the stores.",
        ),
        EventSpec(
            "ledger.failed",
            "error",
            ("reason",),
            "The ledger could not be written, or opened on a full disk. The service retries.",
        ),
        EventSpec(
            "status.failed",
            "error",
            ("reason",),
            "The status file could not be written.",
        ),
        EventSpec(
            "request.refused",
            "warning",
            ("request", "reason"),
            "A file in `requests/` is not a request.",
        ),
        EventSpec(
            "history.saved",
            "error",
            ("path",),
            "An invariant was violated. The recent events are in the file `path`; please "
            "attach it to your report.",
        ),
        EventSpec(
            "history.failed",
            "error",
            ("reason",),
            "The recent events could not be written after an invariant was violated.",
        ),
        EventSpec(
            "metrics.started",
            "info",
            ("port",),
            "Prometheus metrics are served at `http://127.0.0.1:port/metrics`.",
        ),
        EventSpec(
            "metrics.failed",
            "error",
            ("port", "reason"),
            "The port is taken. The service runs without metrics.",
        ),
        EventSpec(
            "web.started",
            "info",
            ("port",),
            "The status page is served at `http://127.0.0.1:port/`.",
        ),
        EventSpec(
            "web.failed",
            "error",
            ("port", "reason"),
            "The port is taken. The service runs without the page.",
        ),
        EventSpec(
            "task.crashed",
            "error",
            ("task", "exception"),
            "An unexpected error, with its traceback. Please report it.",
        ),
        EventSpec(
            "library.logged",
            "any",
            ("logger", "message"),
            "A line of a library (Dask, watchdog) or a Python warning, also from worker processes.",
        ),
    ),
}
"""Every event, by the section of docs/logs.md that describes it."""

EVENTS: dict[str, tuple[str, ...]] = {
    event.name: event.keys for events in SECTIONS.values() for event in events
}
"""The keys of every event."""


def describe_events() -> Iterator[str]:
    """Give the lines of docs/logs.md that describe every event."""
    for title, events in SECTIONS.items():
        yield from (f"### {title}", "")
        for event in events:
            keys = "".join(f" `{key}`" for key in event.keys)
            head = f"- **`{event.name}`** ({event.level}){':' if keys else ''}{keys}"
            yield from wrap_markdown(head, "  ")
            yield from wrap_markdown(f"  {event.text}", "  ")
        yield ""
