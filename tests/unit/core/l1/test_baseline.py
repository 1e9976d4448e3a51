"""The numerics of the baseline: masks, windows, exact statistics, thresholds, rounding."""

from fractions import Fraction

import numpy as np
import pytest

from panoseti_zarr.core.l1.histogram import NO_TALLY, TallySum, merge_tallies
from panoseti_zarr.core.l1.histogram_builder import TallyBuilder
from panoseti_zarr.core.l1.masks import (
    NO_BOARD,
    block_of_pixels,
    boards_of_frames,
    present_quabos,
    quabo_of_pixels,
    swap_quarters,
)
from panoseti_zarr.core.l1.medians import medians, medians_and_sigmas, population_sigma
from panoseti_zarr.core.l1.statistics import (
    block_statistics,
    count_pixels,
    pulse_statistics,
    settle,
    single_window_baseline,
)
from panoseti_zarr.core.l1.subtract import (
    doubled_residuals,
    keep_pulses,
    mask_pixels,
    pulse_thresholds,
    subtract_images,
)
from panoseti_zarr.core.l1.windows import first_window, position_windows
from panoseti_zarr.model import PRODUCTS, Quality

IMG16, IMG8, PH1024, PH256 = (PRODUCTS[name] for name in ("img16", "img8", "ph1024", "ph256"))


def tally_of(values, groups=None):
    builder = TallyBuilder(np.arange(values.shape[1]) if groups is None else groups)
    builder.add(values)
    return builder.tally()


def flags(*qualities):
    return np.array([int(quality) for quality in qualities], np.uint16)


def test_image_without_a_time_is_not_masked():
    """No time masks pulse height only; an unreadable header masks all."""
    quality = flags(Quality.NO_TIME, Quality.HEADER_UNREADABLE, Quality.WR_NOT_LOCKED)
    assert present_quabos(quality, IMG16)[:, 0].tolist() == [True, False, True]
    assert present_quabos(quality, PH1024)[:, 0].tolist() == [False, False, True]


def test_quabo_that_sent_nothing_masks_its_own_quarter():
    """Bits 0 to 3 mask one quabo each."""
    quality = flags(Quality.QUABO_2_MISSING, Quality.QUABO_0_MISSING | Quality.QUABO_3_MISSING)
    assert present_quabos(quality, IMG8).tolist() == [[1, 1, 0, 1], [0, 1, 1, 0]]


def test_frame_counts_for_the_board_that_it_names():
    """A ph256 frame counts for its quabo, for none where it names no quabo or is masked."""
    quality = flags(0, 0, 0, Quality.NO_TIME, Quality.HEADER_UNREADABLE)
    boards = boards_of_frames(quality, np.array([3, 7, 0, 1, 1], np.uint8), PH256)
    assert boards.tolist() == [3, NO_BOARD, 0, NO_BOARD, NO_BOARD]


def test_module_frame_counts_unless_every_quabo_is_missing():
    """Of ph1024 only a frame without any pixel counts in no window."""
    boards = boards_of_frames(flags(0, 0b0111, 0b1111, Quality.NO_TIME), None, PH1024)
    assert boards.tolist() == [0, 0, NO_BOARD, NO_BOARD]


def test_quabos_fill_quarters_clockwise_from_the_upper_left():
    """The corners of a frame come from quabos 0, 1, 3, 2; exchanged, from 0, 3, 1, 2."""
    corners = np.ix_([0, 31], [0, 31])
    plain = quabo_of_pixels(PH1024, swap=False).reshape(32, 32)
    swapped = quabo_of_pixels(PH1024, swap=True).reshape(32, 32)
    assert plain[corners].tolist() == [[0, 1], [3, 2]]
    assert swapped[corners].tolist() == [[0, 3], [1, 2]]


def test_swap_exchanges_upper_right_and_lower_left_unturned():
    """Quarters move as they are, and the frames that were given stay as they were."""
    frames = np.arange(1024).reshape(1, 32, 32)
    swapped = swap_quarters(frames)
    assert swapped[0, 0, 16] == frames[0, 16, 0]
    assert swapped[0, 17, 3] == frames[0, 1, 19]
    assert (swap_quarters(swapped) == frames).all()
    assert frames[0, 0, 16] == 16


