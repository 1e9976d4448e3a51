"""With the whole stream as its window the baseline is the formula that step 2 used to compute."""

import numpy as np
import pytest
from support.l0_arrays import write_l0
from support.stores import read_arrays

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.pipeline.l1 import make_l1

WHOLE_STREAM = BaselineSubtractConfig(baseline_window=0)


def make_images(l0, l1):
    """Make the L1 store with built-in settings but the window; return its images."""
    with ThreadExecutor(2) as executor:
        found = read_arrays(make_l1(l0, l1, WHOLE_STREAM, executor).path)["images"]
    assert found.dtype == np.float32
    return found


@pytest.mark.parametrize("n_frames", [1, 200, 201, 1000])
@pytest.mark.parametrize("product", ["img8", "img16"])
def test_images_less_the_median_of_every_200th_over_one_and_a_half(tmp_path, product, n_frames):
    """``(x - median(x[::200])) / 1.5`` per pixel, every value the same float32."""
    rng = np.random.default_rng(n_frames)
    sky = rng.uniform(5, 90, (32, 32))
    images = rng.poisson(sky, (n_frames, 32, 32)).astype({"img8": "u1", "img16": "u2"}[product])
    arrays = {"images": images, "quality": np.zeros(n_frames, np.uint16)}
    l0 = write_l0(tmp_path / "l0.zarr", product, arrays, time_chunk=300)
    expected = (images - np.median(images[::200], axis=0)) / 1.5
    found = make_images(l0, tmp_path / "l1.zarr")
    np.testing.assert_array_equal(found, expected.astype(np.float32))


def test_pulses_of_one_quabo_above_five_sigma(tmp_path):
    """``x - median(x)`` per pixel where that is above five times its ``std``, NaN elsewhere."""
    rng = np.random.default_rng(4)
    images = rng.normal(300, 12, (1000, 16, 16)).round().astype(np.int16)
    images += (rng.random(images.shape) < 0.002) * np.int16(400)
    quality = np.zeros(len(images), np.uint16)
    arrays = {"images": images, "quality": quality, "headers/quabo_num": np.full(len(images), 2)}
    l0 = write_l0(tmp_path / "l0.zarr", "ph256", arrays, time_chunk=300)
    residual = images - np.median(images, axis=0)
    is_pulse = residual > 5 * residual.std(axis=0)
    assert 200 < is_pulse.sum() < 1000
    expected = np.where(is_pulse, residual, np.nan)
    found = make_images(l0, tmp_path / "l1.zarr")
    np.testing.assert_array_equal(found, expected.astype(np.float32))
