"""L1 stores of simulated and of made-up streams: their numbers, and who can read them."""

import json

import numpy as np
import pytest
import tensorstore
import xarray
import zarr
from support.l0_arrays import RUN, write_l0
from support.naive_baseline import naive_l1
from support.stores import chunk_digests, ingest, read_arrays

from panoseti_zarr import __version__
from panoseti_zarr.cluster import ThreadExecutor, make_executor
from panoseti_zarr.config import BaselineSubtractConfig, Config
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.io.simulate.defects import BrokenHeader, MissingQuabo, ZeroFrames
from panoseti_zarr.model import PRODUCTS
from panoseti_zarr.pipeline.l1 import make_l1

MODES = {
    "initial": {"baseline_window": 30},
    "running": {"baseline_mode": "running", "baseline_window": 30, "img_frame_step": 7},
    "whole stream": {"baseline_window": 0, "img_frame_step": 7},
}


def subtract(l0, l1, **settings):
    """Make an L1 store in two threads; return its path."""
    with ThreadExecutor(2) as executor:
        return make_l1(l0, l1, BaselineSubtractConfig(**settings), executor).path


def stream(product, n_frames=50, seed=0):
    """Return made-up arrays of a stream without defects."""
    rng = np.random.default_rng(seed)
    layout = PRODUCTS[product]
    images = rng.poisson(40, (n_frames, layout.height, layout.width)).astype(layout.dtype)
    arrays = {"images": images, "quality": np.zeros(n_frames, np.uint16)}
    if product == "ph256":
        arrays["headers/quabo_num"] = rng.integers(0, 4, n_frames).astype(np.uint8)
    return arrays


def baseline_of(found):
    """Return the arrays of ``baseline/`` by name."""
    return {path.split("/")[1]: a for path, a in found.items() if path.startswith("baseline/")}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("product", PRODUCTS)
def test_store_of_a_simulated_run_equals_the_definition(tmp_path, product, mode):
    """All products in all modes, with masked frames and quabos, over several chunks."""
    defects = (BrokenHeader(frame=3), ZeroFrames(start=70, stop=75))
    if product != "ph256":
        defects += (MissingQuabo(quabo=1, start=50, stop=150),)
    plan = RunPlan((StreamPlan(product, 1, 200),), defects=defects)
    l0 = ingest(simulate_run(tmp_path, plan), tmp_path / "l0").store_path
    settings = BaselineSubtractConfig(**MODES[mode], compute_chunk_size=20)
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **settings.model_dump()))
    raw = read_arrays(l0)
    expected = naive_l1(
        product, raw["images"], raw["quality"], raw.get("headers/quabo_num"), settings
    )
    assert np.isfinite(expected.images).any()
    np.testing.assert_array_equal(found["images"], expected.images)
    for name, values in expected.baseline.items():
        np.testing.assert_array_equal(baseline_of(found)[name], values, err_msg=name)


@pytest.mark.parametrize("mode", MODES)
def test_images_can_be_had_back(tmp_path, mode):
    """L0 is L1 times the scale plus the baseline of the frame's window, in whole numbers."""
    arrays = stream("img16", 95)
    l0 = write_l0(tmp_path / "l0.zarr", "img16", arrays, time_chunk=32)
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **MODES[mode]))
    windows = np.searchsorted(found["baseline/window_start"], np.arange(95), side="right") - 1
    block_medians = found["baseline/block_median"][windows]
    base = np.kron(block_medians, np.ones((1, 8, 8))) + found["baseline/supermedian"]
    back = found["images"].astype(np.float64) * 1.5 + base
    assert np.abs(back - arrays["images"]).max() < 1e-4
    assert (np.rint(back) == arrays["images"]).all()


@pytest.mark.parametrize("mode", MODES)
def test_pulses_can_be_had_back(tmp_path, mode):
    """Where L1 has a number, L0 is that number plus the pedestal of the frame's quabo."""
    arrays = stream("ph256", 150)
    l0 = write_l0(tmp_path / "l0.zarr", "ph256", arrays, time_chunk=32)
    settings = MODES[mode] | {"ph_sigma_threshold": 1.0}
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **settings))
    n_kept = 0
    for frame, quabo in enumerate(arrays["headers/quabo_num"]):
        starts = found["baseline/window_start"][:, quabo]
        window = max(np.searchsorted(starts, frame, side="right") - 1, 0)
        back = found["images"][frame] + found["baseline/pedestal"][window, quabo]
        kept = np.isfinite(back)
        n_kept += kept.sum()
        assert (back[kept] == arrays["images"][frame][kept]).all()
    assert n_kept > 1000


