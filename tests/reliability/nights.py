"""Small runs for the tests of faults, and what their stores must hold."""

import json
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import zarr
from processes import SMALL_CHUNKS
from support.reference_store import reference_arrays
from support.stores import chunk_digests, frame_files, ingest, read_arrays

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run

SETTINGS = PffToZarrConfig(**SMALL_CHUNKS)
VARYING = {"store_id", "commit", "l0_store_id", "l0_commit"}
"""Root attributes in which two stores of the same run differ."""


def simulate(root, n_frames=52, *, product="ph256", files_of=20, seed=0):
    """Simulate a run of one stream in files of this many frames."""
    plan = RunPlan(
        streams=(StreamPlan(product, 1, n_frames),),
        max_file_size_mb=max_file_size_mb(product, files_of),
        seed=seed,
    )
    return simulate_run(root, plan)


def link_run(run: Path, root: Path, n_files: int) -> Path:
    """Return a run of the same name with the first files of another: the same inodes."""
    linked = root / run.name
    shutil.copytree(run, linked, ignore=shutil.ignore_patterns("*dp_*.pff"))
    for file in frame_files(run)[:n_files]:
        os.link(file, linked / file.name)
    return linked


@dataclass(frozen=True)
class Night:
    """A stream of a run, and the store that an undisturbed ingest makes of it.

    Attributes
    ----------
    run : Path
    undisturbed : Path
        The L0 store.
    first_file : Path, optional
        The same run with its first file alone: the same inode.
    """

    run: Path
    undisturbed: Path
    first_file: Path | None = None

    @property
    def name(self) -> str:
        """Of the store."""
        return self.undisturbed.name

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """What every array must hold, by the oracle that shares no code with the package."""
        product = self.name.split(".dp_")[1].split(".")[0]
        files = [file for file in frame_files(self.run) if f".dp_{product}." in file.name]
        return reference_arrays(files, product)

    @cached_property
    def digests(self) -> dict[str, str]:
        """Of every chunk."""
        return chunk_digests(self.undisturbed)

    @property
    def n_frames(self) -> int:
        """Frames of the run."""
        return len(self.arrays["images"])

    def assert_readable(self, l0_dir: Path, at_least: int = 0) -> int:
        """Check that a reader sees whole, committed frames only; return how many.

        The store may not be there yet when ``at_least`` is 0.
        """
        store = l0_dir / self.name
        if not store.exists() and at_least == 0:
            return 0
        found = read_arrays(store)
        n_frames = zarr.open_group(store, mode="r", use_consolidated=True).attrs["n_frames"]
        assert n_frames >= at_least, "committed frames are gone"
        assert found.keys() == self.arrays.keys()
        for path, values in found.items():
            assert len(values) == n_frames, f"{path} is ragged"
            np.testing.assert_array_equal(values, self.arrays[path][:n_frames], err_msg=path)
            own = json.loads((store / path / "zarr.json").read_text())
            assert own["shape"][0] >= n_frames, f"{path} is behind the commit"
        return n_frames

    def assert_finished(self, l0_dir: Path) -> None:
        """Check that the store equals the undisturbed one, and that nothing else lies there.

        Chunk for chunk, and document for document but for `VARYING`.
        """
        store = l0_dir / self.name
        self.assert_readable(l0_dir, at_least=self.n_frames)
        assert chunk_digests(store) == self.digests
        for path in self.undisturbed.rglob("zarr.json"):
            place = path.relative_to(self.undisturbed)
            assert document(store / place) == document(path), place
        assert {path.suffix for path in l0_dir.iterdir()} <= {".zarr", ".lock"}

    def finish(self, l0_dir: Path, **options) -> None:
        """Ingest what is left, in this process, and check the end."""
        ingest(self.run, l0_dir, SETTINGS, **options)
        self.assert_finished(l0_dir)

    def n_committed(self, l0_dir: Path) -> int:
        """Return the frames that readers see; 0 where there is no store."""
        store = l0_dir / self.name
        return read_state(store).n_frames if store.exists() else 0


def make_night(root: Path, **options) -> Night:
    """Simulate a run below a directory, and ingest it undisturbed."""
    return night_of(simulate(root / "data", **options), root)


def night_of(run: Path, root: Path) -> Night:
    """Ingest a run undisturbed."""
    first_file = link_run(run, root / "first_file", 1)
    return Night(run, ingest(run, root / "undisturbed", SETTINGS).store_path, first_file)


def document(path: Path):
    """Return a ``zarr.json`` without what differs between two stores of the same run."""
    document = json.loads(path.read_text())
    attributes = document.get("attributes", {})
    document["attributes"] = {k: v for k, v in attributes.items() if k not in VARYING}
    return document
