"""The least an L1 store can cost: ``l1_floor.py L0 L1`` reads L0 twice and writes L1 once.

TensorStore in two threads, ``images`` only, with the chunks and codecs of an L1 store that is
there. What is written is a constant per pixel subtracted (images) or NaN (pulse height), so that
it takes about the room of a real one. Prints the seconds, process start apart.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from panoseti_zarr.io.fs.durable import sync_file
from panoseti_zarr.io.fs.malloc import tune_malloc
from panoseti_zarr.io.fs.scratch import scratch

tune_malloc()


def open_array(store: Path, document: dict[str, object]) -> Any:
    """Open the images of a store as their document says, whatever is there."""
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{store}/images/"},
        "metadata": document,
        "store_data_equal_to_fill_value": True,
    }
    context = tensorstore.Context({"file_io_sync": False, "data_copy_concurrency": {"limit": 2}})
    opened = tensorstore.open(spec, open=True, assume_metadata=True, context=context)
    return opened.result()


def main(l0: Path, l1: Path, out: Path) -> None:
    """Read twice, write once."""
    source = json.loads((l0 / "images/zarr.json").read_text())
    target = json.loads((l1 / "images/zarr.json").read_text())
    n_frames, *frame = source["shape"]
    step = source["chunk_grid"]["configuration"]["chunk_shape"][0]
    is_pulse_height = source["data_type"].startswith("int")
    dtype = np.dtype(source["data_type"])

    def read(index: int) -> np.ndarray:
        start, stop = index * step, min((index + 1) * step, n_frames)
        images = scratch("raw", (stop - start, *frame), dtype)
        target_array = tensorstore.array(images, copy=False, write=True)
        target_array.write(open_array(l0, source)[start:stop]).result()
        return images

    def write(index: int) -> None:
        images, start = read(index), index * step
        pixels = scratch("out", (step, *frame), np.dtype(np.float32))
        if is_pulse_height:
            pixels[...] = np.nan
        else:
            pixels[len(images) :] = np.nan
            for first in range(0, len(images), 256):
                part = slice(first, min(first + 256, len(images)))
                np.subtract(images[part], images[0], out=pixels[part], dtype=np.float32)
                np.divide(pixels[part], np.float32(1.5), out=pixels[part])
        array = open_array(out, {**target, "shape": [start + step, *frame]})
        chunk = array[start : start + step]
        chunk.write(pixels, can_reference_source_data_indefinitely=True).result()
        sync_file(out / f"images/c/{index}/0/0")

    started = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        for task in (read, write):
            for _ in threads.map(task, range(-(-n_frames // step))):
                pass
    print(f"floor: {n_frames} frames, {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    paths = [Path(word) for word in sys.argv[1:3]]
    scratch_dir = Path(tempfile.mkdtemp(prefix="l1-floor-", dir=paths[1].parent))
    try:
        main(*paths, scratch_dir)
    finally:
        shutil.rmtree(scratch_dir)
