"""A run for the tests of readers: its files arrive one by one, and its store grows."""

import os
import shutil
from pathlib import Path

from panoseti_zarr.config import PffToZarrConfig
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, max_file_size_mb, simulate_run
from support.reference_store import reference_arrays
from support.stores import frame_files, ingest

SHARDS = PffToZarrConfig(time_chunk=64, inner_chunk=16, max_concurrent_writes=1)
N_FIRST, N_FRAMES = 40, 150


class ArrivingRun:
    """A run whose files of 40 frames arrive one after the other, and its store."""

    def __init__(self, root: Path, product: str = "img16") -> None:
        self._product = product
        plan = RunPlan(
            streams=(StreamPlan(product, 1, N_FRAMES),),
            max_file_size_mb=max_file_size_mb(product, N_FIRST),
        )
        self.run = simulate_run(root / "data", plan)
        self.arrays = reference_arrays(frame_files(self.run), product)
        self.l0_dir = root / "l0"
        self._arriving = root / "arriving" / self.run.name
        shutil.copytree(self.run, self._arriving, ignore=shutil.ignore_patterns("*dp_*.pff"))

    def commit(self, n_files: int, **options) -> Path:
        """Ingest the first files, and close; return the store."""
        for file in frame_files(self.run)[:n_files]:
            if not (self._arriving / file.name).exists():
                os.link(file, self._arriving / file.name)
        return ingest(self._arriving, self.l0_dir, SHARDS, **options).store_path

    @property
    def store(self) -> Path:
        """Where it is, or will be."""
        return self.l0_dir / f"{self.run.name}.dp_{self._product}.module_1.zarr"