def test_other_arrays_are_those_of_l0(tmp_path):
    """Timestamps, quality and headers are carried over chunk by chunk, byte by byte."""
    l0 = write_l0(tmp_path / "l0.zarr", "img8", stream("img8"), time_chunk=16)
    l1 = subtract(l0, tmp_path / "l1.zarr")
    of_l0, of_l1 = chunk_digests(l0), chunk_digests(l1)
    carried = {path for path in of_l0 if not path.startswith("images/")}
    assert len(carried) == 22 * 4
    assert {path: of_l1[path] for path in carried} == {path: of_l0[path] for path in carried}
    assert {path.split("/")[0] for path in of_l1.keys() - carried} == {"images", "baseline"}
    for path in carried:
        document = path.split("/c/")[0] + "/zarr.json"
        assert json.loads((l1 / document).read_text()) == json.loads((l0 / document).read_text())


def test_attributes_say_what_was_done_to_which_commit(tmp_path):
    """Algorithm, settings, version, the L0 commit, and whose stream it is."""
    l0 = write_l0(
        tmp_path / "l0.zarr", "ph1024", stream("ph1024"), store_id="abc", commit=7, time_chunk=64
    )
    l1 = subtract(l0, tmp_path / "l1.zarr", baseline_window=20, ph_sigma_threshold=3.0)
    attributes = json.loads((l1 / "zarr.json").read_text())["attributes"]
    settings = attributes.pop("settings")
    assert attributes == {
        "format": "panoseti-zarr-l1",
        "format_version": 1,
        "l0_store_id": "abc",
        "l0_commit": 7,
        "l0_n_frames": 50,
        "n_frames": 50,
        "run": RUN,
        "observatory": "Test",
        "run_start": "2024-07-25T04:34:06Z",
        "runtype": "sci-data",
        "product": "ph1024",
        "module": 1,
        "bytes_per_pixel": 2,
        "gaps": [],
        "algorithm": "pixel_pedestal",
        "writer": {"name": "panoseti-zarr", "version": __version__},
    }
    assert settings["baseline_window"] == 20
    assert settings["ph_sigma_threshold"] == 3.0
    assert settings["baseline_mode"] == "initial"


@pytest.mark.parametrize("product", ["img16", "ph256"])
def test_all_readers_open_it(tmp_path, product):
    """xarray, its data trees, zarr-python and TensorStore read the same pixels; NaN is NaN."""
    arrays = stream(product)
    arrays["quality"][11] = 64
    l0 = write_l0(tmp_path / "l0.zarr", product, arrays, time_chunk=16)
    l1 = subtract(l0, tmp_path / "l1.zarr", ph_sigma_threshold=1.0)
    with xarray.open_zarr(l1) as dataset:
        assert dataset["images"].dims == ("time", "y", "x")
        assert dataset["timestamps"].dtype == "datetime64[ns]"
        assert "_FillValue" not in dataset["images"].attrs
        images = dataset["images"].to_numpy()
    assert images.dtype == np.float32
    assert np.isnan(images[11]).all()
    assert np.isfinite(images[12]).any()
    with xarray.open_zarr(l1, consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset["images"].to_numpy(), images)
    with xarray.open_datatree(l1, engine="zarr") as tree:
        board = () if product == "img16" else ("quabo",)
        name = "block_median" if product == "img16" else "pedestal"
        assert tree["baseline/window_start"].dims == ("window", *board)
        assert tree[f"baseline/{name}"].dims[: 1 + len(board)] == ("window", *board)
        np.testing.assert_array_equal(tree["images"].to_numpy(), images)
    np.testing.assert_array_equal(zarr.open_group(l1, mode="r")["images"][...], images)
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{l1}/images/"}}
    array = tensorstore.open(spec, read=True).result()
    assert array.domain.labels == ("time", "y", "x")
    np.testing.assert_array_equal(array.read().result(), images)
    for document in json.loads((l1 / "zarr.json").read_text())["consolidated_metadata"][
        "metadata"
    ].values():
        if document["node_type"] == "array":
            assert document["dimension_names"] == document["attributes"]["_ARRAY_DIMENSIONS"]


@pytest.mark.parametrize("codec", ["blosc-lz4", "zstd", "gzip", "none"])
def test_codec_and_checksum(tmp_path, codec):
    """Each codec gives the same numbers; the checksum is there as in L0."""
    l0 = write_l0(tmp_path / "l0.zarr", "img16", stream("img16"), time_chunk=16, checksum=False)
    l1 = subtract(l0, tmp_path / "l1.zarr", codec=codec, level=2)
    codecs = json.loads((l1 / "images/zarr.json").read_text())["codecs"]
    names = [c["configuration"].get("cname", c["name"]) for c in codecs]
    assert (
        names
        == {
            "blosc-lz4": ["bytes", "lz4"],
            "zstd": ["bytes", "zstd"],
            "gzip": ["bytes", "gzip"],
            "none": ["bytes"],
        }[codec]
    )
    with_sum = write_l0(tmp_path / "sum.zarr", "img16", stream("img16"), time_chunk=16)
    other = subtract(with_sum, tmp_path / "other.zarr")
    last = json.loads((other / "images/zarr.json").read_text())["codecs"][-1]
    assert last["name"] == "crc32c"
    np.testing.assert_array_equal(read_arrays(l1)["images"], read_arrays(other)["images"])


