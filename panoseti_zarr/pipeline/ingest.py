"""Append a stream's frames to its L0 store: the coordinator, the only one that commits.

The way of a stream: measure its files, hold them against what is committed, plan chunks, let the
executor stage them, commit them in order, close. Whatever stops it, the next call goes on from
the last commit.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

from panoseti_zarr import __version__
from panoseti_zarr.cluster.executor import Executor
from panoseti_zarr.config import PffToZarrConfig, capped
from panoseti_zarr.core.append import (
    ChunkPlan,
    CommittedSource,
    first_frames,
    plan_chunks,
    plan_reread,
    reconcile,
)
from panoseti_zarr.core.names import parse_run_name, store_name
from panoseti_zarr.errors import StopRequestedError
from panoseti_zarr.io.l0_metadata import (
    L0_FORMAT,
    L0_FORMAT_VERSION,
    L0State,
    new_documents,
    source_entries,
)
from panoseti_zarr.io.reader import RunListing, check_unchanged, measure_stream
from panoseti_zarr.io.run_config import max_file_bytes, read_run_config
from panoseti_zarr.io.steps import reached
from panoseti_zarr.io.store import L0Writer, open_writer
from panoseti_zarr.io.tasks import ChunkJob, StagedChunk, compare_chunk, write_chunk
from panoseti_zarr.io.zarr_metadata import Json
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS, SourceFile, StreamKey
from panoseti_zarr.pipeline.flow import run_in_order

R = TypeVar("R")


@dataclass(frozen=True)
class Commit:
    """One commit, as it is told to whoever follows the work.

    Attributes
    ----------
    n_frames : int
        Committed in all.
    n_new_frames, n_bytes : int
        Of this commit; ``n_bytes`` of PFF.
    seconds : float
        Since the last commit, or since the work began.
    last_time_ns : int
        Time of the last committed frame that has one; `TIME_MISSING_NS` if none has.
    """

    n_frames: int
    n_new_frames: int
    n_bytes: int
    seconds: float
    last_time_ns: int


@dataclass(frozen=True)
class IngestResult:
    """What became of a stream.

    Attributes
    ----------
    store_path : Path
    n_frames : int
        In the store.
    n_new_frames, n_bytes : int
        Appended by this call; ``n_bytes`` of PFF.
    seconds : float
    changed : bool
        False when there was nothing to do.
    cut_short : tuple of str
        One line for each file whose end is missing, as far as can be told.
    gaps : tuple of int
        Missing seqnos.
    """

    store_path: Path
    n_frames: int
    n_new_frames: int
    n_bytes: int
    seconds: float
    changed: bool
    cut_short: tuple[str, ...]
    gaps: tuple[int, ...]


def ingest_stream(
    listing: RunListing,
    key: StreamKey,
    l0_dir: Path,
    settings: PffToZarrConfig,
    executor: Executor,
    *,
    on_commit: Callable[[Commit], None] | None = None,
    stop: Event | None = None,
    rebuild: bool = False,
) -> IngestResult:
    """Append everything that a stream has to its L0 store, and close it.

    Parameters
    ----------
    listing : RunListing
        The run as it stands.
    key : StreamKey
        The stream.
    l0_dir : Path
        Where the store is, or will be.
    settings : PffToZarrConfig
        For a new store; one that exists keeps its own.
    executor : Executor
        Runs the tasks.
    on_commit : callable, optional
        Called after each commit, in this thread.
    stop : threading.Event, optional
        When set, the work ends at the next moment that loses nothing.
    rebuild : bool
        Make the store anew beside the old one, and swap them.

    Raises
    ------
    CorruptDataError
        The stream cannot go on as it is: quarantine it. Frames of files before the one that is
        wrong are committed, and the store stays open.
    TransientIOError
        Disk or cluster failed for now: call again later.
    StopRequestedError
        ``stop`` was set.
    """
    started = time.monotonic()
    measured = measure_stream(listing, key)
    name = store_name(listing.name, key)
    with open_writer(l0_dir, name, beside=rebuild) as writer:
        append = _Append(
            listing, key, measured.sources, settings, executor, writer, on_commit, stop or Event()
        )
        changed = append.run(close=measured.problem is None)
        if measured.problem is not None:
            raise measured.problem
        if rebuild:
            writer.take_place()
    return IngestResult(
        store_path=l0_dir / name,
        n_frames=writer.state.n_frames if writer.state else 0,
        n_new_frames=append.n_new_frames,
        n_bytes=append.n_bytes,
        seconds=time.monotonic() - started,
        changed=changed,
        cut_short=cut_short(measured.sources, max_file_bytes(append.run_config)),
        gaps=listing.gaps(key),
    )


def cut_short(sources: Sequence[SourceFile], file_bytes: int) -> tuple[str, ...]:
    """Say which files end too early.

    Parameters
    ----------
    sources : sequence of SourceFile
        By seqno.
    file_bytes : int
        Size at which the DAQ opens the next file; 0 if it does not.
    """
    lines = []
    for place, source in enumerate(sources):
        size_bytes = source.identity.size_bytes
        if source.trailing_bytes:
            lines.append(
                f"{source.name}: its last frame is cut, {source.trailing_bytes} bytes of it"
            )
        elif place + 1 < len(sources) and size_bytes < file_bytes:
            lines.append(
                f"{source.name}: {size_bytes} bytes, under the {file_bytes} of max_file_size_mb, "
                "though a file follows it"
            )
    return tuple(lines)


class _Append:
    """One append: what it works on, and what it has done so far."""

    def __init__(
        self,
        listing: RunListing,
        key: StreamKey,
        sources: tuple[SourceFile, ...],
        settings: PffToZarrConfig,
        executor: Executor,
        writer: L0Writer,
        on_commit: Callable[[Commit], None] | None,
        stop: Event,
    ) -> None:
        self.n_new_frames = 0
        self.n_bytes = 0
        self.run_config = read_run_config(listing.path)
        self._listing = listing
        self._key = key
        self._sources = sources
        self._settings = settings
        self._executor = executor
        self._writer = writer
        self._on_commit = on_commit
        self._stop = stop
        self._last_commit_s = time.monotonic()
        self._documents: dict[str, Json] = (
            writer.state.documents
            if writer.state
            else new_documents(PRODUCTS[key.product], settings)
        )

    def run(self, *, close: bool) -> bool:
        """Append what is new; return whether anything was committed."""
        state = self._writer.state
        n_committed = state.n_frames if state else 0
        check_unchanged(self._listing, self._key)
        found = reconcile(state.source_files if state else (), n_committed, self._sources)
        time_chunk = state.time_chunk if state else self._settings.time_chunk
        rereads = plan_reread(self._sources, found.reread, time_chunk)
        self._run(compare_chunk, rereads, lambda _: None)
        has_new = found.n_available > n_committed
        is_closed = state is not None and state.closed
        if found.is_removed or not (has_new or (close and not is_closed)):
            return False
        # The partial chunk at the end is written also where the stream cannot close yet: what
        # could be read is there for its readers, and a longer chunk replaces it.
        plans = plan_chunks(self._sources, n_committed, time_chunk, close=True)
        self._writer.begin()
        reached("append.planned")

        def commit(batch: list[StagedChunk]) -> None:
            self._commit(batch, close=close and batch[-1].plan.index == plans[-1].index)

        self._run(write_chunk, plans, commit)
        if not plans:
            self._commit([], close=close)
        return True

    def _run(
        self,
        task: Callable[[ChunkJob], R],
        plans: Sequence[ChunkPlan],
        take: Callable[[list[R]], None],
    ) -> None:
        """Run a task on each plan, and take the results in the order of plans."""
        run_in_order(
            self._executor,
            task,
            ((self._job(plan),) for plan in plans),
            take,
            # While this thread commits, no slot may stand idle.
            n_at_once=min(2 * self._executor.n_slots, self._settings.max_concurrent_writes),
            check_stop=self._check_stop,
        )

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StopRequestedError(f"{self._key}: stopped; what is committed stays")

    def _job(self, plan: ChunkPlan) -> ChunkJob:
        return ChunkJob(
            plan=plan,
            product=self._key.product,
            store=str(self._writer.path),
            documents={
                path: document
                for path, document in self._documents.items()
                if document["node_type"] == "array"
            },
            staging=str(self._writer.staging),
            max_read_bytes=self._settings.chunk_size_mb * 1_000_000,
            n_encoding=capped(self._settings.blosc_threads),
        )

    def _commit(self, batch: Sequence[StagedChunk], *, close: bool) -> None:
        check_unchanged(self._listing, self._key)
        state = self._writer.state
        n_before = state.n_frames if state else 0
        n_frames = batch[-1].plan.stop if batch else n_before
        attributes = self._attributes(state, n_frames, close=close)
        self._writer.commit(batch, n_frames, attributes, self._documents)
        n_bytes = sum(chunk.n_bytes for chunk in batch)
        self.n_new_frames += n_frames - n_before
        self.n_bytes += n_bytes
        now = time.monotonic()
        if self._on_commit:
            last_time_ns = max((c.last_time_ns for c in batch), default=TIME_MISSING_NS)
            self._on_commit(
                Commit(
                    n_frames, n_frames - n_before, n_bytes, now - self._last_commit_s, last_time_ns
                )
            )
        self._last_commit_s = now

    def _attributes(self, state: L0State | None, n_frames: int, *, close: bool) -> Json:
        run = parse_run_name(self._listing.name)
        names = [file.name for file in self._listing.streams[self._key]]
        bytes_per_pixel = [n.bytes_per_pixel for n in names if n.bytes_per_pixel is not None]
        return {
            "format": L0_FORMAT,
            "format_version": L0_FORMAT_VERSION,
            "store_id": state.store_id if state else uuid.uuid4().hex,
            "commit": (state.commit if state else 0) + 1,
            "n_frames": n_frames,
            "closed": close,
            "run": self._listing.name,
            "observatory": run.observatory,
            "run_start": run.run_start,
            "runtype": run.runtype,
            "product": self._key.product,
            "module": self._key.module,
            "bytes_per_pixel": bytes_per_pixel[0] if bytes_per_pixel else None,
            "source_files": source_entries(committed_sources(self._sources, n_frames)),
            "gaps": list(self._listing.gaps(self._key)),
            "run_config": self.run_config,
            "writer": state.attributes["writer"] if state else self._writer_attribute(),
        }

    def _writer_attribute(self) -> Json:
        keys = {"codec", "level", "time_chunk", "checksum"}
        settings = self._settings.model_dump(mode="json", include=keys)
        settings["inner_chunk"] = self._settings.n_inner_frames
        return {"name": "panoseti-zarr", "version": __version__, "settings": settings}


def committed_sources(sources: Sequence[SourceFile], n_frames: int) -> tuple[CommittedSource, ...]:
    """Return the sources of the first ``n_frames`` frames, as a store records them.

    Files after the last committed frame are left out, but for those without a whole frame that
    follow the end of the stream.
    """
    firsts = first_frames(sources)
    n_available = sum(source.n_frames for source in sources)
    return tuple(
        CommittedSource(
            name=source.name,
            seqno=source.seqno,
            size_bytes=source.identity.size_bytes,
            mtime_ns=source.identity.mtime_ns,
            ctime_ns=source.identity.ctime_ns,
            n_frames=source.n_frames,
            first_frame=first,
            trailing_bytes=source.trailing_bytes,
        )
        for first, source in zip(firsts, sources, strict=True)
        if first < n_frames or n_frames == n_available
    )
