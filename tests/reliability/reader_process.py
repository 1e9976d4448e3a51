"""A process that reads a store again and again while it is written, and checks what it sees.

Run with a directory that holds ``reference.npz`` and, one after the other, ``l0_0``, ``l0_1``, …,
each with one store; it ends when there is a file ``stop``, with one JSON object on stdout. A file
``n_reads`` says how far it is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray
import zarr

Arrays = dict[str, npt.NDArray[np.generic]]


def read_with_zarr(store: Path) -> Arrays:
    """Read every array through the consolidated metadata, with zarr-python."""
    group = zarr.open_group(store, mode="r", use_consolidated=True)
    return {
        path: np.asarray(member[...])
        for path, member in group.members(max_depth=None)
        if isinstance(member, zarr.Array)
    }


def read_with_xarray(store: Path) -> Arrays:
    """Read the arrays of the root, with xarray; times as they are stored."""
    with xarray.open_zarr(store, consolidated=True, decode_times=False) as dataset:
        return {str(name): np.asarray(array) for name, array in dataset.variables.items()}


def check(found: Arrays, reference: Arrays, at_least: int) -> int:
    """Compare what was read with what the frames are; return how many there were."""
    (n_frames,) = {len(values) for values in found.values()}
    if n_frames < at_least:
        raise AssertionError(f"{n_frames} frames after {at_least}")
    for path, values in found.items():
        np.testing.assert_array_equal(values, reference[path][:n_frames], err_msg=path)
    return n_frames


def main() -> None:
    """Read until told to stop."""
    root = Path(sys.argv[1])
    reference = dict(np.load(root / "reference.npz"))
    n_stores = n_reads = n_frames = n_advances = 0
    while not (root / "stop").exists():
        if (root / f"l0_{n_stores}").exists():
            n_stores += 1
            n_frames = 0
        store = next((root / f"l0_{n_stores - 1}").glob("*.zarr"), None)
        if store is None:
            continue
        read = read_with_xarray if n_reads % 4 == 3 else read_with_zarr
        n_found = check(read(store), reference, n_frames)
        n_advances += n_found > n_frames
        n_frames = n_found
        n_reads += 1
        (root / "n_reads").write_text(str(n_reads))
    print(json.dumps({"n_stores": n_stores, "n_reads": n_reads, "n_advances": n_advances}))  # noqa: T201 - its result


if __name__ == "__main__":
    main()
