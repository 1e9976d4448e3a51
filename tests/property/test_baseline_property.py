"""The baseline against whole-array numpy, and medians against numpy's, for all kinds of streams."""

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.l0_arrays import write_l0
from support.naive_baseline import naive_l1
from support.stores import read_arrays

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.core.l1.histogram import NO_TALLY, merge_tallies
from panoseti_zarr.core.l1.histogram_builder import TallyBuilder
from panoseti_zarr.core.l1.medians import (
    few_medians_and_sigmas,
    medians,
    medians_and_sigmas,
    partitioned_medians,
)
from panoseti_zarr.core.l1.statistics import block_statistics, settle
from panoseti_zarr.core.l1.windows import WindowFinder, position_windows
from panoseti_zarr.model import PRODUCTS
from panoseti_zarr.pipeline.l1 import make_l1


@st.composite
def streams(draw):
    """Draw a stream: product, images, quality, quabo_num, and the frames of a chunk."""
    product = draw(st.sampled_from(sorted(PRODUCTS)))
    n_frames = draw(st.integers(0, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = PRODUCTS[product]
    info = np.iinfo(layout.dtype)
    shape = (n_frames, layout.height, layout.width)
    spread = draw(st.sampled_from(["none", "small", "poisson", "all"]))
    if spread == "all":
        images = rng.integers(info.min, info.max + 1, shape)
    else:
        images = {
            "none": np.full(shape, 7),
            "small": rng.integers(0, 3, shape),
            "poisson": rng.poisson(60, shape) - 50 * layout.is_pulse_height,
        }[spread]
        hot = rng.random(shape) < 0.01
        images = np.where(hot, rng.choice([info.min, info.max], shape), images)
    quality = np.zeros(n_frames, np.uint16)
    masked = draw(st.sampled_from([0.0, 0.2, 0.9, 1.0]))
    bits = range(4, 8) if product == "ph256" else range(8)
    for bit in bits:
        likely = masked if bit >= 4 else masked / 2
        quality |= np.where(rng.random(n_frames) < likely / 2, 1 << bit, 0).astype(np.uint16)
    boards = draw(st.sampled_from([[0], [2], [0, 1, 2, 3], [0, 0, 0, 0, 0, 1, 3, 7]]))
    quabo_num = rng.choice(boards, n_frames).astype(np.uint8) if product == "ph256" else None
    return product, images.astype(layout.dtype), quality, quabo_num, draw(st.integers(4, 20))


SETTINGS = st.builds(
    BaselineSubtractConfig,
    baseline_window=st.one_of(st.just(0), st.integers(1, 12), st.just(100)),
    baseline_mode=st.sampled_from(["initial", "running"]),
    compute_chunk_size=st.sampled_from([1, 3, 8, 8192]),
    ph_sigma_threshold=st.sampled_from([0.0, 0.5, 1.0, 5.0, 2.3]),
    img_block_size=st.sampled_from([1, 4, 8, 16, 32]),
    img_frame_step=st.sampled_from([1, 3, 7, 200]),
    img_adc_to_pe=st.sampled_from([1.5, 1.0, 1.3]),
    ph1024_swap_quabos=st.booleans(),
    codec=st.sampled_from(["blosc-lz4", "none"]),
    level=st.just(1),
)


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams(), config=SETTINGS)
def test_store_equals_whole_array_numpy(stream, config):
    """Every pixel and every baseline value equals the definition, whatever chunks and masks."""
    product, images, quality, quabo_num, time_chunk = stream
    expected = naive_l1(product, images, quality, quabo_num, config)
    arrays = {"images": images, "quality": quality, "headers/quabo_num": quabo_num}
    with tempfile.TemporaryDirectory() as name, ThreadExecutor(2) as executor:
        l0 = write_l0(Path(name) / "l0.zarr", product, arrays, time_chunk=time_chunk)
        result = make_l1(l0, Path(name) / "l1.zarr", config, executor)
        found = read_arrays(result.path)
    np.testing.assert_array_equal(found["images"], expected.images)
    baseline = {path.split("/")[1]: a for path, a in found.items() if path.startswith("baseline/")}
    assert baseline.keys() == expected.baseline.keys()
    for key, values in expected.baseline.items():
        np.testing.assert_array_equal(baseline[key], values, err_msg=key)


@st.composite
def values_in_parts(draw):
    """Draw pixel values of several parts of a stream, and which of them count."""
    dtype = draw(st.sampled_from([np.uint8, np.int16, np.uint16, np.int32]))
    low, high = draw(st.sampled_from([(0, 2), (0, 256), (-300, 300), (-(2**15), 2**16)]))
    low, high = max(low, np.iinfo(dtype).min), min(high, np.iinfo(dtype).max + 1)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_pixels = draw(st.integers(1, 9))
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))
    parts = [rng.integers(low, high, (length, n_pixels)).astype(dtype) for length in lengths]
    likely = draw(st.sampled_from([0.0, 0.5, 1.0]))
    return parts, [rng.random(part.shape) < likely for part in parts]


@given(drawn=values_in_parts())
def test_merged_tallies_give_numpys_median_and_sigma(drawn):
    """Medians of tallies of parts equal numpy's of the whole; sigmas to the last digits."""
    parts, keeps = drawn
    n_pixels = parts[0].shape[1]
    tallies = []
    for part, keep in zip(parts, keeps, strict=True):
        builder = TallyBuilder(np.arange(n_pixels))
        builder.add(part, keep=keep)
        tallies.append(builder.tally())
    median, sigma = medians_and_sigmas(merge_tallies(tallies), n_pixels)
    values, kept = np.concatenate(parts), np.concatenate(keeps)
    for pixel in range(n_pixels):
        known = values[kept[:, pixel], pixel].astype(np.int64)
        if len(known):
            assert median[pixel] == np.median(known)
            np.testing.assert_allclose(sigma[pixel], known.std(), rtol=1e-9, atol=1e-9)
            alone = few_medians_and_sigmas(known[np.newaxis, :, np.newaxis])
            assert (alone[0][0, 0], alone[1][0, 0]) == (median[pixel], sigma[pixel])
        else:
            assert np.isnan(median[pixel])
            assert np.isnan(sigma[pixel])


