"""A baseline on its way from the tasks that count to those that subtract: files in staging.

They are for the moment of one build, and not synced.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from panoseti_zarr.core.l1.histogram import Tally, TallySum
from panoseti_zarr.core.l1.statistics import Statistics, settle
from panoseti_zarr.core.l1.windows import Windows
from panoseti_zarr.errors import TransientIOError, declared_errors
from panoseti_zarr.io.l1.metadata import BASELINE
from panoseti_zarr.io.zarr3.metadata import Json, chunk_path
from panoseti_zarr.io.zarr3.shards import new_chunk

Int64 = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# NumPy reads the header of an array with `ast.literal_eval`, which CPython 3.11 cannot do in two
# threads at once (python/cpython#106905: "AST constructor recursion depth mismatch").
_HEADER_LOCK = threading.Lock()

_HEADER_BYTES = 8
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Sample:
    """Frames of images that count for the supermedian.

    Attributes
    ----------
    images : ndarray of uint8 or uint16, shape (n_frames, n_pixels)
    present : ndarray of bool, shape (n_frames, 4)
        Whether a quabo's pixels are not masked.
    rows : ndarray of int64, shape (n_frames,)
        The row of the baseline that applies to each.
    """

    images: npt.NDArray[np.integer]
    present: npt.NDArray[np.bool_]
    rows: Int64


@dataclass(frozen=True)
class BaselineFiles:
    """The values of a baseline, a file each: a table of float64, a row after the other.

    Read and written, never mapped into memory: a full disk is then an error, not a signal.

    Attributes
    ----------
    folder : str
        Where the files are.
    """

    folder: str

    def make(self, name: str, n_rows: int, n_columns: int) -> None:
        """Make a table full of NaN."""
        blank = np.full((min(n_rows, _ROWS_AT_ONCE), n_columns), np.nan)
        with declared_errors("writing the baseline"), open(self._path(name), "wb") as file:
            file.write(np.int64(n_columns).tobytes())
            for start in range(0, n_rows, _ROWS_AT_ONCE):
                file.write(blank[: n_rows - start].tobytes())

    def set_rows(self, name: str, rows: Int64, values: Floats) -> None:
        """Set some rows of a table; ``values`` has a row for each."""
        with declared_errors("writing the baseline"), open(self._path(name), "r+b") as file:
            for row, row_values in zip(rows.tolist(), values, strict=True):
                file.seek(_HEADER_BYTES + row * row_values.nbytes)
                file.write(row_values.tobytes())

    def load(self, name: str, rows: Int64) -> Floats:
        """Read some rows of a table, ascending."""
        with declared_errors("reading the baseline"), open(self._path(name), "rb") as file:
            n_columns = int(np.frombuffer(file.read(_HEADER_BYTES), np.int64)[0])
            result = np.empty((len(rows), n_columns))
            runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)
            for run in (run for run in runs if len(run)):
                file.seek(_HEADER_BYTES + int(rows[run[0]]) * n_columns * result.itemsize)
                part = result[run[0] : run[-1] + 1]
                if file.readinto(part.data) != part.nbytes:
                    raise TransientIOError(f"the table {name} is cut short", path=file.name)
            return result

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, f"{name}.rows")


class WindowBaseline:
    """Puts the statistics of windows together, from those of chunks in the order of time.

    Parameters
    ----------
    files : BaselineFiles
        Receives the values.
    windows : Windows
    n_groups : int
        Pixels or blocks.
    median, sigma : str
        Names of the tables; no sigma is kept where its name is empty.
    """

    def __init__(
        self, files: BaselineFiles, windows: Windows, n_groups: int, median: str, sigma: str = ""
    ) -> None:
        self._files = files
        self._windows = windows
        self._n_groups = n_groups
        self._median, self._sigma = median, sigma
        self._open = TallySum()
        self._ends = np.unique(windows.stops)
        for name in filter(None, (median, sigma)):
            files.make(name, windows.n_windows * windows.n_boards, n_groups)

    def add(self, statistics: Statistics, start: int, stop: int) -> None:
        """Add what was found in the frames ``[start, stop)``."""
        self._set(statistics)
        self._open.add(statistics.partial)
        ends = np.searchsorted(self._ends, [start, stop], side="right")
        if ends[0] < ends[1]:
            is_whole = self._windows.lie_within(0, stop)
            settled = settle(self._open.total(), self._n_groups, is_whole)
            self._set(settled)
            self._open = TallySum()
            self._open.add(settled.partial)

    def _set(self, statistics: Statistics) -> None:
        self._files.set_rows(self._median, statistics.rows, statistics.medians)
        if self._sigma:
            self._files.set_rows(self._sigma, statistics.rows, statistics.sigmas)


def save_windows(staging: str, windows: Windows) -> str:
    """Write windows into a file of a random name; return its path."""
    return _save(staging, starts=windows.starts, stops=windows.stops)


def load_windows(path: str, n_frames: int) -> Windows:
    """Read the windows of a stream of ``n_frames`` frames."""
    values = _load(path)
    return Windows(values["starts"], values["stops"], n_frames)


def save_statistics(staging: str, statistics: Statistics) -> str:
    """Write statistics into a file of a random name; return its path."""
    return _save(
        staging,
        rows=statistics.rows,
        medians=statistics.medians,
        sigmas=statistics.sigmas,
        keys=statistics.partial.keys,
        counts=statistics.partial.counts,
    )


def load_statistics(path: str) -> Statistics:
    """Read statistics."""
    values = _load(path)
    tally = Tally(values["keys"], values["counts"])
    return Statistics(values["rows"], values["medians"], values["sigmas"], tally)


def save_sample(path: str, sample: Sample) -> None:
    """Write a sample beside the statistics at ``path``."""
    with declared_errors("writing a sample"), open(_sample_path(path), "wb") as file:
        np.savez(file, images=sample.images, present=sample.present, rows=sample.rows)


def load_sample(path: str) -> Sample:
    """Read the sample beside the statistics at ``path``."""
    return Sample(**_load(_sample_path(path)))


def remove_statistics(path: str) -> None:
    """Remove statistics that have been taken in."""
    with declared_errors("removing statistics"):
        os.remove(path)


def write_baseline(
    store: str, documents: dict[str, Json], files: BaselineFiles, windows: Windows
) -> None:
    """Write the arrays of ``baseline/`` of a store whose documents are there."""
    positions = {"window_start": windows.starts, "window_stop": windows.stops}
    with declared_errors("writing the baseline"):
        for path, document in documents.items():
            if document["node_type"] != "array" or not path.startswith(f"{BASELINE}/"):
                continue
            name, n_boards = path.split("/")[1], windows.n_boards
            for start, stop, target in _chunks(store, path, document):
                if name in positions:
                    values = positions[name][start:stop].astype(document["data_type"])
                elif document["dimension_names"][0] == "window":
                    values = files.load(name, np.arange(start * n_boards, stop * n_boards))
                else:
                    values = files.load(name, np.arange(1))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with new_chunk(target, document) as chunk:
                    chunk.add(values.reshape(stop - start, *document["shape"][1:]))


def _chunks(store: str, path: str, document: Json) -> Iterator[tuple[int, int, str]]:
    """Yield the begin, end (along the first dimension) and path of each chunk of an array."""
    length, n_dims = document["shape"][0], len(document["shape"])
    step = document["chunk_grid"]["configuration"]["chunk_shape"][0]
    for index, start in enumerate(range(0, length, step)):
        yield start, min(start + step, length), f"{store}/{chunk_path(path, index, n_dims)}"


def _save(staging: str, **values: Any) -> str:
    path = os.path.join(staging, f"{uuid.uuid4().hex}.npz")
    with declared_errors("writing statistics"), open(path, "wb") as file:
        np.savez(file, **values)
    return path


def _load(path: str) -> dict[str, Any]:
    with declared_errors("reading statistics"), _HEADER_LOCK, np.load(path) as values:
        return dict(values)


def _sample_path(path: str) -> str:
    return f"{path}.sample.npz"
