"""A stream that is recorded, into a store that stays open: what readers see, and when."""

import os
from itertools import pairwise

import numpy as np
import pytest
import zarr
from support.recording import SETTLE_S, Recording
from support.reference_store import reference_arrays
from support.stores import (
    SMALL_CHUNKS,
    assert_equal_arrays,
    assert_same_store,
    ingest,
    read_arrays,
)

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.errors import CorruptDataError, SourceChangedError
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.pff import live
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run
from panoseti_zarr.io.simulate.defects import BrokenHeader
from panoseti_zarr.io.verify import verify_store
from panoseti_zarr.model import PRODUCTS
from panoseti_zarr.pipeline import appender as append_module

N_FRAMES = 300
FRAME_BYTES = PRODUCTS["img16"].today_frame_bytes


def record(tmp_path, *, product="img16", files_of=0, settings=SMALL_CHUNKS, **options):
    """Simulate a run of one stream, and begin to record it."""
    size = max_file_size_mb(product, files_of) if files_of else 0
    plan = RunPlan((StreamPlan(product, 1, N_FRAMES),), max_file_size_mb=size, **options)
    (tmp_path / "whole").mkdir()
    return Recording(simulate_run(tmp_path / "whole", plan), tmp_path / "live", settings)


def assert_like_converted(recording, tmp_path):
    """Close the stream, and compare its store with that of one conversion of the finished run."""
    recording.finish()
    assert recording.close().n_frames == N_FRAMES
    expected = ingest(recording.run, tmp_path / "expected", recording.settings).store_path
    assert_same_store(recording.store, expected)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("step", [7_001, 50_000])
