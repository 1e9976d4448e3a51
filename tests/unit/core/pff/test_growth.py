"""How far a recording can be read while it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panoseti_zarr.core.pff.growth import count_certain_frames, count_readable_files, visible_stop


@pytest.mark.parametrize(
    ("seqnos", "is_final", "n_readable"),
    [
        ([], [], 0),
        ([0], [False], 1),
        ([0, 1], [False, False], 1),
        ([0, 1], [True, False], 2),
        ([0, 1, 2], [True, False, True], 2),
        ([0, 2], [True, True], 1),
        ([1], [True], 0),
        ([0, 0], [True, True], 1),
    ],
)
def test_readable_files(seqnos, is_final, n_readable):
    """A file is read once all before it are there and final."""
    assert count_readable_files(seqnos, is_final) == n_readable


@given(st.lists(st.booleans(), max_size=200), st.data())
def test_certain_frames_have_a_good_header_behind_them(headers, data):
    """Whatever headers are broken: what counts ends at a good header, or was known before."""
    n_known = data.draw(st.integers(0, len(headers)))
    n_frames = count_certain_frames(lambda k: headers[k], len(headers), n_known)
    assert n_frames == n_known or (n_frames > n_known and headers[n_frames])


@given(st.integers(1, 10**7), st.integers(0, 10**7), st.data())
def test_certain_frames_before_reserved_space(n_good, n_zeros, data):
    """All frames before the last good header count, and reserved space costs few looks."""
    looks = []

    def is_good(k):
        looks.append(k)
        return k < n_good

    n_known = data.draw(st.integers(0, n_good - 1))
    assert count_certain_frames(is_good, n_good + n_zeros, n_known) == n_good - 1
    assert len(looks) <= 60


def test_a_broken_header_waits_for_good_ones():
    """A frame with a broken header counts once a good one follows, and not before."""
    headers = [True, True, False, True]
    counts = [count_certain_frames(lambda k: headers[k], n, 0) for n in range(5)]
    assert counts == [0, 0, 1, 1, 3]


@given(
    st.integers(0, 500), st.integers(0, 500), st.integers(1, 20), st.integers(0, 5), st.booleans()
)
def test_what_becomes_visible(n_committed, n_more, n_pieces, inner_chunk, with_tail):
    """Never less than before; whole chunks alone, or whole pieces where they show anything new."""
    n_available = n_committed + n_more
    time_chunk = n_pieces * max(1, inner_chunk)
    stop = visible_stop(n_committed, n_available, time_chunk, inner_chunk, with_tail=with_tail)
    assert n_committed <= stop <= n_available
    if not with_tail:
        assert stop == n_committed or stop % time_chunk == 0
        assert n_available - stop < time_chunk or stop == n_committed
    else:
        assert stop == n_available or stop % inner_chunk == 0
        assert stop > n_committed or n_more == 0
        assert n_available - stop < max(1, inner_chunk)