def test_inner_chunks_of_l0_are_kept(tmp_path):
    """A sharded L0 makes an L1 with the same chunks and inner chunks, and the same numbers."""
    arrays = stream("img16", 60)
    plain = write_l0(tmp_path / "plain.zarr", "img16", arrays, time_chunk=20)
    cut = write_l0(tmp_path / "cut.zarr", "img16", arrays, time_chunk=32, inner_chunk=8)
    found = subtract(cut, tmp_path / "l1.zarr", baseline_mode="running", baseline_window=9)
    expected = subtract(plain, tmp_path / "p.zarr", baseline_mode="running", baseline_window=9)
    document = json.loads((found / "images/zarr.json").read_text())
    assert document["chunk_grid"]["configuration"]["chunk_shape"] == [32, 32, 32]
    assert document["codecs"][0]["configuration"]["chunk_shape"] == [8, 32, 32]
    np.testing.assert_array_equal(read_arrays(found)["images"], read_arrays(expected)["images"])


def test_chunk_too_large_for_blosc_as_float32_is_cut(tmp_path):
    """A chunk of 900,000 frames is stored in inner chunks that blosc takes."""
    arrays = stream("img8", 3)
    l0 = write_l0(tmp_path / "l0.zarr", "img8", arrays, time_chunk=8)
    root = json.loads((l0 / "zarr.json").read_text())
    from panoseti_zarr.io.l1.metadata import image_document

    document = root["consolidated_metadata"]["metadata"]["images"]
    document["chunk_grid"]["configuration"]["chunk_shape"] = [900_000, 32, 32]
    made = image_document(document, PRODUCTS["img8"], BaselineSubtractConfig())
    assert made["codecs"][0]["configuration"]["chunk_shape"] == [450_000, 32, 32]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("n_frames", [0, 1, 2])
def test_shortest_streams(tmp_path, product, mode, n_frames):
    """No frame, one, two: a store with that many frames and one window, without a warning."""
    arrays = stream(product, n_frames)
    l0 = write_l0(tmp_path / "l0.zarr", product, arrays, time_chunk=4)
    settings = BaselineSubtractConfig(**MODES[mode])
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **MODES[mode]))
    expected = naive_l1(
        product,
        arrays["images"],
        arrays["quality"],
        arrays.get("headers/quabo_num"),
        settings,
    )
    np.testing.assert_array_equal(found["images"], expected.images)
    for name, values in expected.baseline.items():
        assert len(values) in {1, 32}
        np.testing.assert_array_equal(baseline_of(found)[name], values, err_msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("product", PRODUCTS)
def test_stream_that_is_masked_throughout(tmp_path, product, mode):
    """Every pixel is NaN, and so is the baseline of nothing."""
    arrays = stream(product)
    arrays["quality"][:] = 0b1100_0000
    l0 = write_l0(tmp_path / "l0.zarr", product, arrays, time_chunk=16)
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **MODES[mode]))
    assert np.isnan(found["images"]).all()
    for name in {"pedestal", "sigma", "block_median", "supermedian"} & baseline_of(found).keys():
        assert np.isnan(found[f"baseline/{name}"]).all()


@pytest.mark.parametrize("mode", MODES)
def test_dead_and_saturated_pixels_of_images_are_zero(tmp_path, mode):
    """Sigma 0 is no reason for NaN: what never moves is at its baseline."""
    arrays = stream("img16", 95)
    arrays["images"][:, 3, 4] = 0
    arrays["images"][:, 20, 20] = 65535
    l0 = write_l0(tmp_path / "l0.zarr", "img16", arrays, time_chunk=32)
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **MODES[mode]))
    assert np.isfinite(found["images"]).all()
    if mode != "running":  # there the block's other pixels move the block median
        assert (found["images"][:, [3, 20], [4, 20]] == 0).all()
    assert (np.abs(found["baseline/block_median"] - 40) < 2).all()


@pytest.mark.parametrize("mode", MODES)
def test_dead_and_saturated_pixels_of_pulses_have_a_pedestal(tmp_path, mode):
    """They have sigma 0 and make no pulse, but for a dead one in the frame in which it moves."""
    arrays = stream("ph1024", 95)
    arrays["images"][:, 3, 4] = 0
    arrays["images"][94, 3, 4] = 1
    arrays["images"][:, 20, 20] = 32767
    l0 = write_l0(tmp_path / "l0.zarr", "ph1024", arrays, time_chunk=32)
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **MODES[mode]))
    assert (found["baseline/pedestal"][:, [3, 20], [4, 20]] == [0, 32767]).all()
    assert (found["baseline/sigma"][:, 20, 20] == 0).all()
    assert np.isnan(found["images"][:, 20, 20]).all()
    assert found["images"][94, 3, 4] == 1
    assert np.isfinite(found["images"][:, 3, 4]).sum() == 1


