"""``panoseti-zarr quicklook``: what it draws of stores, and what it says where it cannot."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
import zarr
from PIL import Image
from support.stores import ingest, snapshot
from typer.testing import CliRunner

from panoseti_zarr.cli.app import app
from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.errors import CorruptDataError, InputError, TransientIOError
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from panoseti_zarr.io.simulate.defect_names import parse_defect
from panoseti_zarr.model import PRODUCTS
from panoseti_zarr.pipeline.l1 import make_l1
from panoseti_zarr.quicklook import make_quicklook, picture_name
from panoseti_zarr.quicklook.collect.stream import survey
from panoseti_zarr.quicklook.compute.pulses import as_module
from panoseti_zarr.quicklook.compute.sampling import choose_pieces, choose_ranges

N_FRAMES = 1500
DEFECTS = (
    "broken-header:frame=100",
    "zero-frames:start=200,stop=230",
    "unlocked:start=300,stop=500",
)
MODULE_DEFECT = "missing-quabo:quabo=2,start=600,stop=900"


def make_stores(base, product, *, defects=(), n_frames=N_FRAMES, l1=True, **settings):
    """Simulate a run of one stream; return its L0 store, and its L1 store or where it would be."""
    plan = RunPlan(
        (StreamPlan(product, 3, n_frames, 100.0),),
        max_file_size_mb=settings.pop("max_file_size_mb", 4000.0),
        defects=tuple(map(parse_defect, defects)),
    )
    run = simulate_run(base / "data", plan)
    l0 = ingest(run, base / "l0").store_path
    l1_path = base / "l1" / f"{l0.name.removesuffix('.zarr')}_L1.zarr"
    if l1:
        l1_path.parent.mkdir(exist_ok=True)
        with ThreadExecutor(2) as executor:
            make_l1(l0, l1_path, BaselineSubtractConfig(**settings), executor)
    return l0, l1_path


def run_command(*words):
    """Run the command in this process."""
    return CliRunner().invoke(app, ["quicklook", *map(str, words)])


def edit_root(store, change):
    """Alter the root document of a store."""
    path = store / "zarr.json"
    document = json.loads(path.read_bytes())
    change(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize("product", list(PRODUCTS))
def test_a_picture_of_every_product_with_defects(tmp_path, product):
    """From L0 with and without L1, and from L1: a PNG 1,000 pixels wide, and figures that agree."""
    defects = DEFECTS if product == "ph256" else (*DEFECTS, MODULE_DEFECT)
    l0, l1 = make_stores(tmp_path, product, defects=defects)
    held = snapshot(tmp_path)
    for name, words in {"with": (l0, "--l1", l1), "without": (l0,), "l1": (l1,)}.items():
        picture = tmp_path / "pictures" / f"{name}.png"
        result = run_command(*words[:1], picture, *words[1:], "--json")
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)
        assert told["path"] == str(picture)
        assert (told["stream"], told["level"]) == (f"dp_{product}.module_3", int(name == "l1"))
        assert (told["n_frames"], told["n_frames_sampled"]) == (N_FRAMES, N_FRAMES)
        assert told["n_flagged"]["HEADER_UNREADABLE"] == 1
        assert told["n_flagged"]["NO_TIME"] == 31
        assert told["n_flagged"]["WR_NOT_LOCKED"] == 200
        assert told["n_flagged"]["QUABO_2_MISSING"] == (0 if product == "ph256" else 330)
        if product.startswith("ph"):
            assert told["pedestals"].startswith("sample" if name == "without" else "L1, first 100")
        with Image.open(picture) as image:
            image.load()
            assert (image.format, image.width) == ("PNG", 1000)
        assert 10_000 < picture.stat().st_size < 200_000
    kept = snapshot(tmp_path)
    assert {path: kept[path] for path in held} == held


def test_the_same_stream_gives_the_same_picture(tmp_path):
    """Byte for byte, whatever was drawn before."""
    l0, _ = make_stores(tmp_path, "img16", l1=False)
    pictures = [make_quicklook(l0, tmp_path / f"{n}.png").path.read_bytes() for n in range(2)]
    assert pictures[0] == pictures[1]


def test_a_picture_has_the_store_s_name_where_none_is_given(tmp_path, monkeypatch):
    """In the current directory, or in one that is named; nothing else is left there."""
    l0, _ = make_stores(tmp_path, "img8", l1=False)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for words in ((l0,), (l0, here)):
        result = run_command(*words)
        assert result.exit_code == 0, result.output
        assert f"{N_FRAMES:,} frames" in result.stdout
        assert [path.name for path in here.iterdir()] == [picture_name(l0)]
    assert picture_name(l0) == f"{l0.name.removesuffix('.zarr')}.png"


def test_images_are_those_of_the_store(tmp_path):
    """Mean and spread of every pixel over the frames that are not masked, row 0 first."""
    l0, l1 = make_stores(tmp_path, "img16", defects=(*DEFECTS, MODULE_DEFECT))
    images = zarr.open_array(l0 / "images")[:].astype(float)
    quality = zarr.open_array(l0 / "quality")[:]
    images[(quality & 1 << 6) != 0] = np.nan
    quarters = [np.s_[:16, :16], np.s_[:16, 16:], np.s_[16:, 16:], np.s_[16:, :16]]
    for quabo, (rows, columns) in enumerate(quarters):
        images[np.flatnonzero(quality & 1 << quabo), rows, columns] = np.nan
    look = survey(l0)
    np.testing.assert_allclose(look.mean, np.nanmean(images, axis=0))
    np.testing.assert_allclose(look.sigma, np.nanstd(images, axis=0))
    subtracted = zarr.open_array(l1 / "images")[:].astype(float)
    look = survey(l1)
    np.testing.assert_allclose(look.mean, np.nanmean(subtracted, axis=0), atol=1e-9)
    np.testing.assert_allclose(look.sigma, np.nanstd(subtracted, axis=0))


@pytest.mark.parametrize("product", ["ph256", "ph1024"])
def test_without_l1_pedestals_and_pulses_are_what_l1_would_have(tmp_path, product):
    """A sample of the whole stream gives the numbers of an L1 store with one window over it."""
    defects = (*DEFECTS, MODULE_DEFECT) if product == "ph1024" else DEFECTS
    l0, l1 = make_stores(tmp_path, product, defects=defects, baseline_window=0)
    alone, stored = survey(l0), survey(l0, l1)
    assert alone.pedestals.origin == f"sample of {N_FRAMES:,} frames"
    assert stored.pedestals.origin == "L1, whole stream"
    np.testing.assert_array_equal(alone.pedestals.pedestal, stored.pedestals.pedestal)
    np.testing.assert_array_equal(alone.pedestals.sigma, stored.pedestals.sigma)
    np.testing.assert_array_equal(alone.hits, stored.hits)
    np.testing.assert_array_equal(alone.spectrum, stored.spectrum)
    kept = np.isfinite(zarr.open_array(l1 / "images")[:])
    assert alone.hits.sum() == kept.sum() > 0
    if product == "ph1024":
        np.testing.assert_array_equal(alone.hits, kept.sum(axis=0))
        median = zarr.open_array(l1 / "baseline/pedestal")[0]
        shown = as_module(stored.pedestals.pedestal, PRODUCTS[product])
        np.testing.assert_array_equal(shown, median)


def test_events_are_counted_for_each_quabo(tmp_path):
    """Over the whole stream as many as the headers say."""
    l0, _ = make_stores(tmp_path, "ph256", l1=False)
    quabo_num = zarr.open_array(l0 / "headers/quabo_num")[:]
    counted = survey(l0).timeline.n_by_quabo.sum(axis=1)
    np.testing.assert_array_equal(counted, np.bincount(quabo_num, minlength=4))


def test_running_windows_are_summed_up(tmp_path):
    """Of several windows the median of each pixel is shown, and said so."""
    l0, l1 = make_stores(tmp_path, "ph256", baseline_mode="running", baseline_window=50)
    look = survey(l1)
    pedestal = zarr.open_array(l1 / "baseline/pedestal")[:].reshape(-1, 4, 256)
    assert look.pedestals.origin == f"L1, median of {len(pedestal)} windows of {len(pedestal)}"
    np.testing.assert_array_equal(look.pedestals.pedestal, np.nanmedian(pedestal, axis=0))
    assert make_quicklook(l0, tmp_path / "a.png", l1.parent).look.hits.sum() == look.hits.sum()


def test_missing_files_and_gaps_are_shown_where_they_are(tmp_path):
    """A missing seqno is at the first frame after it; the gap in time ends there."""
    defect = "missing-seqno:seqno=1"
    l0, _ = make_stores(tmp_path, "img16", defects=(defect,), max_file_size_mb=1, l1=False)
    look = make_quicklook(l0, tmp_path / "a.png").look
    attributes = look.stream.attributes
    assert attributes["gaps"] == [1]
    after = next(f["first_frame"] for f in attributes["source_files"] if f["seqno"] == 2)
    times = zarr.open_array(l0 / "timestamps")[:].astype(np.int64)
    assert look.missing_bins.tolist() == look.timeline.bins_of(times[[after]]).tolist()
    assert look.timeline.n_gaps == 1
    assert look.timeline.longest_gap_ns == times[after] - times[after - 1]


@pytest.mark.slow
@pytest.mark.parametrize("product", list(PRODUCTS))
@pytest.mark.parametrize(
    ("n_frames", "defects"),
    [
        (1, ()),
        (40, ("zero-frames:start=0,stop=40",)),
        (40, ("zero-frames:start=1,stop=40",)),
    ],
)
def test_next_to_nothing_is_drawn_too(tmp_path, product, n_frames, defects):
    """One frame, or frames without a quabo and a time: a picture that says so in words."""
    l0, l1 = make_stores(tmp_path, product, defects=defects, n_frames=n_frames)
    for store in (l0, l1):
        made = make_quicklook(store, tmp_path / "a.png")
        assert made.look.n_sampled == n_frames
        n_timed = int((zarr.open_array(l0 / "quality")[:] & 1 << 7 == 0).sum())
        assert (made.look.timeline.span is None) == (n_timed == 0)


def test_absurd_times_and_a_long_name_are_drawn(tmp_path):
    """Times at the ends of what int64 holds, and a run name of 200 bytes with odd characters."""
    l0, _ = make_stores(tmp_path, "img16", l1=False, n_frames=50)
    shutil.rmtree(l0 / "timestamps")
    limit = np.iinfo(np.int64)
    times = np.array([limit.min + 1, 0, limit.max] * 16 + [limit.max] * 2)
    zarr.create_array(l0 / "timestamps", data=times, chunks=(64,), compressors=None)
    document = json.loads((l0 / "timestamps/zarr.json").read_bytes())

    def change(root):
        root["attributes"]["run"] = "$x_{" + "obs_" * 49
        root["consolidated_metadata"]["metadata"]["timestamps"] = document

    edit_root(l0, change)
    made = make_quicklook(l0, tmp_path / "a.png")
    assert made.look.timeline.n_read == 50


def test_a_stream_that_is_still_open_is_drawn(tmp_path):
    """As far as it is committed."""
    l0, _ = make_stores(tmp_path, "img16", l1=False)
    edit_root(l0, lambda root: root["attributes"].update(closed=False))
    before = make_quicklook(l0, tmp_path / "a.png").path.read_bytes()
    edit_root(l0, lambda root: root["attributes"].update(closed=True))
    assert make_quicklook(l0, tmp_path / "a.png").path.read_bytes() != before


def test_what_is_no_store_is_refused(tmp_path):
    """Nothing there, another Zarr store, a damaged document, a missing chunk: one line each."""
    result = run_command(tmp_path / "none.zarr", tmp_path / "a.png")
    assert isinstance(result.exception, InputError)
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(InputError, match="not an L0 or L1 store"):
        survey(tmp_path / "other.zarr")
    l0, _ = make_stores(tmp_path, "img16", l1=False)
    (l0 / "images/c/3/0/0").unlink()
    with pytest.raises(CorruptDataError, match="chunk is missing"):
        make_quicklook(l0, tmp_path / "a.png")
    (l0 / "zarr.json").write_text("{")
    with pytest.raises(CorruptDataError, match="damaged"):
        survey(l0)
    assert not (tmp_path / "a.png").exists()


def test_the_l1_store_of_other_frames_is_not_used(tmp_path):
    """Named, it is refused; in a directory that is named, the sample takes its place."""
    l0, l1 = make_stores(tmp_path, "ph256")
    edit_root(l1, lambda root: root["attributes"].update(l0_commit=99))
    with pytest.raises(InputError, match="is not the L1 store"):
        survey(l0, l1)
    assert survey(l0, l1.parent).pedestals.origin.startswith("sample")


def test_an_l1_store_beside_is_found(tmp_path):
    """Without being named, where both are in one directory."""
    l0, l1 = make_stores(tmp_path, "ph256")
    shutil.move(l1, l0.parent)
    assert survey(l0).pedestals.origin == "L1, first 100 frames"


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    """A full disk: an error, and the picture that was there is whole."""
    l0, _ = make_stores(tmp_path, "img8", l1=False)
    picture = make_quicklook(l0, tmp_path / "a.png").path
    held = picture.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("panoseti_zarr.quicklook.make.replace_file", fail)
    with pytest.raises(TransientIOError, match="No space left"):
        make_quicklook(l0, picture)
    assert picture.read_bytes() == held


def test_without_matplotlib_the_command_says_what_to_install(tmp_path, monkeypatch):
    """Before anything is read; the service's own modules do not need it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("panoseti_zarr.quicklook.d")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"pip install 'panoseti-zarr\[plot\]'"):
        make_quicklook(tmp_path / "none.zarr", tmp_path / "a.png")


def test_only_a_part_of_a_long_stream_is_read(tmp_path, monkeypatch):
    """Fewer pieces than there are: the numbers are those of the frames that were taken."""
    monkeypatch.setattr("panoseti_zarr.quicklook.collect.scan.MOST_PIECES", 5)
    l0, _ = make_stores(tmp_path, "img16", l1=False)
    look = survey(l0)
    pieces = choose_pieces(choose_ranges(N_FRAMES, 64), 64, 2048, most=5)
    frames = np.concatenate([np.arange(*piece) for piece in pieces])
    assert look.n_sampled == len(frames) < N_FRAMES == look.timeline.n_read
    images = zarr.open_array(l0 / "images")[:][frames].astype(float)
    np.testing.assert_allclose(look.mean, images.mean(axis=0))
    np.testing.assert_allclose(look.sigma, images.std(axis=0))
    assert len(look.light_curve.positions) >= 5
    png = make_quicklook(l0, tmp_path / "a.png").path.read_bytes()
    with Image.open(io.BytesIO(png)) as image:
        assert image.width == 1000
