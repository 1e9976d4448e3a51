"""The steps of every append: compare files and store, plan, stage, commit.

The coordinator's part: nobody else commits. Whatever stops it, the next append goes on from the
last commit.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from panoseti_zarr import __version__
from panoseti_zarr.cluster.executor import Executor
from panoseti_zarr.config import PffToZarrConfig, capped
from panoseti_zarr.core.append_plan import (
    ChunkPlan,
    CommittedSource,
    first_frames,
    plan_chunks,
    plan_reread,
    reconcile,
    source_gone,
)
from panoseti_zarr.core.pff.names import parse_run_name
from panoseti_zarr.errors import StopRequestedError
from panoseti_zarr.io.fs.failpoints import reached
from panoseti_zarr.io.l0.metadata import (
    L0_FORMAT,
    L0_FORMAT_VERSION,
    L0State,
    empty_store_documents,
    source_entries,
)
from panoseti_zarr.io.l0.tasks import ChunkJob, StagedChunk, compare_chunk, write_chunk
from panoseti_zarr.io.l0.writer import L0Writer
from panoseti_zarr.io.pff.frames import IMAGES
from panoseti_zarr.io.pff.listing import RunListing
from panoseti_zarr.io.pff.run_config import read_run_config
from panoseti_zarr.io.zarr3.metadata import Json
from panoseti_zarr.io.zarr3.shards import ChunkLayout
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS, SourceFile, StreamKey
from panoseti_zarr.pipeline.ordered import run_in_order

R = TypeVar("R")


@dataclass(frozen=True)
class Commit:
    """One commit, as it is reported.

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
class AppendRequest:
    """What an append is asked to do.

    Attributes
    ----------
    listing : RunListing
        The run as it stands.
    key : StreamKey
        The stream.
    settings : PffToZarrConfig
        For a new store; one that exists keeps its own.
    executor : Executor
        Runs the tasks.
    on_commit : callable
        Called after each commit, in this thread.
    stop : threading.Event
        When set, the work ends at the next moment that loses nothing.
    """

    listing: RunListing
    key: StreamKey
    settings: PffToZarrConfig
    executor: Executor
    on_commit: Callable[[Commit], None]
    stop: Event


class StreamAppender:
    """One append: what it works on, and what it has done so far.

    Parameters
    ----------
    order : AppendRequest
    writer : L0Writer
    sources : tuple of SourceFile
        The files that there are to read, by seqno.
    check_sources : callable
        Raises where they are not the stream's files any more; called before every plan and commit.
    grown : collection of int
        Seqnos of files that need not be read again, as `reconcile` says.

    Attributes
    ----------
    n_new_frames, n_bytes : int
        What was committed; ``n_bytes`` of PFF.
    n_available : int
        Frames that the files hold, once `run` has looked.
    has_compared : bool
        All that is committed is what the files have; False as long as some of them are missing.
    run_config : dict
        The run's configuration files.
    """

    def __init__(
        self,
        order: AppendRequest,
        writer: L0Writer,
        sources: tuple[SourceFile, ...],
        check_sources: Callable[[], None],
        grown: Collection[int] = (),
    ) -> None:
        self.n_new_frames = 0
        self.n_bytes = 0
        self.n_available = 0
        self.has_compared = False
        self.run_config = read_run_config(order.listing.path)
        self._order = order
        self._listing = order.listing
        self._key = order.key
        self._sources = sources
        self._check_sources = check_sources
        self._grown = grown
        self._executor = order.executor
        self._writer = writer
        self._last_commit_s = time.monotonic()
        self._documents: dict[str, Json] = (
            writer.state.documents
            if writer.state
            else empty_store_documents(PRODUCTS[order.key.product], order.settings)
        )

    @property
    def layout(self) -> ChunkLayout:
        """How ``images`` are stored."""
        return ChunkLayout.of(self._documents[IMAGES])

    def run(self, *, close: bool, stop_at: Callable[[int, int], int] | None = None) -> bool:
        """Append what is new; return whether anything was committed.

        Parameters
        ----------
        close : bool
            Close the store at the end.
        stop_at : callable, optional
            Of the committed and the available frames, up to which the store shall have them;
            without it all.

        Raises
        ------
        SourceChangedError
            A frame could not keep its place, or the store cannot be closed: files whose frames
            are committed differ, or are gone.
        """
        state = self._writer.state
        n_committed = state.n_frames if state else 0
        self._check_sources()
        committed = state.source_files if state else ()
        found = reconcile(committed, n_committed, self._sources, self._grown)
        time_chunk = self.layout.chunk_frames
        rereads = plan_reread(self._sources, found.reread, time_chunk)
        self._run(compare_chunk, rereads, lambda _: None)
        self.has_compared = not found.removed
        self.n_available = n_stop = found.n_available
        if stop_at is not None:
            n_stop = stop_at(n_committed, found.n_available)
        has_new = n_stop > n_committed
        is_closed = state is not None and state.closed
        if found.removed and close and not is_closed:
            raise source_gone(found.removed)
        if found.removed or not (has_new or (close and not is_closed)):
            return False
        # A partial chunk at the end is written also where the stream does not close: what could
        # be read is there for its readers, and a longer chunk replaces it.
        plans = plan_chunks(self._sources, n_committed, time_chunk, n_stop)
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
            n_at_once=min(2 * self._executor.n_slots, self._order.settings.max_concurrent_writes),
            check_stop=self._check_stop,
        )

    def _check_stop(self) -> None:
        if self._order.stop.is_set():
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
            max_read_bytes=self._order.settings.chunk_size_bytes,
            n_encoding=capped(self._order.settings.blosc_threads),
        )

    def _commit(self, batch: Sequence[StagedChunk], *, close: bool) -> None:
        self._check_sources()
        state = self._writer.state
        n_before = state.n_frames if state else 0
        n_frames = batch[-1].plan.stop if batch else n_before
        attributes = self._attributes(state, n_frames, close=close)
        self._writer.commit(batch, n_frames, attributes, self._documents)
        n_bytes = sum(chunk.n_bytes for chunk in batch)
        self.n_new_frames += n_frames - n_before
        self.n_bytes += n_bytes
        now = time.monotonic()
        last_time_ns = max((c.last_time_ns for c in batch), default=TIME_MISSING_NS)
        self._order.on_commit(
            Commit(n_frames, n_frames - n_before, n_bytes, now - self._last_commit_s, last_time_ns)
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
        settings = self._order.settings.model_dump(mode="json", include=keys)
        settings["inner_chunk"] = self._order.settings.n_inner_frames
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
            # Of a file that grows what counts now: it may have reserved space behind it.
            size_bytes=source.counted_bytes if source.may_grow else source.identity.size_bytes,
            mtime_ns=source.identity.mtime_ns,
            ctime_ns=source.identity.ctime_ns,
            n_frames=source.n_frames,
            first_frame=first,
            trailing_bytes=0 if source.may_grow else source.trailing_bytes,
        )
        for first, source in zip(firsts, sources, strict=True)
        if first < n_frames or n_frames == n_available
    )
