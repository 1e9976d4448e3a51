"""Makes the L1 store of a closed L0 store: the coordinator of the baseline subtraction.

Two passes of tasks over the chunks: statistics, which are put together into the baseline, then the
subtraction. The store is built beside its place and appears there whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from panoseti_zarr.cluster.executor import Executor
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.core.l1.histogram import TallySum
from panoseti_zarr.core.l1.medians import medians
from panoseti_zarr.core.l1.statistics import single_window_baseline
from panoseti_zarr.core.l1.windows import Windows
from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    StopRequestedError,
    TransientIOError,
    declared_errors,
)
from panoseti_zarr.io.l0.metadata import L0State, read_state
from panoseti_zarr.io.l1.baseline_files import (
    BaselineFiles,
    WindowBaseline,
    load_statistics,
    load_windows,
    remove_statistics,
    write_baseline,
)
from panoseti_zarr.io.l1.builder import L1Builder, StagedL1Chunk, open_builder
from panoseti_zarr.io.l1.job import L1Job
from panoseti_zarr.io.l1.metadata import (
    image_document,
    l1_attributes,
    l1_documents,
    read_source,
    source_of,
)
from panoseti_zarr.io.l1.tasks import count_chunk, count_residuals, find_windows, subtract_chunk
from panoseti_zarr.model import PRODUCTS
from panoseti_zarr.pipeline.ordered import run_in_order

R = TypeVar("R")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class L1Result:
    """What was made.

    Attributes
    ----------
    path : Path
        The L1 store.
    n_frames : int
    n_bytes : int
        Size of the store.
    seconds : float
    """

    path: Path
    n_frames: int
    n_bytes: int
    seconds: float


def make_l1(
    l0_path: Path,
    l1_path: Path,
    settings: BaselineSubtractConfig,
    executor: Executor,
    *,
    stop: Event | None = None,
) -> L1Result:
    """Make the L1 store of a closed L0 store; one that exists is replaced in one step.

    Parameters
    ----------
    l0_path, l1_path : Path
        The stores; the directory of the L1 store is made if missing.
    settings : BaselineSubtractConfig
    executor : Executor
        Runs the tasks.
    stop : threading.Event, optional
        When set, the work ends and nothing has changed.

    Raises
    ------
    InputError
        There is no closed L0 store, or something else is where the L1 store shall be.
    CorruptDataError
        What the L0 store holds cannot be read.
    TransientIOError
        A transient failure of disk or cluster, or the L0 store changed meanwhile: retry later.
    StoreLockedError
        Another process makes this L1 store.
    StopRequestedError
        ``stop`` was set.
    """
    started = time.monotonic()
    l0_path, l1_path = l0_path.absolute(), l1_path.absolute()
    state = _closed_state(l0_path)
    if l0_path in l1_path.parents:
        raise InputError("the L1 store must not lie inside the L0 store", path=str(l1_path))
    with open_builder(l1_path) as builder:
        try:
            build = L1Build(l0_path, state, settings, builder, executor, stop or Event())
            n_bytes = build.run()
        except CorruptDataError:
            # A store that was replaced or removed under the tasks is not a broken one.
            _check_unchanged(l0_path, state)
            raise
    return L1Result(l1_path, state.n_frames, n_bytes, time.monotonic() - started)


def l1_matches(l0_path: Path, l1_path: Path) -> bool:
    """Say whether an L1 store is there that was made from the L0 store as it stands.

    Settings and version do not count: a changed configuration remakes nothing by itself.

    Raises
    ------
    InputError
        There is no L0 store.
    CorruptDataError
        The L0 store's root document is not whole.
    """
    state = read_state(l0_path)
    try:
        return read_source(l1_path) == source_of(state)
    except InputError:
        return False


class L1Build:
    """One L1 store in the making."""

    def __init__(
        self,
        l0_path: Path,
        state: L0State,
        settings: BaselineSubtractConfig,
        builder: L1Builder,
        executor: Executor,
        stop: Event,
    ) -> None:
        self._l0_path = l0_path
        self._state = state
        self._settings = settings
        self._builder = builder
        self._executor = executor
        self._stop = stop
        self._files = BaselineFiles(str(builder.staging))
        product = PRODUCTS[state.product]
        self._job = L1Job(
            store=str(l0_path),
            documents=state.array_documents,
            image_document=image_document(state.documents["images"], product, settings),
            product=state.product,
            n_frames=state.n_frames,
            time_chunk=state.time_chunk,
            settings=settings,
            staging=str(builder.staging),
        )

    def run(self) -> int:
        """Build the store and put it in its place; return its size, bytes."""
        job = self._job
        paths: list[str] = []
        self._run(find_windows, [(job,)], paths.append)
        windows_path = paths[0]
        windows = load_windows(windows_path, job.n_frames)
        if job.layout.is_pulse_height:
            self._find_pedestals(windows, windows_path)
        elif job.has_running_windows:
            self._find_running_baseline(windows, windows_path)
        else:
            self._find_single_baseline(windows, windows_path)
        documents = l1_documents(self._state, self._settings, windows.n_windows)
        with declared_errors("building the L1 store"):
            self._builder.create(documents)
            write_baseline(str(self._builder.new_path), documents, self._files, windows)
        arrays = list(job.documents)
        chunks = ((job, windows_path, self._files, index) for index in range(job.n_chunks))

        def add(staged: StagedL1Chunk) -> None:
            with declared_errors("building the L1 store"):
                self._builder.add_chunk(staged, arrays)

        self._run(subtract_chunk, chunks, add)
        _check_unchanged(self._l0_path, self._state)
        self._check_stop()
        with declared_errors("putting the L1 store in its place"):
            return self._builder.publish(l1_attributes(self._state, self._settings))

    def _find_pedestals(self, windows: Windows, windows_path: str) -> None:
        n_pixels = self._job.layout.height * self._job.layout.width
        baseline = WindowBaseline(self._files, windows, n_pixels, "pedestal", "sigma")

        def add(index: int, path: str) -> None:
            baseline.add(load_statistics(path), *self._job.chunk_range(index))
            remove_statistics(path)

        self._count(windows, windows_path, add)

    def _find_running_baseline(self, windows: Windows, windows_path: str) -> None:
        """Find each window's block medians, then the supermedian of what they leave."""
        n_blocks = int(self._job.blocks.max()) + 1
        baseline = WindowBaseline(self._files, windows, n_blocks, "block_median")
        paths: list[str] = []

        def add(index: int, path: str) -> None:
            baseline.add(load_statistics(path), *self._job.chunk_range(index))
            paths.append(path)

        self._count(windows, windows_path, add)
        residuals = TallySum()

        def add_residuals(path: str) -> None:
            residuals.add(load_statistics(path).partial)
            remove_statistics(path)

        samples = ((self._job, path, self._files) for path in paths)
        self._run(count_residuals, samples, add_residuals)
        supermedian = medians(residuals.total(), len(self._job.blocks)) / 2
        self._save_row("supermedian", supermedian)

    def _find_single_baseline(self, windows: Windows, windows_path: str) -> None:
        """Find the baseline of images that have one window, from the values of each pixel."""
        pixels = TallySum()

        def add(index: int, path: str) -> None:
            pixels.add(load_statistics(path).partial)
            remove_statistics(path)

        self._count(windows, windows_path, add)
        block_medians, supermedian = single_window_baseline(pixels.total(), self._job.blocks)
        self._save_row("block_median", block_medians)
        self._save_row("supermedian", supermedian)

    def _save_row(self, name: str, values: Floats) -> None:
        self._files.make(name, 1, len(values))
        self._files.set_rows(name, np.arange(1), values[np.newaxis])

    def _count(self, windows: Windows, windows_path: str, take: Callable[[int, str], None]) -> None:
        """Count the chunks that have frames of a window; take their indices and results."""
        used = windows.starts < windows.stops
        starts, stops = windows.starts[used], windows.stops[used]
        chunks = []
        for index in range(self._job.n_chunks):
            start, stop = self._job.chunk_range(index)
            if np.any((starts < stop) & (stops > start)):
                chunks.append(index)
        in_order = iter(chunks)
        self._run(
            count_chunk,
            ((self._job, windows_path, index) for index in chunks),
            lambda path: take(next(in_order), path),
        )

    def _run(
        self,
        task: Callable[..., R],
        arguments: Iterable[tuple[object, ...]],
        take: Callable[[R], None],
    ) -> None:
        def take_all(results: list[R]) -> None:
            for result in results:
                take(result)

        run_in_order(self._executor, task, arguments, take_all, check_stop=self._check_stop)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise StopRequestedError(f"{self._builder.path.name}: stopped; it is as it was")


def _closed_state(l0_path: Path) -> L0State:
    state = read_state(l0_path)
    if not state.closed:
        raise InputError("the L0 store is not closed: frames may still come", path=str(l0_path))
    return state


def _check_unchanged(l0_path: Path, state: L0State) -> None:
    try:
        if source_of(read_state(l0_path)) == source_of(state):
            return
    except InputError:
        pass
    raise TransientIOError("the L0 store was changed while it was read", path=str(l0_path))