def test_blocks_are_numbered_row_by_row():
    """Sixteen blocks of 8 x 8 pixels."""
    blocks = block_of_pixels(IMG16, 8).reshape(32, 32)
    assert blocks[::8, ::8].ravel().tolist() == list(range(16))
    assert np.bincount(blocks.ravel()).tolist() == [64] * 16


def test_frames_left_over_belong_to_the_last_whole_window():
    """250 frames and windows of 100 make [0, 100) and [100, 250)."""
    windows = position_windows(250, 100)
    assert windows.starts.ravel().tolist() == [0, 100]
    assert windows.stops.ravel().tolist() == [100, 250]
    assert windows.rows_of(0, np.array([99, 100, 249])).tolist() == [0, 1, 1]


def test_stream_shorter_than_a_window_is_one_window():
    """Seven frames and windows of 100 make [0, 7), in both modes."""
    for windows in (position_windows(7, 100), first_window(7, 100)):
        assert (windows.starts.tolist(), windows.stops.tolist()) == ([[0]], [[7]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_tally_counts_the_ends_of_the_range(dtype):
    """The least and the greatest value of a dtype count like any other."""
    info = np.iinfo(dtype)
    values = np.array([[info.min], [info.max], [info.max]], dtype)
    median, sigma = medians_and_sigmas(tally_of(values), 1)
    assert median[0] == info.max
    assert sigma[0] == pytest.approx(values.astype(float).std())


def test_median_of_an_even_count_is_the_mean_of_the_middle_two():
    """Also where they lie far apart, and between negative values."""
    assert medians(tally_of(np.array([[-5], [-4], [60], [0]], np.int16)), 1)[0] == -2.0
    assert medians(tally_of(np.array([[-5], [-4]], np.int16)), 1)[0] == -4.5


def test_group_without_values_has_no_median():
    """It is NaN, without a warning."""
    median, sigma = medians_and_sigmas(NO_TALLY, 2)
    assert np.isnan([median, sigma]).all()


def test_saturated_pixel_does_not_spoil_its_block():
    """A block with a saturated pixel has the median of all its values."""
    values = np.full((50, 64), 200, np.uint16)
    values[:, 5] = 65535
    values[:20, 6:] = 198
    groups = np.zeros(64, np.int64)
    assert medians(tally_of(values, groups), 1)[0] == np.median(values)


def test_sum_of_many_tallies_is_the_tally_of_all():
    """However often it merges in between."""
    rng = np.random.default_rng(0)
    parts = rng.integers(-500, 500, (40, 30, 3)).astype(np.int16)
    total = TallySum()
    for part in parts:
        total.add(tally_of(part))
    whole = tally_of(parts.reshape(-1, 3))
    assert (total.total().keys == whole.keys).all()
    assert (total.total().counts == whole.counts).all()
    assert merge_tallies([]) is NO_TALLY


def test_sigma_is_exact_where_64_bits_do_not_hold_the_sums():
    """4,000,000 values, half 0 and half 65,535: the sums of squares times n pass 2**63."""
    n = 4_000_000
    sigma = population_sigma(
        np.array([n]), np.array([n // 2 * 65535]), np.array([n // 2 * 65535**2])
    )
    assert sigma[0] == 65535 / 2


def test_settle_keeps_what_is_not_whole():
    """Statistics come out for whole rows, the counts of the others stay for later."""
    first = tally_of(np.array([[1, 5], [3, 6]], np.int16))
    second = first.regrouped(first.groups + 2)
    settled = settle(merge_tallies([first, second]), 2, np.array([True, False]))
    assert settled.rows.tolist() == [0]
    assert settled.medians.tolist() == [[2.0, 5.5]]
    assert settled.sigmas.tolist() == [[1.0, 0.5]]
    assert (settled.partial.keys == second.keys).all()


def test_window_cut_by_a_chunk_edge_is_counted_in_parts():
    """The parts of a window of images add up to the median of the whole."""
    rng = np.random.default_rng(1)
    images = rng.poisson(30, (10, 1024)).astype(np.uint16)
    blocks, quabos = block_of_pixels(IMG16, 8), quabo_of_pixels(IMG16, swap=False)
    windows = position_windows(10, 5)
    present = np.ones((10, 4), bool)
    parts = [
        block_statistics(images[a:b], present[a:b], quabos, blocks, windows, a, 2)
        for a, b in ((0, 3), (3, 10))
    ]
    assert [part.rows.tolist() for part in parts] == [[], [1]]
    merged = merge_tallies(part.partial for part in parts)
    found = settle(merged, 16, np.array([True, True])).medians[0]
    expected = [np.median(images[:5][:, blocks == block]) for block in range(16)]
    assert found.tolist() == expected


def test_quabo_with_three_pulses_has_a_pedestal_of_three():
    """Windows count a board's own frames, so a rare board still has a baseline."""
    images = np.arange(8, dtype=np.int16)[:, np.newaxis] * np.ones(4, np.int16)
    boards = np.array([0, 0, 2, 0, 2, 0, 2, 0])
    windows = first_window(8, 100)
    starts, stops = np.array([[0, 8, 2, 8]]), np.array([[8, 8, 7, 8]])
    windows = type(windows)(starts, stops, 8)
    found = pulse_statistics(images, boards, None, np.zeros(4, int), windows, 0, 100)
    assert found.rows.tolist() == [0, 2]
    assert found.medians[:, 0].tolist() == [3.0, 4.0]
    assert found.sigmas[1, 0] == pytest.approx(np.std([2, 4, 6]))


def test_pixels_masked_in_some_frames_have_medians_of_the_others():
    """A missing quabo takes its quarter alone out of the statistics."""
    images = np.array([[10, 0], [20, 8], [60, 4]], np.int16).repeat(512, axis=1)
    quabos = np.repeat([0, 1], 512)
    present = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]], bool)
    found = pulse_statistics(
        images, np.zeros(3, int), present, quabos, position_windows(3, 3), 0, 100
    )
    assert found.medians[0, [0, 512]].tolist() == [20.0, 6.0]
    counted = count_pixels(images, present, quabos, 2)
    assert medians(counted, 1024)[[0, 512]].tolist() == [20.0, 6.0]


def test_pixel_value_at_the_threshold_is_no_pulse():
    """Residuals are kept above n sigma, not at it; pedestals with halves included."""
    pedestals, sigmas = np.array([[10.0, 10.5, 10.0]]), np.array([[2.0, 2.1, 0.3]])
    # limits 20, 20.5, 11.5
    assert pulse_thresholds(pedestals, sigmas, 5.0).tolist() == [[21, 22, 12]]


def test_dead_pixel_that_moves_is_a_pulse():
    """With sigma 0 any residual above 0 is kept."""
    assert pulse_thresholds(np.array([[-3.0, -3.5]]), np.zeros((1, 2)), 5.0).tolist() == [[-2, -3]]


def test_pixel_without_a_pedestal_has_no_pulse():
    """Its threshold is above every value, and so is one of an immense sigma."""
    thresholds = pulse_thresholds(np.array([[np.nan, 0.0]]), np.array([[np.nan, 32767.5]]), 1e6)
    assert (thresholds > np.iinfo(np.int16).max).all()


@pytest.mark.parametrize("n_sigmas", [0.0, 0.1, 1 / 3, 2.5, 5.0])
def test_thresholds_agree_with_the_comparison_they_stand_for(n_sigmas):
    """``value >= threshold`` is ``value - pedestal > n * sigma`` for every value near it."""
    rng = np.random.default_rng(2)
    pedestals = rng.integers(-2000, 2000, (1, 300)) / 2
    sigmas = np.sqrt(rng.integers(0, 400, (1, 300))) / rng.integers(1, 9, (1, 300))
    thresholds = pulse_thresholds(pedestals, sigmas, n_sigmas)
    for step in range(-3, 4):
        values = thresholds + step
        assert ((values >= thresholds) == (values - pedestals > n_sigmas * sigmas)).all()


def test_only_pulses_of_frames_with_a_row_are_written():
    """Pixels at their threshold or above get their residual, the others stay NaN."""
    images = np.array([[5, 9], [5, 9], [8, 0]], np.int16)
    out = np.full(images.shape, np.nan, np.float32)
    pedestals, thresholds = np.array([[1.5, 1.0], [0.0, 0.0]]), np.array([[6, 9], [8, 8]])
    keep_pulses(images, np.array([0, -1, 1]), pedestals, thresholds, out)
    np.testing.assert_array_equal(out, [[np.nan, 8.0], [np.nan, np.nan], [8.0, np.nan]])


def test_masked_quarters_become_nan():
    """Pixels of missing quabos alone."""
    out = np.zeros((2, 3), np.float32)
    mask_pixels(out, np.array([[1, 1, 1, 1], [1, 0, 1, 1]], bool), np.array([0, 1, 2]))
    np.testing.assert_array_equal(out, [[0, 0, 0], [0, np.nan, 0]])


@pytest.mark.parametrize("adc_to_pe", [1.5, 1.0, 3.0, 0.75])
def test_images_are_the_float32_nearest_to_the_exact_value(adc_to_pe):
    """Over the whole range of values, with baselines in quarters."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 65536, (40, 8)).astype(np.uint16)
    block_medians = rng.integers(0, 131071, (2, 2)) / 2
    supermedian = rng.integers(-262140, 262140, 8) / 4
    blocks, rows = np.repeat([0, 1], 4), np.repeat([0, 1], 20)
    out = np.empty(images.shape, np.float32)
    subtract_images(images, rows, block_medians, supermedian, blocks, adc_to_pe, out)
    for frame, pixel in np.ndindex(images.shape):
        base = Fraction(block_medians[rows[frame], blocks[pixel]]) + Fraction(supermedian[pixel])
        exact = (int(images[frame, pixel]) - base) / Fraction(adc_to_pe)
        found = out[frame, pixel]
        error = abs(Fraction(float(found)) - exact)
        for other in (np.nextafter(found, np.float32(-np.inf)), np.nextafter(found, np.inf)):
            assert error <= abs(Fraction(float(np.float32(other))) - exact)


def test_divisor_that_float32_does_not_hold_is_not_rounded_first():
    """The quotient is that of float64, then rounded."""
    images = np.arange(60000, 60100, dtype=np.uint16)[:, np.newaxis]
    out = np.empty(images.shape, np.float32)
    subtract_images(
        images, np.zeros(100, int), np.zeros((1, 1)), np.zeros(1), np.zeros(1, int), 1.3, out
    )
    assert (out == (images / 1.3).astype(np.float32)).all()
    assert (out != images.astype(np.float32) / np.float32(1.3)).any()


def test_residuals_keep_their_halves():
    """Twice a residual is a whole number; of a block without a median it is any."""
    images = np.array([[3, 4], [65535, 0]], np.uint16)
    medians_of_frames = np.array([[1.5, np.nan], [0.0, 65535.0]])
    doubled = doubled_residuals(images, medians_of_frames, np.array([0, 1]))
    assert doubled[0, 0] == 3
    assert doubled[1].tolist() == [131070, -131070]


def test_single_window_supermedian_is_what_the_block_median_leaves():
    """Of a pixel that is always one above its block it is one."""
    images = np.full((5, 1024), 9, np.uint16)
    images[:, 40] = 10
    pixels = count_pixels(images, np.ones((5, 4), bool), quabo_of_pixels(IMG16, swap=False), 1024)
    block_medians, supermedian = single_window_baseline(pixels, block_of_pixels(IMG16, 8))
    assert (block_medians == 9).all()
    assert np.flatnonzero(supermedian).tolist() == [40]
    assert supermedian[40] == 1
