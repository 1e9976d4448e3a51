"""What quick-look pictures show, against naive NumPy: times, quality, images, pulses."""

import numpy as np
import pytest

from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS, Quality
from panoseti_zarr.quicklook.compute.images import LightCurve, PixelSums, band_of
from panoseti_zarr.quicklook.compute.pulses import SPECTRUM_EDGES, PulseSums, as_module
from panoseti_zarr.quicklook.compute.sampling import (
    choose_pieces,
    choose_ranges,
    split_range,
    spread,
)
from panoseti_zarr.quicklook.compute.timeline import TimelineBuilder, TimeSpan, find_span

START_NS = 1_721_882_077_000_000_000
MS = 1_000_000


def times_of(n: int, step_ns: int = MS) -> np.ndarray:
    """Return the times of frames that come at a rate."""
    return START_NS + step_ns * np.arange(n, dtype=np.int64)


def build(times, quality=None, by_quabo=None, *, regular=True, step=700):
    """Return the timeline of a stream that is taken in parts."""
    quality = np.zeros(len(times), np.uint16) if quality is None else quality
    by_quabo = np.ones((len(times), 4), bool) if by_quabo is None else by_quabo
    span = find_span(times, times, len(times), regular=regular)
    builder = TimelineBuilder(span, len(times), regular=regular)
    for start in range(0, len(times), step):
        part = slice(start, start + step)
        builder.add(start, times[part], quality[part], by_quabo[part])
    return builder.timeline()


def test_few_places_are_spread_from_the_first_to_the_last():
    """All where there are few enough; otherwise as many as may be, both ends among them."""
    assert spread(5, 10) == [0, 1, 2, 3, 4]
    chosen = spread(100_000, 200)
    assert (len(chosen), chosen[0], chosen[-1]) == (200, 0, 99_999)
    assert len(set(np.diff(chosen))) == 2


def test_pieces_lie_in_the_chunks_that_are_looked_at():
    """Whole inner chunks, none across the end of the stream, fewer of them where they are large."""
    ranges = choose_ranges(100_000, 32_768)
    assert ranges == [(0, 32_768), (32_768, 65_536), (65_536, 98_304), (98_304, 100_000)]
    pieces = choose_pieces(ranges, 1024, 2048)
    assert pieces[-1] == (99_328, 100_000)
    assert sum(stop - start for start, stop in pieces) == 100_000
    assert len(choose_pieces(ranges, 1024, 2048, most=7)) == 7
    few = choose_pieces(choose_ranges(4_000_000, 32_768), 32_768, 4096)
    assert len(few) == 3


def test_a_very_long_stream_is_read_in_part():
    """Of 10**9 frames this many chunks are looked at as the limit says, from first to last."""
    ranges = choose_ranges(10**9, 32_768)
    assert len(ranges) == 2048
    assert (ranges[0][0], ranges[-1][1]) == (0, 10**9)


def test_parts_are_never_empty():
    """More parts than frames are as many as frames."""
    assert split_range(3, 5, 10) == [(3, 4), (4, 5)]


def test_the_span_leaves_out_absurd_times():
    """A few times of another year among the first or last frames do not stretch the axis."""
    times = times_of(1000)
    times[[0, 3, 998]] = 0, 2 * START_NS, TIME_MISSING_NS
    span = find_span(times, times, 1000, regular=True)
    assert (span.first_ns, span.last_ns, span.step_ns) == (times[1], times[999], MS)
    timeline = build(times)
    assert timeline.n_elsewhere == 2
    assert timeline.n_frames.sum() == 1000


def test_there_may_be_no_time_at_all():
    """Then there is no span, and the totals are still counted."""
    quality = np.full(10, Quality.NO_TIME | Quality.HEADER_UNREADABLE, np.uint16)
    timeline = build(np.full(10, TIME_MISSING_NS), quality)
    assert (timeline.span, timeline.n_bins) == (None, 0)
    assert timeline.n_totals.tolist() == [0, 0, 0, 0, 0, 0, 10, 10]


