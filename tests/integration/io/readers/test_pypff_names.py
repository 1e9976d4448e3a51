"""`open_pypff` against what pypff itself makes of the same run."""

import numpy as np
import pytest
import xarray as xr
from support.stores import SMALL_CHUNKS, ingest

from panoseti_zarr import baseline, open_pypff
from panoseti_zarr.errors import InputError
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run
from panoseti_zarr.model import PRODUCTS, TIME_MISSING_NS

pypff_io = pytest.importorskip("pypff.io2")
pypff_zarr = pytest.importorskip("pypff.zarr")


def both(tmp_path, product):
    """Return the run's frames as pypff converts and opens them, and as we do."""
    plan = RunPlan(
        (StreamPlan(product, 2, 150),),
        max_file_size_mb=max_file_size_mb(product, 60),
        empty_files=False,
    )
    run = simulate_run(tmp_path / "data", plan)
    (theirs,) = pypff_zarr.convert_run(pypff_io.PanosetiRun(run), tmp_path / "pypff")
    ours = ingest(run, tmp_path / "l0", SMALL_CHUNKS).store_path
    return pypff_zarr.PanosetiZarrStore(theirs).to_dataset(), open_pypff(ours)


@pytest.mark.parametrize("product", PRODUCTS)
def test_the_same_dataset(tmp_path, product):
    """Every variable of pypff's is there, with its dtype, values and attributes; so are its own."""
    theirs, ours = both(tmp_path, product)
    assert {*ours.variables} == {*theirs.variables, "quality"}
    xr.testing.assert_identical(ours.drop_vars("quality").drop_attrs(), theirs.drop_attrs())
    for name in theirs.variables:
        assert ours[name].dtype == theirs[name].dtype, name
    for name in {*theirs.variables} - {"images"}:
        attributes = {k: v for k, v in theirs[name].attrs.items() if k != "_ARRAY_DIMENSIONS"}
        assert attributes.items() <= ours[name].attrs.items(), name
    assert {*ours.attrs} == {*theirs.attrs}
    configs = ours.attrs.pop("run_configs")
    assert {*configs} >= {*theirs.attrs.pop("run_configs")}
    assert "secret" not in str(configs)
    assert ours.attrs == theirs.attrs


def test_by_default_in_pieces(tmp_path):
    """Images are Dask arrays, as pypff gives them, and slices of them are right."""
    theirs, ours = both(tmp_path, "img16")
    assert ours.images.chunks is not None
    np.testing.assert_array_equal(ours.images[100:130].values, theirs.images[100:130].values)


def test_a_frame_without_a_time(tmp_path):
    """Its ``unix_t_ns`` is the int64 minimum, and ``quality`` says so."""
    run = simulate_run(tmp_path / "data", RunPlan((StreamPlan("ph256", 1, 20),)))
    (file,) = (f for f in run.glob("*dp_ph256*.pff") if f.stat().st_size)
    content = bytearray(file.read_bytes())
    content[5 * 636 : 5 * 636 + 10] = b"x" * 10
    file.write_bytes(content)
    ours = open_pypff(ingest(run, tmp_path / "l0").store_path, chunks=None)
    without = (ours.quality.values & 0b1000_0000) != 0
    assert without.nonzero()[0].tolist() == [5]
    assert (ours.unix_t_ns.values == TIME_MISSING_NS).tolist() == without.tolist()


def test_an_l1_store_and_none(tmp_path):
    """An L1 store opens by these names too; a missing one is an `InputError`."""
    run = simulate_run(tmp_path / "data", RunPlan((StreamPlan("img8", 1, 150),)))
    l1 = baseline(ingest(run, tmp_path / "l0").store_path).path
    opened = open_pypff(l1)
    assert (opened.images.dtype, opened.sizes["time"]) == (np.float32, 150)
    assert "quabo_3_tv_usec" in opened.attrs["quabo_fields"]
    with pytest.raises(InputError, match="there is no store"):
        open_pypff(tmp_path / "none.zarr")