def test_readers_see_a_store_that_only_grows(tmp_path, product, step):
    """Whatever sizes the file has meanwhile: whole frames, right ones, and never fewer."""
    recording = record(tmp_path, product=product)
    expected = reference_arrays(recording.files, product)
    size_bytes = recording.files[0].stat().st_size
    n_seen = [0]
    for turn in range(-(-size_bytes // step)):
        recording.write(step)
        if turn % max(1, 50_000 // step) and turn > 5:
            continue
        n_frames = recording.follow().n_frames
        n_whole = recording.file().stat().st_size // PRODUCTS[product].today_frame_bytes
        assert n_seen[-1] <= n_frames <= n_whole
        assert n_frames >= n_whole - 1
        n_seen.append(n_frames)
        if n_frames:
            found = read_arrays(recording.store)
            assert_equal_arrays(found, {path: a[:n_frames] for path, a in expected.items()})
            assert not read_state(recording.store).closed
    assert len(set(n_seen)) > 3
    assert_like_converted(recording, tmp_path)


def test_whole_chunks_alone(tmp_path):
    """Without its tail a stream is shown up to its last whole chunk, and the next is told."""
    recording = record(tmp_path)
    recording.write(63 * FRAME_BYTES)
    told = recording.follow(with_tail=False)
    assert told.n_frames == 0
    assert not recording.store.exists()
    recording.write(told.next_chunk_bytes - recording.file().stat().st_size)
    told = recording.follow(with_tail=False)
    assert told.n_frames == 64
    assert told.next_chunk_bytes == 2 * 64 * FRAME_BYTES + 492
    recording.write(20 * FRAME_BYTES)
    assert recording.follow(with_tail=False).n_frames == 64
    assert verify_store(recording.store).ok
    assert recording.follow().n_frames == 84
    assert_like_converted(recording, tmp_path)


def test_a_flush_ends_with_an_inner_chunk(tmp_path):
    """What a reader holds of a shard keeps its bytes and its place when the shard grows."""
    settings = PffToZarrConfig(time_chunk=64, inner_chunk=8)
    recording = record(tmp_path, settings=settings)
    shard = recording.store / "images/c/0/0/0"
    before = b""
    for n_frames, n_visible in ((30, 24), (45, 40), (46, 46), (63, 56)):
        recording.write(n_frames * FRAME_BYTES + 1_000 - recording.size())
        assert recording.follow().n_frames == n_visible
        index_bytes = 8 * 16 + 4
        now = shard.read_bytes()[:-index_bytes]
        if n_visible != 46 and before:
            assert now.startswith(before)
        before = now if n_visible % 8 == 0 else before
    assert_like_converted(recording, tmp_path)


def test_a_slow_stream_is_shown_to_its_last_frame(tmp_path):
    """Where no inner chunk was filled since the last flush the frames there are, are shown."""
    recording = record(tmp_path, settings=PffToZarrConfig(time_chunk=64, inner_chunk=64))
    for n_frames in (3, 5, 6):
        recording.write(n_frames * FRAME_BYTES + 1_000 - recording.size())
        assert recording.follow().n_frames == n_frames
    assert_like_converted(recording, tmp_path)


def test_reserved_space_is_no_frames(tmp_path):
    """Zeros at the end of a growing file, reserved for what will come, do not count."""
    recording = record(tmp_path)
    size_bytes = recording.files[0].stat().st_size
    recording.file().touch()
    os.truncate(recording.file(), size_bytes)
    assert recording.follow().n_frames == 0
    data = recording.files[0].read_bytes()
    for n_frames in (1, 90, 91, 200):
        with recording.file().open("r+b") as file:
            file.write(data[: n_frames * FRAME_BYTES + 700])
        assert recording.follow().n_frames == n_frames
    assert_equal_arrays(
        read_arrays(recording.store),
        {path: a[:200] for path, a in reference_arrays(recording.files, "img16").items()},
    )


def test_a_broken_header_waits_for_good_frames(tmp_path):
    """A frame with a broken header, and those before it, count once a good header follows."""
    recording = record(tmp_path, defects=(BrokenHeader(frame=80), BrokenHeader(frame=81)))
    recording.write(82 * FRAME_BYTES)
    assert recording.follow().n_frames in range(70, 80)
    recording.write(FRAME_BYTES)
    assert recording.follow().n_frames == 82
    assert_like_converted(recording, tmp_path)


def test_the_next_file_waits_for_the_last_to_rest(tmp_path):
    """A file is read once the one before it rested for settle_s; then its last frame counts too."""
    recording = record(tmp_path, files_of=100)
    recording.write(1 << 30)
    assert recording.follow().n_frames == 99
    recording.write(50 * FRAME_BYTES, 1)
    assert recording.look(1.0)[0].n_files == 1
    assert recording.follow().n_frames == 99
    assert recording.look(SETTLE_S)[0].n_files == 2
    assert recording.follow().n_frames == 149
    assert read_state(recording.store).source_files[0].trailing_bytes == 0
    assert_like_converted(recording, tmp_path)


def test_an_empty_file_is_a_file(tmp_path):
    """The DAQ opens a file before it writes to it: one of zero bytes lets the last one rest."""
    recording = record(tmp_path, files_of=100)
    recording.write(1 << 30)
    recording.write(0, 1)
    recording.look()
    recording.look(SETTLE_S)
    assert recording.follow().n_frames == 100
    assert_like_converted(recording, tmp_path)


def test_a_gap_waits(tmp_path):
    """Behind a seqno that is missing nothing is read while it may still come."""
    recording = record(tmp_path, files_of=100)
    recording.write(1 << 30)
    recording.write(1 << 30, 2)
    recording.look()
    recording.look(SETTLE_S)
    assert recording.follow().n_frames == 99
    recording.write(1 << 30, 1)
    recording.look()
    recording.look(SETTLE_S)
    assert recording.follow().n_frames == N_FRAMES - 1
    assert_like_converted(recording, tmp_path)


def test_committed_frames_are_read_again_once_after_a_restart(tmp_path, monkeypatch):
    """A process that saw a file grow relies on that; one that did not compares it first."""
    recording = record(tmp_path)
    recording.write(90 * FRAME_BYTES)
    recording.follow()
    recording.restart()
    data = bytearray(recording.file().read_bytes())
    data[10 * FRAME_BYTES - 1] ^= 1
    recording.file().write_bytes(data)
    recording.write(30 * FRAME_BYTES)
    with pytest.raises(SourceChangedError, match="frame 9 of the store was committed with other"):
        recording.follow()
    data[10 * FRAME_BYTES - 1] ^= 1
    recording.file().write_bytes(data)
    recording.write(30 * FRAME_BYTES)
    assert recording.follow().n_frames == 119
    rereads = []
    monkeypatch.setattr("panoseti_zarr.pipeline.appender.compare_chunk", rereads.append)
    recording.write(30 * FRAME_BYTES)
    assert recording.follow().n_frames == 149
    assert rereads == []
    assert_like_converted(recording, tmp_path)


def test_a_file_that_shrinks_or_is_replaced(tmp_path):
    """A shorter file is refused, a copy in its place compared; what is committed stays."""
    recording = record(tmp_path)
    recording.write(90 * FRAME_BYTES)
    recording.follow()
    held = read_arrays(recording.store)
    os.truncate(recording.file(), 80 * FRAME_BYTES)
    with pytest.raises(SourceChangedError, match="shrank"):
        recording.follow()
    assert_equal_arrays(read_arrays(recording.store), held)
    recording.file().unlink()
    recording.write(120 * FRAME_BYTES)
    assert recording.follow().n_frames == 119
    recording.file().rename(recording.run / "aside")
    other = bytearray((recording.run / "aside").read_bytes())
    other[-100 * FRAME_BYTES - 1] ^= 1
    recording.file().write_bytes(other)
    with pytest.raises(SourceChangedError, match="was committed with other images"):
        recording.follow()
    (recording.run / "aside").rename(recording.file())
    assert_like_converted(recording, tmp_path)


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_file_that_is_written_again(tmp_path, is_finished):
    """One that was seen shorter, or gone, is compared: it did not just grow, whatever its inode."""
    recording = record(tmp_path)
    recording.write(64 * FRAME_BYTES + 1_000)
    assert recording.follow(with_tail=False).n_frames == 64
    recording.file().write_bytes(b"")
    recording.look()
    recording.write(100 * FRAME_BYTES)
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    recording.look()
    with pytest.raises(SourceChangedError, match="frame 10 of the store"):
        recording.close() if is_finished else recording.follow()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    assert_like_converted(recording, tmp_path)


def test_several_files_are_read_again_after_a_restart(tmp_path):
    """Also where the first rounds see a part of them only, and have nothing to do."""
    recording = record(tmp_path, files_of=100)
    recording.write(1 << 30)
    recording.write(50 * FRAME_BYTES, 1)
    recording.look()
    recording.look(SETTLE_S)
    assert recording.follow().n_frames == 149
    recording.restart()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    recording.follow()
    recording.write(50 * FRAME_BYTES, 1)
    recording.look(SETTLE_S)
    with pytest.raises(SourceChangedError, match="frame 10 of the store"):
        recording.follow()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    assert_like_converted(recording, tmp_path)


def test_a_file_is_compared_once_though_nothing_comes_of_it(tmp_path, monkeypatch):
    """After a restart, while what grows has no good header: the comparison need not be repeated."""
    recording = record(tmp_path)
    recording.write(90 * FRAME_BYTES + 1_000)
    recording.follow()
    recording.restart()
    rereads = []
    compare = append_module.compare_chunk
    monkeypatch.setattr(
        append_module, "compare_chunk", lambda job: rereads.append(job.plan.index) or compare(job)
    )
    for _ in range(3):
        with recording.file().open("ab") as file:
            file.write(bytes(FRAME_BYTES))
        assert recording.follow().n_frames == 90
    assert rereads == [0, 1]


def test_committed_files_that_are_gone_at_the_close(tmp_path):
    """The stream does not close without them: the store stays as it was, and goes on with them."""
    recording = record(tmp_path, files_of=100)
    recording.finish()
    for _ in range(3):
        recording.look(SETTLE_S)
    assert recording.follow().n_frames == N_FRAMES - 1
    recording.file(1).rename(tmp_path / "aside")
    with pytest.raises(SourceChangedError, match=r"seqno_1.*, whose frames are committed, is gone"):
        recording.close()
    assert not read_state(recording.store).closed
    (tmp_path / "aside").rename(recording.file(1))
    assert_like_converted(recording, tmp_path)


def test_a_file_that_grows_while_it_is_read_is_no_other(tmp_path, monkeypatch):
    """A round that began before the file grew commits what it planned."""
    recording = record(tmp_path)
    recording.write(90 * FRAME_BYTES)
    check = live.check_grown

    def grow_and_check(*arguments):
        recording.write(5_000)
        check(*arguments)

    monkeypatch.setattr("panoseti_zarr.pipeline.follow.check_grown", grow_and_check)
    assert recording.follow().n_frames == 89
    assert recording.follow().n_frames > 89
    assert_like_converted(recording, tmp_path)


def test_a_file_of_another_format(tmp_path):
    """One without a readable header waits while it grows, and is refused when it is final."""
    recording = record(tmp_path, files_of=100)
    recording.file().write_bytes(b"x" * 300_000)
    assert recording.follow().n_frames == 0
    recording.write(50 * FRAME_BYTES, 1)
    recording.look()
    recording.look(SETTLE_S)
    with pytest.raises(CorruptDataError, match="no readable img16 header"):
        recording.follow()


def rewrite(file, byte_offset):
    """Change a byte of a file in place: the same inode, the same size."""
    with file.open("r+b") as opened:
        opened.seek(byte_offset)
        (value,) = opened.read(1)
        opened.seek(byte_offset)
        opened.write(bytes([value ^ 1]))


def test_a_file_that_is_rewritten_at_the_end(tmp_path):
    """A finished file that has the size it had, and another time, did not just grow."""
    recording = record(tmp_path)
    recording.finish()
    recording.follow()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    with pytest.raises(SourceChangedError, match="frame 10 of the store"):
        recording.close()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    assert recording.close().n_frames == N_FRAMES


def test_a_closed_file_that_is_rewritten_and_grows(tmp_path):
    """What was seen to grow is trusted while it grows: a closed stream's file is read again."""
    recording = record(tmp_path)
    recording.finish()
    recording.follow()
    recording.close()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    with recording.file().open("ab") as file:
        file.write(recording.files[0].read_bytes()[:FRAME_BYTES])
    with pytest.raises(SourceChangedError, match="frame 10 of the store"):
        recording.close()
    rewrite(recording.file(), 11 * FRAME_BYTES - 1)
    assert recording.close().n_frames == N_FRAMES + 1


def test_reserved_space_that_is_given_back(tmp_path):
    """A file that is cut to what was written, at the end, did not shrink."""
    recording = record(tmp_path)
    data = recording.files[0].read_bytes()
    recording.file().touch()
    os.truncate(recording.file(), 2 * len(data))
    for n_frames in (90, 200):
        with recording.file().open("r+b") as file:
            file.write(data[: n_frames * FRAME_BYTES + 700])
        assert recording.follow().n_frames == n_frames
    with recording.file().open("r+b") as file:
        file.write(data)
    os.truncate(recording.file(), len(data))
    assert_like_converted(recording, tmp_path)


def test_commits_are_told(tmp_path):
    """Each commit says how many frames are new, and the time of the last one."""
    recording = record(tmp_path)
    for _ in range(3):
        recording.write(100_000)
        recording.follow()
    times = zarr.open_group(recording.store, mode="r")["timestamps"][:]
    counts = [0, *(commit.n_frames for commit in recording.commits)]
    assert [c.n_new_frames for c in recording.commits] == [b - a for a, b in pairwise(counts)]
    assert recording.commits[-1].last_time_ns == times[-1] == np.max(times)
