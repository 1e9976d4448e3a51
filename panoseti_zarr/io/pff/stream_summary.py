"""Describes the streams of a run without converting them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from panoseti_zarr.core.append_plan import ChunkPlan, Segment
from panoseti_zarr.errors import CorruptDataError
from panoseti_zarr.io.pff.frames import FrameReader
from panoseti_zarr.io.pff.listing import RunListing
from panoseti_zarr.io.pff.source import measure_stream
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS, SourceFile, StreamKey

_LOOK_FRAMES = 1000
_READ_BYTES = 10_000_000


@dataclass(frozen=True)
class StreamSummary:
    """What a stream has.

    Attributes
    ----------
    key : StreamKey
    files : tuple of str
        Names of its non-empty files, by seqno.
    n_empty_files : int
    n_frames : int
        Whole frames.
    size_bytes : int
        Of the files.
    first_time_ns, last_time_ns : int or None
        Of the first and the last frame that has a time, looked for in the first 1000 frames of
        the first file and the last 1000 of the last one.
    gaps : tuple of int
        Missing seqnos.
    problem : str or None
        Why the stream cannot be converted, or not whole.
    """

    key: StreamKey
    files: tuple[str, ...]
    n_empty_files: int
    n_frames: int
    size_bytes: int
    first_time_ns: int | None
    last_time_ns: int | None
    gaps: tuple[int, ...]
    problem: str | None


def describe_stream(listing: RunListing, key: StreamKey) -> StreamSummary:
    """Measure a stream's files and find its first and last time.

    Raises
    ------
    TransientIOError
        A file cannot be read.
    """
    files = listing.streams.get(key, ())
    try:
        measured = measure_stream(listing, key)
        sources, problem = measured.sources, measured.problem
    except CorruptDataError as error:
        # Files that cannot be put in order still have frames, each by itself.
        sources, problem = _measure_each(listing, key), error
    with_frames = [source for source in sources if source.n_frames]
    times: list[int] = []
    for source, at_end in ((s, e) for s in with_frames[:1] + with_frames[-1:] for e in (0, 1)):
        times += _times(source, key, at_end=bool(at_end))
    return StreamSummary(
        key=key,
        files=tuple(file.path.name for file in files),
        n_empty_files=sum(file.name.key == key for file in listing.empty_files),
        n_frames=sum(source.n_frames for source in sources),
        size_bytes=sum(file.identity.size_bytes for file in files),
        first_time_ns=times[0] if times else None,
        last_time_ns=times[-1] if times else None,
        gaps=listing.gaps(key),
        problem=str(problem) if problem else None,
    )


def _measure_each(listing: RunListing, key: StreamKey) -> tuple[SourceFile, ...]:
    alone = (
        replace(listing, streams={key: (file,)}, refused=())
        for file in listing.streams.get(key, ())
    )
    return tuple(source for one in alone for source in measure_stream(one, key).sources)


def _times(source: SourceFile, key: StreamKey, *, at_end: bool) -> list[int]:
    n_frames = min(_LOOK_FRAMES, source.n_frames)
    first = source.n_frames - n_frames if at_end else 0
    plan = ChunkPlan(0, 0, n_frames, 0, (Segment(source, first, n_frames),))
    times = FrameReader(plan, PRODUCTS[key.product], _READ_BYTES).read_all()["timestamps"]
    return [int(time) for time in times if time != TIME_MISSING_NS]