def test_frame_of_no_quabo_is_masked(tmp_path):
    """A readable ph256 header that names quabo 7 has no pedestal: NaN, and in no window."""
    arrays = stream("ph256", 30)
    arrays["headers/quabo_num"][:] = 1
    arrays["headers/quabo_num"][4] = 7
    arrays["images"][4] = 30000
    l0 = write_l0(tmp_path / "l0.zarr", "ph256", arrays, time_chunk=8)
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", ph_sigma_threshold=0.0))
    assert np.isnan(found["images"][4]).all()
    others = np.delete(arrays["images"], 4, axis=0)
    assert (found["baseline/pedestal"][0, 1] == np.median(others, axis=0)).all()
    assert np.isnan(found["baseline/pedestal"][0, [0, 2, 3]]).all()
    assert found["baseline/window_start"].tolist() == [[30, 0, 30, 30]]


def test_rare_quabo_has_its_own_windows(tmp_path):
    """Three pulses of quabo 3, the last near the end, are one window, whatever the others do."""
    arrays = stream("ph256", 100)
    arrays["headers/quabo_num"][:] = 0
    arrays["headers/quabo_num"][[10, 50, 97]] = 3
    l0 = write_l0(tmp_path / "l0.zarr", "ph256", arrays, time_chunk=16)
    found = read_arrays(
        subtract(l0, tmp_path / "l1.zarr", baseline_window=20, baseline_mode="running")
    )
    pulses = arrays["images"][[10, 50, 97]]
    assert (found["baseline/pedestal"][0, 3] == np.median(pulses, axis=0)).all()
    assert found["baseline/window_start"][:, 3].tolist() == [10, 100, 100, 100]
    assert found["baseline/window_stop"][:, 3].tolist() == [98, 100, 100, 100]
    assert found["baseline/window_start"][:, 0].tolist() == [0, 21, 41, 62]
    assert np.isnan(found["baseline/pedestal"][1:, 3]).all()


def test_mask_goes_with_the_exchanged_quarter(tmp_path):
    """Of exchanged frames a missing quabo 1 masks the lower left, where its zeros went."""
    arrays = stream("ph1024", 20)
    arrays["images"][5, :16, 16:] = 0
    arrays["quality"][5] = 0b0010
    l0 = write_l0(tmp_path / "l0.zarr", "ph1024", arrays, time_chunk=8)
    settings = {"ph1024_swap_quabos": True, "ph_sigma_threshold": 0.0}
    found = read_arrays(subtract(l0, tmp_path / "l1.zarr", **settings))
    assert np.isnan(found["images"][5, 16:, :16]).all()
    assert np.isfinite(found["images"][5, :16, 16:]).any()
    without = np.delete(arrays["images"][:, :16, 16:], 5, axis=0)
    assert (found["baseline/pedestal"][0, 16:, :16] == np.median(without, axis=0)).all()


def test_whole_stream_in_pieces_equals_one_piece(tmp_path):
    """Chunk length and compute_chunk_size change nothing but the chunks."""
    arrays = stream("ph1024", 90)
    arrays["quality"][::9] = 0b0100
    stores = []
    for time_chunk, compute in ((90, 8192), (7, 3)):
        l0 = write_l0(tmp_path / f"{compute}.zarr", "ph1024", arrays, time_chunk=time_chunk)
        l1 = tmp_path / f"{compute}_L1.zarr"
        stores.append(read_arrays(subtract(l0, l1, baseline_window=0, compute_chunk_size=compute)))
    for path in ("images", "baseline/pedestal", "baseline/sigma"):
        np.testing.assert_array_equal(stores[0][path], stores[1][path])


def test_workers_of_a_cluster_make_the_same_store(tmp_path):
    """In worker processes of a local cluster the store is the same, byte by byte."""
    l0 = write_l0(tmp_path / "l0.zarr", "img16", stream("img16", 90), time_chunk=16)
    settings = {"baseline_mode": "running", "baseline_window": 11}
    here = subtract(l0, tmp_path / "here.zarr", **settings)
    config = Config.model_validate(
        {"cluster": {"use_cluster": True, "local": {"n_workers": 2, "dashboard_port": 0}}}
    )
    with make_executor(config) as executor:
        there = tmp_path / "there.zarr"
        make_l1(l0, there, BaselineSubtractConfig(**settings), executor)
    assert chunk_digests(there) == chunk_digests(here)