def test_one_frame_has_a_span_of_no_length():
    """It is in the only bin."""
    timeline = build(times_of(1))
    assert (timeline.span.seconds, timeline.n_frames.tolist(), timeline.n_gaps) == (0.0, [1], 0)


def test_bins_count_frames_and_flags_as_a_loop_would():
    """Frames, bits and quabos in equal parts of the time; without a time as the frame before."""
    random = np.random.default_rng(1)
    times = np.sort(START_NS + random.integers(0, 10**12, 5000))
    quality = random.integers(0, 128, 5000).astype(np.uint16)
    by_quabo = random.random((5000, 4)) < 0.5
    times[[0, 700, 701]] = TIME_MISSING_NS
    quality[[0, 700, 701]] |= np.uint16(Quality.NO_TIME)
    timeline = build(times, quality, by_quabo)
    span, n_bins = timeline.span, timeline.n_bins
    assert n_bins == 240
    n_frames = np.zeros(n_bins, int)
    n_flagged, n_by_quabo = np.zeros((8, n_bins), int), np.zeros((4, n_bins), int)
    last = span.first_ns
    for time, bits, quabos in zip(times.tolist(), quality.tolist(), by_quabo, strict=True):
        last = last if time == TIME_MISSING_NS else time
        place = min((last - span.first_ns) * n_bins // (span.last_ns - span.first_ns), n_bins - 1)
        n_frames[place] += 1
        n_flagged[:, place] += [bits >> bit & 1 for bit in range(8)]
        n_by_quabo[:, place] += quabos
    np.testing.assert_array_equal(timeline.n_frames, n_frames)
    np.testing.assert_array_equal(timeline.n_flagged, n_flagged)
    np.testing.assert_array_equal(timeline.n_by_quabo, n_by_quabo)
    np.testing.assert_array_equal(timeline.n_totals, n_flagged.sum(axis=1))


@pytest.mark.parametrize("at", [500, 700])
def test_gaps_in_time_are_found(at):
    """Within the frames taken in together or between two such parts; also its bins are known."""
    times = times_of(2000)
    times[at:] += 500 * MS
    timeline = build(times)
    assert (timeline.n_gaps, timeline.longest_gap_ns) == (1, 501 * MS)
    bins = timeline.bins_of(times[[at - 1, at]])
    np.testing.assert_array_equal(np.flatnonzero(timeline.is_gap), np.arange(bins[0], bins[1] + 1))
    assert (timeline.n_frames[bins[0] + 1 : bins[1]] == 0).all()


def test_pulses_at_random_are_no_gaps():
    """A Poisson process has long and short steps; a pause of a minute is another thing."""
    random = np.random.default_rng(2)
    times = START_NS + np.cumsum(random.exponential(1e7, 100_000)).astype(np.int64)
    assert build(times, regular=False).n_gaps == 0
    times[50_000:] += 60 * 10**9
    assert build(times, regular=False).n_gaps == 1


def test_frames_that_were_not_read_are_no_gap():
    """Between chunks that were left out nothing is looked for."""
    times = times_of(3000)
    builder = TimelineBuilder(TimeSpan(int(times[0]), int(times[-1]), MS), 3000, regular=True)
    for start in (0, 2000):
        part = times[start : start + 1000]
        builder.add(start, part, np.zeros(1000, np.uint16), np.ones((1000, 4), bool))
    timeline = builder.timeline()
    assert (timeline.n_gaps, timeline.n_read) == (0, 2000)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_mean_and_sigma_are_those_of_all_values(dtype):
    """Added up in parts, masked values left out, they equal NumPy's of what is left."""
    random = np.random.default_rng(3)
    images = random.normal(100, 20, (300, 40)).clip(0).astype(dtype)
    keep = random.random((300, 40)) < 0.7
    keep[:, 5] = False
    keep[:100, 6] = False
    sums = PixelSums(40)
    for start, stop in split_range(0, 300, 7):
        mean = sums.add(images[start:stop], keep[start:stop])
    left = np.ma.masked_array(images.astype(float), ~keep)
    np.testing.assert_allclose(mean, left[start:stop].mean(axis=0).filled(np.nan))
    np.testing.assert_allclose(sums.mean(), left.mean(axis=0).filled(np.nan))
    np.testing.assert_allclose(sums.sigma(), left.std(axis=0).filled(np.nan))


def test_constant_images_have_no_spread():
    """Exactly 0, also beside the largest values; of no images at all nothing is known."""
    sums = PixelSums(3)
    assert np.isnan(sums.mean()).all()
    assert np.isnan(sums.sigma()).all()
    for _ in range(4):
        sums.add(np.full((1000, 3), 65_535, np.uint16), None)
    np.testing.assert_array_equal(sums.mean(), [65_535] * 3)
    np.testing.assert_array_equal(sums.sigma(), [0] * 3)


def test_the_band_is_that_of_the_pixels():
    """The 1, 50 and 99 % points of those that were measured; nothing of none."""
    values = np.arange(1, 102, dtype=float)
    np.testing.assert_allclose(band_of(np.append(values, np.nan)), [2, 51, 100])
    assert np.isnan(band_of(np.full(4, np.nan))).all()


def test_the_light_curve_is_broken_where_frames_are_missing():
    """Parts that are far apart because few were looked at are joined; those of a gap are not."""
    positions = np.array([0, 1000, 2000, 3000])
    times = START_NS + positions * MS
    times[2:] += 900 * MS
    curve = LightCurve(positions, times, np.ones((4, 3)), 100)
    broken, values = curve.with_breaks(MS)
    np.testing.assert_array_equal(broken, np.insert(times, 2, times[1] + 1))
    np.testing.assert_array_equal(np.isnan(values[:, 0]), [False, False, True, False, False])
    times[2:] -= 900 * MS
    assert len(LightCurve(positions, times, np.ones((4, 3)), 100).with_breaks(MS)[0]) == 4
    empty = LightCurve(positions[:0], times[:0], np.ones((0, 3)), 0)
    assert len(empty.with_breaks(0.0)[0]) == 0


@pytest.mark.parametrize("product", ["ph256", "ph1024"])
def test_hits_and_spectrum_count_every_pulse_once(product):
    """By pixel as it lies in the module, and by quabo and height."""
    random = np.random.default_rng(4)
    layout = PRODUCTS[product]
    n_pixels = layout.height * layout.width
    pulses = (0.5 + random.exponential(200, (50, n_pixels))).astype(np.float32)
    pulses[random.random(pulses.shape) < 0.9] = np.nan
    boards = random.integers(0, 4, 50) if product == "ph256" else np.zeros(50, int)
    sums = PulseSums(layout, swap=False)
    sums.add(pulses[:20], boards[:20])
    sums.add(pulses[20:], boards[20:])
    corners = [(0, 0), (0, 16), (16, 16), (16, 0)]
    hits, spectrum = np.zeros((32, 32), int), np.zeros((4, len(SPECTRUM_EDGES) - 1), int)
    for frame, pixel in zip(*np.nonzero(np.isfinite(pulses)), strict=True):
        row, column = divmod(int(pixel), layout.width)
        if product == "ph256":
            row, column = row + corners[boards[frame]][0], column + corners[boards[frame]][1]
        quabo = corners.index((row // 16 * 16, column // 16 * 16))
        hits[row, column] += 1
        spectrum[quabo, np.flatnonzero(pulses[frame, pixel] >= SPECTRUM_EDGES)[-1]] += 1
    np.testing.assert_array_equal(sums.hits(), hits)
    np.testing.assert_array_equal(sums.spectrum(), spectrum)


def test_boards_lie_clockwise_from_the_upper_left():
    """Row 0 is the upper row; quabo 1 is beside quabo 0, quabo 2 below it."""
    values = np.repeat(np.arange(4), 256).reshape(4, 256)
    module = as_module(values, PRODUCTS["ph256"])
    assert module[[0, 0, 31, 31], [0, 31, 31, 0]].tolist() == [0, 1, 2, 3]
