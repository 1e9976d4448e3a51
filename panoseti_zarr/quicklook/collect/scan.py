"""One pass over a stream, in order, that reads what a summary needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.masks import boards_of_frames, present_quabos
from panoseti_zarr.model import N_QUABOS, TIME_MISSING_NS, HeaderForm
from panoseti_zarr.quicklook.compute.sampling import (
    MOST_PIECES,
    Range,
    choose_pieces,
    choose_ranges,
)
from panoseti_zarr.quicklook.compute.timeline import Timeline, TimelineBuilder, TimeSpan, find_span
from panoseti_zarr.quicklook.store_view import StoreView

Int64 = npt.NDArray[np.int64]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

_ENOUGH_TIMES = 100


@dataclass(frozen=True)
class StreamSurvey:
    """What is drawn of any stream.

    Attributes
    ----------
    stream : StoreView
        The store that was named.
    timeline : Timeline
    missing_bins : ndarray of int64
        Bins of the timeline at which frame files are missing, as far as that is known.
    n_sampled : int
        Frames whose images were looked at.
    """

    stream: StoreView
    timeline: Timeline
    missing_bins: Int64
    n_sampled: int


@dataclass(frozen=True)
class Frames:
    """All that is known of some frames but their images.

    Attributes
    ----------
    start, stop : int
        Their positions in the stream, half open.
    times_ns : ndarray of int64, shape (n,)
    quality : ndarray of uint16, shape (n,)
    boards : ndarray of int64, shape (n,)
        The board that each counts for; negative for none.
    present : ndarray of bool, shape (n, 4)
        Whether each counts for a quabo.
    """

    start: int
    stop: int
    times_ns: Int64
    quality: Ints
    boards: Ints
    present: Bools

    def part(self, start: int, stop: int) -> Frames:
        """Return those at some positions."""
        here = slice(start - self.start, stop - self.start)
        return Frames(
            start,
            stop,
            self.times_ns[here],
            self.quality[here],
            self.boards[here],
            self.present[here],
        )


def walk(
    stream: StoreView, regular: bool, take: Callable[[Frames, TimeSpan | None, int], None]
) -> Timeline:
    """Read a stream's times and quality, and hand out the pieces whose images are looked at.

    Parameters
    ----------
    stream : StoreView
    regular : bool
        As of `find_span`.
    take : callable
        Takes each piece, the stream's span, and how many pieces there are.
    """
    span = _span(stream, regular=regular)
    builder = TimelineBuilder(span, stream.n_frames, regular=regular)
    ranges = choose_ranges(stream.n_frames, stream.chunk_frames)
    pieces = pieces_of(stream, ranges, MOST_PIECES)
    for start, stop in ranges:
        frames = read_frames(stream, start, stop)
        builder.add(start, frames.times_ns, frames.quality, frames.present)
        for begin, end in pieces:
            if start <= begin < stop:
                take(frames.part(begin, end), span, len(pieces))
    return builder.timeline()


def pieces_of(stream: StoreView, ranges: list[Range], most: int) -> list[Range]:
    """Return at most this many pieces of a stream, spread over some chunks."""
    document = stream.documents["images"]
    frame_bytes = int(np.prod(document["shape"][1:])) * np.dtype(document["data_type"]).itemsize
    return choose_pieces(ranges, stream.piece_frames, frame_bytes, most)


def read_frames(stream: StoreView, start: int, stop: int) -> Frames:
    """Read all but the images; errors as `StoreView.read`."""
    quality = stream.read("quality", start, stop)
    if stream.product.form is HeaderForm.QUABO:
        quabo_num = stream.read("headers/quabo_num", start, stop)
        boards = boards_of_frames(quality, quabo_num, stream.product)
        present = np.asarray(boards[:, np.newaxis] == np.arange(N_QUABOS))
    else:
        boards = boards_of_frames(quality, None, stream.product)
        present = present_quabos(quality, stream.product)
    return Frames(start, stop, stream.read("timestamps", start, stop), quality, boards, present)


def find_missing(stream: StoreView, timeline: Timeline) -> Int64:
    """Find the bins of a timeline at which files are missing: before each file that has a gap.

    An L1 store does not know its files; the result is then empty.
    """
    sources = stream.attributes.get("source_files", [])
    gaps = stream.attributes.get("gaps") or [] if sources else []
    places = []
    for seqno in gaps:
        later = [source["first_frame"] for source in sources if source["seqno"] > seqno]
        places.append(min([*later, stream.n_frames]))
    times = [
        stream.read("timestamps", place, place + 1)
        for place in {min(place, stream.n_frames - 1) for place in places}
        if place >= 0
    ]
    found = np.concatenate([np.empty(0, np.int64), *times])
    held = found[timeline.span.holds(found)] if timeline.span else found[:0]
    return np.unique(timeline.bins_of(held))


def _span(stream: StoreView, *, regular: bool) -> TimeSpan | None:
    ranges = choose_ranges(stream.n_frames, stream.chunk_frames)
    head = _enough_times(stream, ranges)
    tail = _enough_times(stream, ranges[::-1])[::-1]
    ends = [np.concatenate([np.empty(0, np.int64), *times]) for times in (head, tail)]
    return find_span(ends[0], ends[1], stream.n_frames, regular=regular)


def _enough_times(stream: StoreView, ranges: list[Range]) -> list[Int64]:
    """Return the times in this many of these chunks that there are some; without those missing."""
    found: list[Int64] = []
    for start, stop in ranges:
        times = stream.read("timestamps", start, stop)
        found.append(times[times != TIME_MISSING_NS])
        if sum(map(len, found)) >= _ENOUGH_TIMES:
            break
    return found
