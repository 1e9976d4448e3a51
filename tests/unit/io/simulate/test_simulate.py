"""Simulated frames and what goes wrong in them, without a disk."""

import json

import numpy as np
import pytest

from panoseti_zarr.io.simulate import RunPlan, StreamPlan
from panoseti_zarr.io.simulate.defects import (
    BrokenHeader,
    MissingQuabo,
    OtherLayout,
    UnlockedClock,
    ZeroFrames,
)
from panoseti_zarr.io.simulate.frames import BLOCK_FRAMES, frame_blocks
from panoseti_zarr.io.simulate.header import FrameBlock, encode_block, header_text
from panoseti_zarr.model import (
    MODULE_FIELDS,
    N_QUABOS,
    PRODUCTS,
    QUABO_QUARTERS,
    HeaderForm,
)

MODULE_TEXT = b"""{
   "quabo_0": { "pkt_num":       1999, "pkt_tai":  400, "pkt_nsec": 480007492, "tv_sec": 1686198635, "tv_usec": 480461}, \n\
   "quabo_1": { "pkt_num": 4294967295, "pkt_tai":    0, "pkt_nsec":         0, "tv_sec":          0, "tv_usec":      0}, \n\
   "quabo_2": { "pkt_num":          0, "pkt_tai": 1023, "pkt_nsec":       488, "tv_sec": 1686198635, "tv_usec":    478}, \n\
   "quabo_3": { "pkt_num":       1551, "pkt_tai":   40, "pkt_nsec": 999999999, "tv_sec": 9999999999, "tv_usec": 999999}
}

"""  # noqa: E501
MODULE_NUMBERS = {
    "pkt_num": [1999, 4294967295, 0, 1551],
    "pkt_tai": [400, 0, 1023, 40],
    "pkt_nsec": [480007492, 0, 488, 999999999],
    "tv_sec": [1686198635, 0, 1686198635, 9999999999],
    "tv_usec": [480461, 0, 478, 999999],
}
QUABO_TEXT = (
    b'{ "quabo_num": 3, "pkt_num":       5124, "pkt_tai":  229, "pkt_nsec": 999999999, '
    b'"tv_sec": 1754112728, "tv_usec": 985339}\n\n'
)
QUABO_NUMBERS = {
    "quabo_num": [3],
    "pkt_num": [5124],
    "pkt_tai": [229],
    "pkt_nsec": [999999999],
    "tv_sec": [1754112728],
    "tv_usec": [985339],
}


def block_of(product, numbers, pixels):
    """Make a block of one frame."""
    fields = {name: np.array([values], np.int64) for name, values in numbers.items()}
    return FrameBlock(PRODUCTS[product], 0, np.zeros(1, np.int64), fields, pixels[np.newaxis])


def frames_of(product, n_frames, *defects, seed=0, **stream):
    """Simulate one stream of module 5; return its fields, pixels and times whole."""
    plan = RunPlan((StreamPlan(product, 5, n_frames, **stream),), seed=seed, defects=defects)
    blocks = list(frame_blocks(plan, plan.streams[0]))
    fields = {f: np.concatenate([b.fields[f] for b in blocks]) for f in blocks[0].fields}
    pixels = np.concatenate([b.pixels for b in blocks])
    return fields, pixels, np.concatenate([b.time_ns for b in blocks])


def seconds_apart(fields):
    """Return d of pff: 0, 1 or 1023 where the WR clock is locked."""
    return (fields["tv_sec"] - fields["pkt_tai"] + 37) % 1024


def printed(product, n_frames, *defects):
    """Return the printed frames of one stream, byte defects in, (n, frame bytes)."""
    plan = RunPlan((StreamPlan(product, 5, n_frames),), defects=defects)
    rows = []
    for block in frame_blocks(plan, plan.streams[0]):
        rows.append(encode_block(block))
        for defect in defects:
            defect.alter_bytes(block, rows[-1])
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("product", "numbers", "text", "header_bytes"),
    [("img16", MODULE_NUMBERS, MODULE_TEXT, 491), ("ph256", QUABO_NUMBERS, QUABO_TEXT, 123)],
)
def test_frame_is_printed_byte_for_byte_as_the_daq_does(product, numbers, text, header_bytes):
    """Header text with blanks before the numbers, a star, little-endian pixels row by row."""
    layout = PRODUCTS[product]
    pixels = np.arange(layout.height * layout.width).reshape(layout.height, layout.width)
    frame = encode_block(block_of(product, numbers, pixels.astype(layout.dtype)))
    assert len(text) == header_bytes
    expected = text + b"*" + b"".join(int(p).to_bytes(2, "little") for p in pixels.flat)
    assert frame.tobytes() == expected


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_header_is_json_of_its_numbers(product):
    """`json.loads` accepts every header, over a block's end, and gives the block's numbers."""
    fields, pixels, _ = frames_of(product, BLOCK_FRAMES + 9)
    rows = printed(product, BLOCK_FRAMES + 9)
    layout = PRODUCTS[product]
    assert rows.shape == (BLOCK_FRAMES + 9, layout.today_frame_bytes)
    for index, row in enumerate(rows):
        header = json.loads(row[: layout.today_header_bytes].tobytes())
        boards = [header] if layout.form is HeaderForm.QUABO else list(header.values())
        assert boards == [
            {field: fields[field][index, board] for field in fields} for board in range(len(boards))
        ]
    stored = rows[:, layout.today_header_bytes + 1 :].tobytes()
    assert stored == pixels.astype(layout.dtype).tobytes()


