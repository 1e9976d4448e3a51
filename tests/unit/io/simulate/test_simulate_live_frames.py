"""Frames of recordings in real time, without a disk."""

import numpy as np
import pytest

from panoseti_zarr.errors import ConfigError
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, frames
from panoseti_zarr.io.simulate.defects import (
    BrokenHeader,
    CutTail,
    MissingQuabo,
    MissingSeqno,
    StubFile,
)
from panoseti_zarr.io.simulate.frames import BLOCK_FRAMES, arrival_ns, live_blocks
from panoseti_zarr.io.simulate.live import check_live
from panoseti_zarr.model import PRODUCTS, QUABO_QUARTERS

FIRST_NS = 1_790_000_000_123_456_789


def live_frames(product, n_frames, *defects, first_ns=FIRST_NS, seed=0, **stream):
    """Simulate one live stream of module 5; return its fields, pixels and times whole."""
    plan = RunPlan((StreamPlan(product, 5, n_frames, **stream),), seed=seed, defects=defects)
    blocks = list(live_blocks(plan, plan.streams[0], first_ns))
    assert [block.first_frame for block in blocks] == list(range(0, n_frames, BLOCK_FRAMES))
    fields = {f: np.concatenate([b.fields[f] for b in blocks]) for f in blocks[0].fields}
    pixels = np.concatenate([b.pixels for b in blocks])
    return fields, pixels, np.concatenate([b.time_ns for b in blocks])


@pytest.mark.parametrize("rate_hz", [3000.0, 0.7])
def test_live_images_have_the_time_of_their_number(rate_hz):
    """Image k is taken k / rate after the first, exactly, however many blocks came before."""
    n = 3 * BLOCK_FRAMES
    _, _, time_ns = live_frames("img16", n, rate_hz=rate_hz)
    exact = [FIRST_NS + round(k * 1e9 / rate_hz) for k in range(n)]
    np.testing.assert_array_equal(time_ns, exact)


def test_live_pulses_come_at_random_after_the_first_time():
    """Their mean rate is the one asked for, and none is before the stream begins."""
    _, _, time_ns = live_frames("ph256", 5000, rate_hz=500.0)
    gaps = np.diff(time_ns, prepend=FIRST_NS)
    assert (gaps > 0).all()
    assert gaps.mean() == pytest.approx(2e6, rel=0.1)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


@pytest.mark.parametrize("product", PRODUCTS)
def test_all_clocks_of_a_live_frame_have_passed_when_it_has_arrived(product):
    """WR times are of the frame's time; the DAQ's stamps are later, and before the arrival."""
    fields, _, time_ns = live_frames(product, 2 * BLOCK_FRAMES)
    d = (fields["tv_sec"] - fields["pkt_tai"] + 37) % 1024
    assert set(np.unique(d)) <= {0, 1}
    stamps = (fields["tv_sec"] - d) * 10**9 + fields["pkt_nsec"] - time_ns[:, np.newaxis]
    assert set(np.unique(stamps)) <= {0, 4, 8}
    daq_ns = (fields["tv_sec"] * 10**6 + fields["tv_usec"]) * 1000 - time_ns[:, np.newaxis]
    assert daq_ns.min() > 0
    assert daq_ns.max() <= arrival_ns(StreamPlan(product, 5))


@pytest.mark.parametrize("product", PRODUCTS)
def test_live_pixels_are_the_same_whenever_they_are_recorded(product):
    """Pixels and packet numbers depend on the seed alone; a longer stream begins the same."""
    fields, pixels, _ = live_frames(product, BLOCK_FRAMES + 20)
    later_fields, later, _ = live_frames(product, 20, first_ns=FIRST_NS + 10**12)
    np.testing.assert_array_equal(later, pixels[:20])
    np.testing.assert_array_equal(later_fields["pkt_num"], fields["pkt_num"][:20])
    _, others, _ = live_frames(product, 20, seed=1)
    assert (others != later).mean() > 0.4


@pytest.mark.parametrize("product", ["img16", "img8"])
def test_no_live_image_comes_twice(product):
    """They are made of few images, and yet all differ, in most pixels from one to the next."""
    n = 20 * BLOCK_FRAMES
    _, pixels, _ = live_frames(product, n)
    assert len({image.tobytes() for image in pixels}) == n
    assert (pixels[1:] != pixels[:-1]).mean(axis=(1, 2)).min() > 0.5


def test_bright_pixels_of_live_images_do_not_run_over(monkeypatch):
    """A pixel that is saturated stays so, whatever noise is added."""
    monkeypatch.setitem(frames._SKY_LEVEL, "img8", 250.0)
    _, pixels, _ = live_frames("img8", 2 * BLOCK_FRAMES)
    saturated = np.median(pixels, axis=0) >= 252
    assert saturated.any()
    assert pixels.max() == 255
    assert pixels[:, saturated].min() > 100


def test_defects_of_frames_are_in_live_frames():
    """A board that is missing leaves zeros, in the frames that are named and no others."""
    n, part = BLOCK_FRAMES + 20, slice(BLOCK_FRAMES - 2, BLOCK_FRAMES + 3)
    defect = MissingQuabo(quabo=2, start=part.start, stop=part.stop)
    fields, pixels, _ = live_frames("img16", n, defect)
    _, whole, _ = live_frames("img16", n)
    assert np.flatnonzero(fields["tv_sec"][:, 2] == 0).tolist() == list(range(n)[part])
    whole[part, *QUABO_QUARTERS[2]] = 0
    np.testing.assert_array_equal(pixels, whole)


@pytest.mark.parametrize("defect", [MissingSeqno(seqno=0), StubFile()], ids=repr)
def test_defects_of_copied_files_are_refused_live(defect):
    """A file that was not copied, or in part, is not what a recording makes; others are."""
    streams = (StreamPlan("img16", 1, 50),)
    check_live(RunPlan(streams, defects=(CutTail(), BrokenHeader(frame=3))))
    with pytest.raises(ConfigError, match="missing-seqno and stub-file") as caught:
        check_live(RunPlan(streams, defects=(CutTail(), defect)))
    assert caught.value.exit_code == 2
