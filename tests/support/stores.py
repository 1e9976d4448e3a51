"""What the tests of stores share: run a conversion, read a store, compare two of them."""

import hashlib
import json
from pathlib import Path

import numpy as np
import zarr

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.pff.listing import list_run
from panoseti_zarr.pipeline.ingest import ingest_stream

SMALL_CHUNKS = PffToZarrConfig(time_chunk=64)


def ingest(run: Path, l0_dir: Path, settings: PffToZarrConfig = SMALL_CHUNKS, **options):
    """Append the one stream of a run to its store, in two threads."""
    listing = list_run(run)
    (key,) = listing.keys
    l0_dir.mkdir(exist_ok=True)
    with ThreadExecutor(2) as executor:
        return ingest_stream(listing, key, l0_dir, settings, executor, **options)


def overwrite(file: Path, data: bytes) -> None:
    """Replace a file's content in place; at no moment is it empty, whatever stalls this process."""
    with file.open("r+b") as opened:
        opened.write(data)
        opened.truncate(len(data))


def frame_files(run: Path) -> list[Path]:
    """Return the non-empty frame files of a run, by seqno."""
    files = [file for file in run.glob("*dp_*.pff") if file.stat().st_size]
    return sorted(files, key=lambda file: int(file.name.split("seqno_")[1].split(".")[0]))


def read_arrays(store: Path) -> dict[str, np.ndarray]:
    """Read every array of a store through its consolidated metadata, with zarr-python."""
    group = zarr.open_group(store, mode="r", use_consolidated=True)
    return {
        path: np.asarray(member[...])
        for path, member in group.members(max_depth=None)
        if isinstance(member, zarr.Array)
    }


def assert_equal_arrays(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Compare two stores' arrays: the same paths, dtypes and values."""
    assert found.keys() == expected.keys()
    for path, values in expected.items():
        assert found[path].dtype == values.dtype, path
        np.testing.assert_array_equal(found[path], values, err_msg=path)


def assert_same_store(found: Path, expected: Path) -> None:
    """Compare two L0 stores of one run: chunk for chunk, document for document.

    What may differ is which store it is, and in how many commits it was made.
    """
    assert chunk_digests(found) == chunk_digests(expected)
    for path in expected.rglob("zarr.json"):
        place = path.relative_to(expected)
        mine, theirs = (json.loads((store / place).read_bytes()) for store in (found, expected))
        for document in (mine, theirs):
            for key in ("store_id", "commit"):
                document["attributes"].pop(key, None)
        assert mine == theirs, place


def chunk_digests(store: Path) -> dict[str, str]:
    """Return the digest of every chunk of a store, by path."""
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file() and path.name != "zarr.json"
    }


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Return inode and mtime of every file below a directory: what must not change."""
    return {
        str(path.relative_to(root)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }
