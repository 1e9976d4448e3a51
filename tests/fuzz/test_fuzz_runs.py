"""Whole run directories of odd files: read, converted and verified."""

import tempfile
from pathlib import Path

from fuzzing import MEMORY, fuzz, told
from hypothesis import strategies as st
from odd_headers import files
from support.reference_store import PIXELS, TODAY_FRAME_BYTES, frame_length, reference_arrays
from support.stores import assert_equal_arrays, ingest, read_arrays

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.errors import CorruptDataError
from panoseti_zarr.io.verify import verify_store

products = st.sampled_from(sorted(PIXELS))
SETTINGS = PffToZarrConfig(time_chunk=2)


def first_unreadable(contents, product):
    """Return the place of the first file that has a frame's size and no readable header."""
    return next(
        (
            place
            for place, data in enumerate(contents)
            if len(data) >= TODAY_FRAME_BYTES[product] and frame_length(data, product) is None
        ),
        None,
    )


@fuzz(120, drawn=products.flatmap(lambda name: st.lists(files(name), min_size=1, max_size=3)))
def test_runs_of_odd_files(drawn):
    """A store holds every frame as json.loads reads it; a file of no frames quarantines."""
    product, contents = drawn[0].product, [file.data for file in drawn]
    if not any(contents):
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as base:
        run, l0_dir = Path(base, "odd.pffd"), Path(base, "l0")
        run.mkdir()
        paths = [run / f"dp_{product}.module_1.seqno_{n}.pff" for n in range(len(contents))]
        for path, data in zip(paths, contents, strict=True):
            path.write_bytes(data)
        n_good = first_unreadable(contents, product)
        _, reason = told(lambda: ingest(run, l0_dir, SETTINGS), CorruptDataError)
        assert bool(reason) == (n_good is not None), reason
        stores = list(l0_dir.glob("*.zarr"))
        expected = reference_arrays(paths[:n_good], product)
        assert len(stores) == (n_good is None or len(expected["images"]) > 0)
        for store in stores:
            assert_equal_arrays(read_arrays(store), expected)
            if n_good is None:
                assert verify_store(store, run).difference is None
