"""Times and quality, against plain integers frame by frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.reference_store import time_and_quality

from panoseti_zarr.core.pff.times import iso_time, times_and_quality
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS, Quality, header_specs

BOARD = (5, 229, 480_007_492, 1_754_112_704 + 192, 985_339)  # d = 0
seconds = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(1_700_000_000, 1_700_003_000),
    st.integers(9_223_372_030, 9_223_372_040),
    st.integers(-9_223_372_040, -9_223_372_030),
)
boards = st.one_of(
    st.just((0, 0, 0, 0, 0)),
    st.tuples(
        st.integers(0, 2**32 - 1),
        st.integers(0, 2**16 - 1),
        st.one_of(st.integers(0, 2**32 - 1), st.just(999_999_999)),
        seconds,
        st.integers(0, 2**32 - 1),
    ),
)


def compute(product, frames):
    specs = header_specs(PRODUCTS[product])
    fields = [
        np.array([0 if frame is None else frame[i] for frame in frames], spec.dtype)
        for i, spec in enumerate(specs)
    ]
    readable = np.array([frame is not None for frame in frames])
    times, quality = times_and_quality(fields, readable, PRODUCTS[product])
    return list(zip(times.tolist(), quality.tolist(), strict=True))


@pytest.mark.parametrize(("tai_step", "second"), [(0, 0), (-1, -1), (1, 1)])
def test_wr_second(tai_step, second):
    """The WR second is tv_sec, the one before or the one after, as d says."""
    tv_sec = 1_754_112_728
    tai = (tv_sec + 37 + tai_step) % 1024
    ((time_ns, quality),) = compute("ph256", [(3, 1, tai, 25, tv_sec, 0)])
    assert time_ns == (tv_sec + second) * 10**9 + 25
    assert quality == 0


def test_clock_not_locked_gives_the_daqs_time():
    """With any other d the time is the DAQ's, and bit 4 says so; clamped ns set bit 5."""
    frame = (0, 1, 500, 999_999_999, 1_754_112_728, 985_339)
    ((time_ns, quality),) = compute("ph256", [frame])
    assert time_ns == 1_754_112_728_985_339_000
    assert quality == Quality.WR_NOT_LOCKED | Quality.NSEC_CLAMPED


def test_first_quabo_that_sent_gives_the_time():
    """A missing quabo 0 sets its bit; the time is quabo 1's."""
    zero = (0,) * 5
    other = (1, *BOARD[1:2], 1, *BOARD[3:])
    ((time_ns, quality),) = compute("img16", [(*zero, *BOARD, *zero, *other)])
    assert quality & 0b1111 == 0b0101
    assert time_ns % 10**9 in (480_007_492, 985_339_000)


def test_frames_without_time():
    """No packet at all: NaT and bit 7; an unreadable header: bits 6 and 7 and no other."""
    found = compute("img16", [(0,) * 20, None])
    assert found == [
        (TIME_MISSING_NS, 0b1111 | Quality.NO_TIME),
        (TIME_MISSING_NS, Quality.HEADER_UNREADABLE | Quality.NO_TIME),
    ]
    assert compute("ph256", [(3, 0, 0, 0, 0, 0)]) == [(TIME_MISSING_NS, Quality.NO_TIME)]


@pytest.mark.parametrize(
    ("tv_sec", "fits"),
    [(9_223_372_036, True), (9_223_372_037, False), (-9_223_372_036, True), (2**63 - 1, False)],
)
def test_times_beyond_int64_are_no_times(tv_sec, fits):
    """A time that int64 nanoseconds cannot hold is NaT with bit 7, never a wrapped number."""
    tai = (tv_sec + 37) % 1024
    ((time_ns, quality),) = compute("ph256", [(0, 1, tai, 0, tv_sec, 0)])
    assert (time_ns == tv_sec * 10**9) == fits
    assert bool(quality & Quality.NO_TIME) != fits
    assert fits or time_ns == TIME_MISSING_NS


@given(st.lists(st.tuples(boards, boards, boards, boards), min_size=1, max_size=5))
def test_module_frames_like_plain_integers(frames):
    """Any four boards: the vectorised rule is the rule."""
    flat = [[value for board in frame for value in board] for frame in frames]
    assert compute("img16", flat) == [time_and_quality("img16", frame) for frame in flat]


@given(st.lists(st.tuples(st.integers(0, 255), boards), min_size=1, max_size=5))
def test_quabo_frames_like_plain_integers(frames):
    """Any one board: the vectorised rule is the rule."""
    flat = [[quabo, *board] for quabo, board in frames]
    assert compute("ph256", flat) == [time_and_quality("ph256", frame) for frame in flat]


def test_iso_time():
    """Times are printed to the nanosecond, UTC."""
    assert iso_time(1_686_198_635_480_007_492) == "2023-06-08T04:30:35.480007492Z"
