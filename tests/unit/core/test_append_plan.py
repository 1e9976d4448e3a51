"""Planning an append: chunks, and what may follow what is committed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panoseti_zarr.core.append_plan import (
    CommittedSource,
    plan_chunks,
    plan_reread,
    reconcile,
)
from panoseti_zarr.errors import SourceChangedError
from panoseti_zarr.model import FrameLayout, Identity, SourceFile

LAYOUT = FrameLayout(9, 10, b"")


def source(seqno, n_frames, trailing_bytes=0):
    size_bytes = 10 * n_frames + trailing_bytes
    name = f"seqno_{seqno}"
    return SourceFile(
        f"/run/{name}", name, seqno, Identity(seqno, size_bytes, 1, 1), LAYOUT, n_frames,
        trailing_bytes,
    )  # fmt: skip


def committed(*sources):
    entries, first = [], 0
    for s in sources:
        entries.append(
            CommittedSource(
                s.name, s.seqno, s.identity.size_bytes, 1, 1, s.n_frames, first, s.trailing_bytes
            )
        )
        first += s.n_frames
    return entries


@given(
    st.lists(st.integers(0, 30), max_size=5),
    st.integers(1, 12),
    st.data(),
)
def test_plans_cover_the_stream(file_lengths, time_chunk, data):
    """Every uncommitted frame is planned once, in order, from a chunk boundary."""
    sources = [source(i, n) for i, n in enumerate(file_lengths)]
    frames = [(s.seqno, k) for s in sources for k in range(s.n_frames)]
    n_committed = data.draw(st.integers(0, len(frames)))
    n_stop = data.draw(st.integers(n_committed, len(frames)))
    plans = plan_chunks(sources, n_committed, time_chunk, n_stop)
    position = n_committed // time_chunk * time_chunk
    for plan in plans:
        assert plan.start == position == plan.index * time_chunk
        planned = [
            (part.source.seqno, k)
            for part in plan.segments
            for k in range(part.first_frame, part.first_frame + part.n_frames)
        ]
        assert planned == frames[plan.start : plan.stop]
        assert plan.n_compare == max(0, n_committed - plan.start)
        position = plan.stop
    assert position == n_stop


def test_plans_end_where_they_are_told_to():
    """The last chunk is whole, or as long as the store is to be."""
    assert [p.stop for p in plan_chunks([source(0, 25)], 0, 10, 20)] == [10, 20]
    assert [p.stop for p in plan_chunks([source(0, 25)], 0, 10, 25)] == [10, 20, 25]


def test_a_file_that_was_seen_to_grow_is_not_read_again():
    """Unless it is shorter, or holds fewer frames, than what was committed of it."""
    before, after = source(0, 15), source(0, 25)
    assert reconcile(committed(before), 15, [after], {0}).reread == ()
    assert reconcile(committed(before), 15, [after]).reread == ((0, 15),)
    with pytest.raises(SourceChangedError, match="shrank"):
        reconcile(committed(before), 15, [source(0, 14)], {0})
    with pytest.raises(SourceChangedError, match="had 15 frames"):
        reconcile(committed(before), 15, [source(0, 14, 10)], {0})


def test_a_new_file_follows():
    """A file above the last committed seqno is appended; what is committed is not read again."""
    files = [source(0, 15), source(1, 5)]
    found = reconcile(committed(files[0]), 15, files)
    assert (found.n_available, found.reread, found.removed) == (20, (), "")


def test_the_last_file_may_grow():
    """A file that grew at the end of the stream is read again, and its new frames follow."""
    found = reconcile(committed(source(0, 15)), 15, [source(0, 18)])
    assert found.n_available == 18
    assert found.reread == ((0, 15),)


def test_other_times_are_read_again():
    """Another mtime alone is no change: the frames are compared."""
    touched = replace(source(1, 5), identity=Identity(1, 50, 99, 99))
    found = reconcile(committed(source(0, 15), source(1, 5)), 20, [source(0, 15), touched])
    assert found.reread == ((15, 20),)


def test_only_committed_frames_are_compared():
    """Of a file that is committed in part, only that part is compared."""
    touched = replace(source(0, 15), identity=Identity(0, 150, 99, 99))
    assert reconcile(committed(source(0, 15)), 8, [touched]).reread == ((0, 8),)


@pytest.mark.parametrize(
    ("before", "now", "reason"),
    [
        ([source(0, 5)], [source(0, 4)], "shrank"),
        ([source(0, 5), source(1, 5)], [source(0, 6), source(1, 5)], "had 5 frames"),
        ([source(0, 5), source(2, 5)], [source(0, 5), source(1, 5), source(2, 5)], "arrived after"),
        ([source(1, 5)], [source(0, 5), source(1, 5)], "arrived after"),
        ([source(0, 5), source(1, 5)], [source(1, 5), source(2, 5)], "gone"),
        ([source(0, 5, 3), source(1, 5)], [source(0, 6), source(1, 5)], "had 5 frames"),
    ],
)
def test_what_would_misplace_frames_is_refused(before, now, reason):
    """Shrunk, grown in the middle, arrived late, gone: each is refused with its reason."""
    n_committed = sum(s.n_frames for s in before)
    with pytest.raises(SourceChangedError, match=reason) as caught:
        reconcile(committed(*before), n_committed, now)
    assert caught.value.code == ("late_file" if reason == "arrived after" else "source_changed")


def test_deleted_sources_are_no_error():
    """Sources that someone deleted after the close leave nothing to do."""
    files = source(0, 5), source(1, 5)
    assert reconcile(committed(*files), 10, files[1:]).removed == files[0].name


def test_files_without_a_frame_hold_nothing_up():
    """A stub that is committed may be gone, or be whole later, where no frame follows it."""
    before = committed(source(0, 5), source(1, 0, 3), source(2, 0, 3))
    assert reconcile(before, 5, [source(0, 5), source(1, 5), source(2, 0, 3)]).n_available == 10
    assert reconcile(before, 5, [source(0, 5), source(3, 5)]).n_available == 10
    later = committed(source(0, 5), source(1, 0, 3), source(2, 5))
    with pytest.raises(SourceChangedError, match="had 0 frames"):
        reconcile(later, 10, [source(0, 5), source(1, 5), source(2, 5)])


def test_rereads_stop_at_chunk_boundaries():
    """A range that is compared is cut at the chunks of the store."""
    plans = plan_reread([source(0, 25)], [(3, 25)], 10)
    assert [(p.index, p.start, p.stop, p.n_compare) for p in plans] == [
        (0, 3, 10, 7),
        (1, 10, 20, 10),
        (2, 20, 25, 5),
    ]
    assert [part.first_frame for p in plans for part in p.segments] == [3, 10, 20]
