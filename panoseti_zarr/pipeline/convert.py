"""Converts a whole run: its streams at once, each to its own L0 store."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from panoseti_zarr.cluster.executor import Executor
from panoseti_zarr.config import Config
from panoseti_zarr.errors import CorruptDataError, InputError, InvariantError, TransientIOError
from panoseti_zarr.io.fs.durable import ensure_directory
from panoseti_zarr.io.pff.listing import RunListing
from panoseti_zarr.model import StreamKey
from panoseti_zarr.pipeline.appender import Commit
from panoseti_zarr.pipeline.ingest import IngestResult, ingest_stream

NO_FRAMES = "No valid PFF files found"


@dataclass(frozen=True)
class StreamOutcome:
    """The outcome of a stream.

    Attributes
    ----------
    key : StreamKey
    result : IngestResult or None
        None where there is a problem.
    problem : CorruptDataError, TransientIOError, InputError or None
        Why it is quarantined, the transient failure, or that another store is in its place.
    """

    key: StreamKey
    result: IngestResult | None
    problem: CorruptDataError | TransientIOError | InputError | None

    @property
    def store(self) -> Path:
        """The L0 store; where there is a problem, that is raised."""
        if self.result is None:
            raise self.problem or InvariantError("neither a result nor a problem")
        return self.result.store_path

    @property
    def has_failed(self) -> bool:
        """Whether its files are not to blame (full disk, locked store, another's file in place)."""
        return isinstance(self.problem, TransientIOError | InputError)

    @property
    def is_whole(self) -> bool:
        """Whether the stream is done, and none of its files was cut short."""
        return self.result is not None and not self.result.cut_short

    @property
    def complaints(self) -> tuple[str, ...]:
        """One line for each thing that is wrong with the stream."""
        if self.result is None:
            return (f"{self.key}: {self.problem}",)
        return tuple(f"{self.key}: {line}" for line in self.result.cut_short)


def convert_run(
    listing: RunListing,
    l0_dir: Path,
    config: Config,
    executor: Executor,
    *,
    on_commit: Callable[[StreamKey, Commit], None] | None = None,
) -> list[StreamOutcome]:
    """Append every stream of a run, ``[daemon] max_streams`` at a time.

    Returns
    -------
    list of StreamOutcome
        By stream. One that cannot go on does not stop the others.

    Raises
    ------
    InputError
        The run has no frame file.
    """
    if not listing.keys:
        raise InputError(NO_FRAMES, path=str(listing.path))
    ensure_directory(l0_dir)
    stop = Event()

    def convert_one(key: StreamKey) -> StreamOutcome:
        def tell(commit: Commit) -> None:
            if on_commit:
                on_commit(key, commit)

        try:
            result = ingest_stream(
                listing, key, l0_dir, config.pff_to_zarr, executor, on_commit=tell, stop=stop
            )
        except (CorruptDataError, TransientIOError, InputError) as error:
            return StreamOutcome(key, None, error)
        return StreamOutcome(key, result, None)

    with ThreadPoolExecutor(config.daemon.max_streams, thread_name_prefix="stream") as threads:
        jobs = [threads.submit(convert_one, key) for key in listing.keys]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:
            stop.set()
            threads.shutdown(cancel_futures=True)
            raise
    return sorted((job.result() for job in jobs), key=lambda outcome: outcome.key)
