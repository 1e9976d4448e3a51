"""The times and the quality of a stream's frames, in equal parts of its duration. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from panoseti_zarr.model import N_QUABOS, TIME_MISSING_NS, Quality

Int64 = npt.NDArray[np.int64]
Ints = npt.NDArray[np.integer]
Bools = npt.NDArray[np.bool_]

N_BITS = len(Quality)
MOST_BINS = 240

_FEW_AT_AN_END, _MOST_AT_AN_END = 3, 100
_SHARE_AT_AN_END = 20
_FRAMES_PER_BIN = 4
_SECOND_NS = 10**9
_REGULAR_GAP_STEPS = 10
_RANDOM_GAP_STEPS = 30
"""Pulses come at random: among 10**8 of them such a pause is by chance in 1 of 10**5 streams."""


@dataclass(frozen=True)
class TimeSpan:
    """From the first to the last time of a stream, single absurd times left out.

    Attributes
    ----------
    first_ns, last_ns : int
    step_ns : float
        Usual time from one frame to the next; 0 where it is not known.
    """

    first_ns: int
    last_ns: int
    step_ns: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.last_ns - self.first_ns) / _SECOND_NS

    @property
    def slack_ns(self) -> int:
        """So far outside a time may be and still belong to the stream."""
        return (self.last_ns - self.first_ns) // 2 + _SECOND_NS

    def holds(self, times_ns: Int64) -> Bools:
        """Say which times belong to the stream; those that are missing do not."""
        lowest = max(self.first_ns - self.slack_ns, TIME_MISSING_NS + 1)
        highest = min(self.last_ns + self.slack_ns, int(np.iinfo(np.int64).max))
        return np.asarray((times_ns >= lowest) & (times_ns <= highest))


def find_span(head_ns: Int64, tail_ns: Int64, n_frames: int, *, regular: bool) -> TimeSpan | None:
    """Find the span of a stream from its first and its last times.

    Parameters
    ----------
    head_ns, tail_ns : ndarray of int64
        Times of frames at its beginning and its end, `TIME_MISSING_NS` among them.
    n_frames : int
        Of the stream.
    regular : bool
        Frames come at a rate, as images do: the step is then the usual difference of neighbours,
        otherwise the mean one.

    Returns
    -------
    TimeSpan or None
        None where no frame has a time.
    """
    ends = [times[times != TIME_MISSING_NS] for times in (head_ns, tail_ns)]
    n_at_end = min(max(n_frames // _SHARE_AT_AN_END, _FEW_AT_AN_END), _MOST_AT_AN_END)
    firsts, lasts = ends[0][:n_at_end], ends[1][-n_at_end:]
    if not (len(firsts) and len(lasts)):
        return None
    low, high = sorted(int(np.sort(times)[len(times) // 2]) for times in (firsts, lasts))
    both = np.concatenate((firsts, lasts))
    near = both[TimeSpan(low, high, 0).holds(both)]
    first, last = int(near.min()), int(near.max())
    steps = np.concatenate([np.diff(times) for times in ends])
    steps = steps[steps > 0]
    step = (last - first) / max(1, n_frames - 1)
    return TimeSpan(first, last, float(np.median(steps)) if regular and len(steps) else step)


@dataclass(frozen=True)
class Timeline:
    """Frames and their quality, in equal parts (bins) of a stream's time.

    Attributes
    ----------
    span : TimeSpan or None
        None where no frame has a time; then there are no bins.
    n_frames : ndarray of int64, shape (n_bins,)
        A frame without a time is in the bin of the one before it.
    n_flagged : ndarray of int64, shape (n_bits, n_bins)
        Frames that have each bit of `Quality`.
    n_by_quabo : ndarray of int64, shape (4, n_bins)
        Frames that count for each quabo.
    is_gap : ndarray of bool, shape (n_bins,)
        Whether a gap in time touches it.
    n_totals : ndarray of int64, shape (n_bits,)
        Frames that have each bit.
    n_read : int
        Frames that were looked at.
    n_elsewhere : int
        Of these, frames whose time is outside the span.
    n_gaps : int
    longest_gap_ns : int
    """

    span: TimeSpan | None
    n_frames: Int64
    n_flagged: Int64
    n_by_quabo: Int64
    is_gap: Bools
    n_totals: Int64
    n_read: int
    n_elsewhere: int
    n_gaps: int
    longest_gap_ns: int

    @property
    def n_bins(self) -> int:
        """Parts of the span."""
        return len(self.n_frames)

    def edges_ns(self) -> npt.NDArray[np.float64]:
        """Return the bins' edges after the span's first time."""
        seconds = self.span.seconds if self.span else 0.0
        return np.linspace(0.0, seconds * _SECOND_NS, self.n_bins + 1)

    def bins_of(self, times_ns: Int64) -> Int64:
        """Return the bin of each time that the span holds."""
        return bins_of(self.span, self.n_bins, times_ns)


def bins_of(span: TimeSpan | None, n_bins: int, times_ns: Int64) -> Int64:
    """Return the bin of each time; those before and after are in the first and the last."""
    if span is None or span.last_ns == span.first_ns:
        return np.zeros(len(times_ns), np.int64)
    inside = np.clip(times_ns, span.first_ns, span.last_ns) - span.first_ns
    places = inside * (n_bins / (span.last_ns - span.first_ns))
    return np.minimum(places.astype(np.int64), n_bins - 1)


class TimelineBuilder:
    """Makes a `Timeline` of a stream's frames, taken in order, some at a time.

    Parameters
    ----------
    span : TimeSpan or None
    n_frames : int
        Of the stream.
    regular : bool
        As of `find_span`.
    """

    def __init__(self, span: TimeSpan | None, n_frames: int, *, regular: bool) -> None:
        self._span = span
        n_bins = max(1, min(MOST_BINS, n_frames // _FRAMES_PER_BIN)) if span else 0
        self._n_frames = np.zeros(n_bins, np.int64)
        self._n_flagged = np.zeros((N_BITS, n_bins), np.int64)
        self._n_by_quabo = np.zeros((N_QUABOS, n_bins), np.int64)
        self._gap_edges = np.zeros(n_bins + 1, np.int64)
        self._n_totals = np.zeros(N_BITS, np.int64)
        self._n_read = self._n_elsewhere = self._n_gaps = self._longest_gap_ns = 0
        self._next_frame = 0
        self._last_ns = span.first_ns if span else 0
        steps = _REGULAR_GAP_STEPS if regular else _RANDOM_GAP_STEPS
        self._gap_ns = span.step_ns * steps if span else 0.0

    def add(self, first_frame: int, times_ns: Int64, quality: Ints, by_quabo: Bools) -> None:
        """Take in frames.

        Parameters
        ----------
        first_frame : int
            Position of the first; there may be frames between these and the last ones.
        times_ns : ndarray of int64, shape (n,)
        quality : ndarray of uint16, shape (n,)
        by_quabo : ndarray of bool, shape (n, 4)
            Whether each counts for a quabo.
        """
        self._n_read += len(times_ns)
        flags = [(quality & np.uint16(bit)) != 0 for bit in Quality]
        self._n_totals += [np.count_nonzero(flag) for flag in flags]
        if self._span is None:
            return
        held = self._span.holds(times_ns)
        self._n_elsewhere += int(np.count_nonzero(~held & (times_ns != TIME_MISSING_NS)))
        is_next, self._next_frame = first_frame == self._next_frame, first_frame + len(times_ns)
        self._find_gaps(times_ns[held], is_next=is_next)
        bins = bins_of(self._span, len(self._n_frames), self._placed(times_ns, held))
        self._n_frames += self._counts(bins)
        self._n_flagged += [self._counts(bins[flag]) for flag in flags]
        self._n_by_quabo += [self._counts(bins[mine]) for mine in by_quabo.T]

    def timeline(self) -> Timeline:
        """Return what was found."""
        return Timeline(
            self._span,
            self._n_frames,
            self._n_flagged,
            self._n_by_quabo,
            np.cumsum(self._gap_edges)[:-1] > 0,
            self._n_totals,
            self._n_read,
            self._n_elsewhere,
            self._n_gaps,
            self._longest_gap_ns,
        )

    def _counts(self, bins: Int64) -> Int64:
        return np.bincount(bins, minlength=len(self._n_frames))

    def _placed(self, times_ns: Int64, held: Bools) -> Int64:
        """Return the times, with that of the frame before where it is missing."""
        last = np.maximum.accumulate(np.where(held, np.arange(len(held)), -1))
        placed = np.where(last >= 0, times_ns[last], self._last_ns)
        if len(placed):
            self._last_ns = int(placed[-1])
        return np.asarray(placed)

    def _find_gaps(self, times_ns: Int64, *, is_next: bool) -> None:
        if is_next and self._n_frames.any():
            times_ns = np.concatenate(([self._last_ns], times_ns))
        steps = np.diff(times_ns)
        at = np.flatnonzero(steps > self._gap_ns) if self._gap_ns else np.empty(0, np.int64)
        if not len(at):
            return
        self._n_gaps += len(at)
        self._longest_gap_ns = max(self._longest_gap_ns, int(steps[at].max()))
        n_bins = len(self._n_frames)
        np.add.at(self._gap_edges, bins_of(self._span, n_bins, times_ns[at]), 1)
        np.add.at(self._gap_edges, bins_of(self._span, n_bins, times_ns[at + 1]) + 1, -1)