@given(drawn=values_in_parts(), n_groups=st.integers(1, 3))
def test_pixels_of_a_group_count_together(drawn, n_groups):
    """A group's median is that of all its pixels in all frames."""
    parts, _ = drawn
    values = np.concatenate(parts)
    groups = np.arange(values.shape[1]) % n_groups
    builder = TallyBuilder(groups)
    builder.add(values)
    n_used = int(groups.max()) + 1
    found = medians(builder.tally(), n_used)
    for group in range(n_used):
        chosen = values[:, groups == group]
        expected = np.median(chosen) if chosen.size else np.nan
        np.testing.assert_equal(found[group], expected)


@given(
    values=st.lists(st.lists(st.integers(-32768, 65535), min_size=7, max_size=7), min_size=1),
    n_values=st.integers(1, 7),
)
def test_medians_by_partition_are_numpys(values, n_values):
    """Of odd and even counts, with equal values, row by row."""
    rows = np.array(values, np.int32)[:, :n_values].copy()
    expected = np.median(rows, axis=1)
    np.testing.assert_array_equal(partitioned_medians(rows), expected)


@given(
    n_frames=st.integers(1, 40),
    size=st.integers(1, 12),
    block_size=st.sampled_from([1, 2, 4]),
    cuts=st.sets(st.integers(1, 39)),
    max_frames=st.integers(1, 50),
    seed=st.integers(0, 1000),
)
def test_block_medians_of_windows_are_numpys(n_frames, size, block_size, cuts, max_frames, seed):
    """However windows are cut by chunks' edges and quabos are masked, also within a block."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 65536, (n_frames, 16)).astype(np.uint16)
    present = rng.random((n_frames, 4)) < rng.choice([0.0, 0.5, 1.0], (n_frames, 1))
    quabos = rng.permutation(np.arange(16) % 4)
    y, x = np.divmod(np.arange(16), 4)
    blocks = (y // block_size) * (4 // block_size) + x // block_size
    windows = position_windows(n_frames, size)
    n_blocks = int(blocks.max()) + 1
    found = np.full((windows.n_windows, n_blocks), np.nan)
    open_tally = NO_TALLY
    bounds = [0, *sorted(cut for cut in cuts if cut < n_frames), n_frames]
    for start, stop in pairwise(bounds):
        part = slice(start, stop)
        statistics = block_statistics(
            images[part], present[part], quabos, blocks, windows, start, max_frames
        )
        found[statistics.rows] = statistics.medians
        open_tally = merge_tallies([open_tally, statistics.partial])
        settled = settle(open_tally, n_blocks, windows.lie_within(0, stop))
        found[settled.rows] = settled.medians
        open_tally = settled.partial
    assert len(open_tally.keys) == 0
    keep = present[:, quabos]
    for row, (start, stop) in enumerate(
        zip(windows.starts[:, 0], windows.stops[:, 0], strict=True)
    ):
        for block in range(n_blocks):
            pixels = blocks == block
            values = images[start:stop, pixels][keep[start:stop, pixels]]
            expected = np.median(values) if values.size else np.nan
            np.testing.assert_equal(found[row, block], expected)


@given(
    boards=st.lists(st.integers(-1, 2), max_size=60),
    size=st.integers(0, 9),
    first_only=st.booleans(),
    step=st.integers(1, 20),
)
def test_windows_of_boards_hold_their_frames_in_order(boards, size, first_only, step):
    """Each board's windows cut its frames into runs of the size, the last one with the rest."""
    boards = np.array(boards, np.int64)
    finder = WindowFinder(size, 3, first_only=first_only)
    for start in range(0, len(boards), step):
        if not finder.is_done:
            finder.add(start, boards[start : start + step])
    windows = finder.windows(len(boards))
    for board in range(3):
        frames = np.flatnonzero(boards == board).tolist()
        expected = [frames[i : i + size] for i in range(0, len(frames), size)] if size else [frames]
        if first_only:
            expected = expected[:1]
        elif len(expected) > 1 and len(expected[-1]) < size:
            rest = expected.pop()
            expected[-1] = expected[-1] + rest
        expected = [window for window in expected if window]
        bounds = np.stack([windows.starts[:, board], windows.stops[:, board]], axis=1).tolist()
        assert bounds[: len(expected)] == [[w[0], w[-1] + 1] for w in expected]
        assert bounds[len(expected) :] == [[len(boards)] * 2] * (len(bounds) - len(expected))
        for k, window in enumerate(expected):
            assert (windows.rows_of(board, np.array(window)) == k * 3 + board).all()


@given(n_frames=st.integers(0, 300), size=st.integers(0, 40))
def test_windows_by_position_cover_the_stream(n_frames, size):
    """Windows follow one another without a gap; all but the last have the size."""
    windows = position_windows(n_frames, size)
    starts, stops = windows.starts[:, 0], windows.stops[:, 0]
    assert starts[0] == 0
    assert stops[-1] == n_frames
    assert (starts[1:] == stops[:-1]).all()
    if size and n_frames >= size:
        assert (stops - starts)[:-1].tolist() == [size] * (windows.n_windows - 1)
        assert size <= stops[-1] - starts[-1] < 2 * size
    else:
        assert windows.n_windows == 1