@pytest.mark.parametrize("product", PRODUCTS)
def test_longer_stream_begins_with_the_frames_of_a_shorter_one(product):
    """The number of frames changes no frame; another seed changes all pixels' noise."""
    short = printed(product, 20)
    np.testing.assert_array_equal(printed(product, BLOCK_FRAMES + 5)[:20], short)
    _, pixels, _ = frames_of(product, 20)
    _, others, _ = frames_of(product, 20, seed=1)
    assert (pixels != others).mean() > 0.5


@pytest.mark.parametrize("product", PRODUCTS)
def test_clocks_agree_and_the_daq_clock_never_runs_backwards(product):
    """Locked: d is 0, and 1 where the DAQ's second is the next; WR time is the frame's time."""
    fields, _, time_ns = frames_of(product, 2 * BLOCK_FRAMES)
    d = seconds_apart(fields)
    assert set(np.unique(d)) == {0, 1}
    assert (d[3] == 1).all()
    wr_ns = (fields["tv_sec"] - d) * 10**9 + fields["pkt_nsec"]
    stamps = wr_ns - time_ns[:, np.newaxis]
    assert set(np.unique(stamps)) <= {0, 4, 8}
    daq_us = fields["tv_sec"] * 10**6 + fields["tv_usec"]
    assert (np.diff(daq_us, axis=0) >= 0).all()
    assert (daq_us > wr_ns // 1000).all()
    assert (np.diff(time_ns) > 0).all()


def test_daq_clock_behind_the_wr_clock_gives_the_earlier_second():
    """With a negative lag some frames have d = 1023."""
    fields, _, _ = frames_of("img16", 1000, daq_lag_us=-400_000)
    assert set(np.unique(seconds_apart(fields))) == {0, 1023}


def test_images_come_evenly_and_pulses_at_random():
    """Images have one interval; pulses have exponential ones of the same mean."""
    _, _, images_ns = frames_of("img16", 2000, rate_hz=500.0)
    assert set(np.diff(images_ns)) == {2_000_000}
    _, _, pulses_ns = frames_of("ph256", 5000, rate_hz=500.0)
    gaps = np.diff(pulses_ns)
    assert gaps.mean() == pytest.approx(2e6, rel=0.1)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


def test_every_board_counts_its_packets():
    """Packet numbers rise by one from a board's packet to its next, over blocks."""
    fields, _, _ = frames_of("img8", BLOCK_FRAMES + 50)
    assert (np.diff(fields["pkt_num"], axis=0) == 1).all()
    fields, _, _ = frames_of("ph256", BLOCK_FRAMES + 50)
    assert set(np.unique(fields["quabo_num"])) == {0, 1, 2, 3}
    for quabo in range(N_QUABOS):
        sent = fields["quabo_num"] == quabo
        assert (np.diff(fields["pkt_num"][sent]) == 1).all()


def test_boards_have_pedestals_of_their_own_and_pulses_above():
    """The medians of the boards differ; every frame has pixels far above the noise."""
    fields, pixels, _ = frames_of("ph256", 2 * BLOCK_FRAMES)
    medians = [np.median(pixels[fields["quabo_num"][:, 0] == q], axis=0) for q in range(N_QUABOS)]
    assert np.ptp([np.median(m) for m in medians]) > 3
    assert all(m.std() > 1 for m in medians)
    assert np.median(pixels.max(axis=(1, 2)) - np.median(pixels)) > 60


def test_images_have_photon_noise_above_a_sky():
    """The variance of a pixel over time goes with its brightness, and no pixel is constant."""
    _, pixels, _ = frames_of("img16", 1000)
    mean, variance = pixels.mean(axis=0), pixels.var(axis=0)
    assert 150 < np.median(mean) < 250
    assert np.ptp(mean) > 100
    assert np.median(variance / mean) == pytest.approx(1.5, rel=0.2)


def test_missing_quabo_leaves_zero_fields_and_a_zero_quarter():
    """Exactly frames start to stop - 1 lack the board; everything else is as without it."""
    n = BLOCK_FRAMES + 20
    part = slice(BLOCK_FRAMES - 2, BLOCK_FRAMES + 3)
    defect = MissingQuabo(quabo=2, start=part.start, stop=part.stop)
    fields, pixels, _ = frames_of("img16", n, defect)
    whole_fields, whole_pixels, _ = frames_of("img16", n)
    for field in MODULE_FIELDS:
        whole_fields[field][part, 2] = 0
        np.testing.assert_array_equal(fields[field], whole_fields[field])
    whole_pixels[part, *QUABO_QUARTERS[2]] = 0
    np.testing.assert_array_equal(pixels, whole_pixels)


@pytest.mark.parametrize("product", PRODUCTS)
def test_zero_frames_have_nothing_but_zeros(product):
    """Frames 0 and 1 are zero in every field and pixel, the next is not."""
    fields, pixels, _ = frames_of(product, 5, ZeroFrames(stop=2))
    assert not any(numbers[:2].any() for numbers in fields.values())
    assert not pixels[:2].any()
    assert fields["tv_sec"][2:].all()
    assert pixels[2:].any(axis=(1, 2)).all()


@pytest.mark.parametrize("product", PRODUCTS)
def test_unlocked_clock_has_any_phase_and_half_its_nanoseconds_clamped(product):
    """The offset d is as asked for or one more, 54 % are clamped; all else is kept."""
    fields, pixels, _ = frames_of(product, 3000, UnlockedClock(d=700))
    locked, locked_pixels, _ = frames_of(product, 3000)
    assert set(np.unique(seconds_apart(fields))) == {700, 701}
    assert (fields["pkt_nsec"] == 999_999_999).mean() == pytest.approx(0.54, abs=0.04)
    assert fields["pkt_nsec"].max() == 999_999_999
    naive_ns = fields["tv_sec"][:, 0] * 10**9 + fields["pkt_nsec"][:, 0]
    assert (np.diff(naive_ns) < 0).any()
    for field in ("pkt_num", "tv_sec", "tv_usec"):
        np.testing.assert_array_equal(fields[field], locked[field])
    np.testing.assert_array_equal(pixels, locked_pixels)


@pytest.mark.parametrize("product", ["img16", "ph256"])
def test_unlocked_clock_of_one_board_leaves_the_others_locked(product):
    """In frames 10 to 39 board 1 alone is not locked; a board that sent nothing stays zero."""
    fields, _, _ = frames_of(product, 60, UnlockedClock(quabo=1, start=10, stop=40))
    boards = fields.get("quabo_num", np.arange(N_QUABOS))
    expected = np.broadcast_to(boards == 1, fields["tv_sec"].shape).copy()
    expected[:10] = expected[40:] = False
    np.testing.assert_array_equal(seconds_apart(fields) > 1, expected)
    fields, _, _ = frames_of(product, 60, ZeroFrames(stop=4), UnlockedClock())
    assert not fields["pkt_nsec"][:4].any()
    assert not fields["pkt_tai"][:4].any()


@pytest.mark.parametrize("frame", [0, 7, BLOCK_FRAMES + 1])
def test_broken_header_is_no_json_in_its_frame_alone(frame):
    """The bytes of one header are overwritten, those of all others and the pixels are not."""
    whole = printed("ph256", BLOCK_FRAMES + 4)
    broken = printed("ph256", BLOCK_FRAMES + 4, BrokenHeader(frame=frame))
    assert np.unique(np.nonzero(whole != broken)[0]).tolist() == [frame]
    assert np.nonzero(whole != broken)[1].max() < 123
    with pytest.raises(ValueError, match=r"codec|Invalid|Expecting|delimiter"):
        json.loads(broken[frame, :123].tobytes())


@pytest.mark.parametrize("product", ["img8", "ph1024", "ph256"])
def test_other_layout_has_the_same_values_and_length(product):
    """Numbers stand elsewhere in frame 2, and `json.loads` reads the same ones."""
    whole = printed(product, 4)
    other = printed(product, 4, OtherLayout(frame=2))
    assert np.unique(np.nonzero(whole != other)[0]).tolist() == [2]
    header = slice(0, PRODUCTS[product].today_header_bytes)
    assert json.loads(other[2, header].tobytes()) == json.loads(whole[2, header].tobytes())
    assert b'"pkt_num":  ' not in other[2].tobytes()


def test_header_text_measures_as_the_model_says():
    """The lengths in the product table are those of the printed headers."""
    for product in PRODUCTS.values():
        assert len(header_text(product.form).template) == product.today_header_bytes
