"""The windows of frames that share one baseline.

Windows are consecutive runs of ``size`` counted frames; what is left at the end (fewer) belongs
to the last whole one. Frames of images count by position, those of pulse height only if they are
not masked as a whole, and those of ``ph256`` each for its own board.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """The windows of a stream.

    A board with fewer windows than another has empty ones after its own: ``starts`` and ``stops``
    are then ``n_frames``.

    Attributes
    ----------
    starts, stops : ndarray of int64, shape (n_windows, n_boards)
        Position of the first frame that counts in the window, and one past that of the last.
    n_frames : int
        Of the stream.
    """

    starts: Int64
    stops: Int64
    n_frames: int

    @property
    def n_windows(self) -> int:
        """Windows of the board that has most; at least 1."""
        return int(self.starts.shape[0])

    @property
    def n_boards(self) -> int:
        """Boards that have windows of their own."""
        return int(self.starts.shape[1])

    def lie_within(self, start: int, stop: int) -> npt.NDArray[np.bool_]:
        """Say of each baseline row whether all its frames lie in ``[start, stop)``.

        Returns
        -------
        ndarray of bool, shape (n_windows * n_boards,)
        """
        return np.asarray((self.starts >= start) & (self.stops <= stop)).ravel()

    def rows_of(self, board: int, positions: Int64) -> Int64:
        """Return the baseline row, ``window * n_boards + board``, that applies to each frame.

        It is that of the last window which begins at or before the frame, or else the first.
        """
        window = np.searchsorted(self.starts[:, board], positions, side="right") - 1
        return np.asarray(np.maximum(window, 0) * self.n_boards + board)

    def rows_of_positions(self, positions: Int64, boards: npt.NDArray[np.integer]) -> Int64:
        """Return the baseline row of frames of several boards; -1 where the board is negative.

        Parameters
        ----------
        positions, boards : ndarray of int, shape (n,)
        """
        rows = np.full(len(positions), -1, np.int64)
        for board in range(self.n_boards):
            mine = boards == board
            rows[mine] = self.rows_of(board, positions[mine])
        return rows


def position_windows(n_frames: int, size: int) -> Windows:
    """Return windows that count every frame by its position.

    Parameters
    ----------
    n_frames : int
        Of the stream.
    size : int
        Frames of a window; 0 for one window over the whole stream.
    """
    n_windows = max(1, n_frames // size) if size else 1
    starts = np.arange(n_windows, dtype=np.int64) * size
    stops = np.append(starts[1:], n_frames)
    return Windows(starts[:, np.newaxis], stops[:, np.newaxis], n_frames)


def first_window(n_frames: int, size: int) -> Windows:
    """Return the one window of the first ``size`` frames, or of all where there are fewer."""
    stops = np.array([[min(size, n_frames)]], np.int64)
    return Windows(np.zeros((1, 1), np.int64), stops, n_frames)


class WindowFinder:
    """Finds the windows of a stream in which not every frame counts.

    Parameters
    ----------
    size : int
        Counted frames of a window; 0 for one window over the whole stream.
    n_boards : int
        Boards that have windows of their own.
    first_only : bool
        Only the first window is wanted.
    """

    def __init__(self, size: int, n_boards: int, *, first_only: bool) -> None:
        self._size = size
        self._first_only = first_only
        self._n_counted = [0] * n_boards
        self._last = [0] * n_boards
        self._starts: list[list[Int64]] = [[] for _ in range(n_boards)]
        self._stops: list[list[Int64]] = [[] for _ in range(n_boards)]

    @property
    def is_done(self) -> bool:
        """Whether no further frame can change the windows."""
        return self._first_only and self._size > 0 and min(self._n_counted) >= self._size

    def add(self, first_frame: int, boards: npt.NDArray[np.integer]) -> None:
        """Count the next frames.

        Parameters
        ----------
        first_frame : int
            Position of the first.
        boards : ndarray of int, shape (n,)
            The board that each counts for; negative for none.
        """
        for board, n_before in enumerate(self._n_counted):
            positions = np.flatnonzero(boards == board) + first_frame
            if not len(positions):
                continue
            ordinals = np.arange(n_before, n_before + len(positions))
            if self._size:
                ordinals %= self._size
            self._starts[board].append(positions[ordinals == 0])
            self._stops[board].append(positions[ordinals == self._size - 1] + 1)
            self._n_counted[board] += len(positions)
            self._last[board] = int(positions[-1]) + 1

    def windows(self, n_frames: int) -> Windows:
        """Return the windows of the stream of ``n_frames`` frames."""
        bounds = [self._bounds(board) for board in range(len(self._n_counted))]
        n_windows = max(1, *(len(starts) for starts, _ in bounds))
        shape = (n_windows, len(bounds))
        all_starts, all_stops = np.full(shape, n_frames), np.full(shape, n_frames)
        for board, (starts, stops) in enumerate(bounds):
            all_starts[: len(starts), board] = starts
            all_stops[: len(stops), board] = stops
        return Windows(all_starts, all_stops, n_frames)

    def _bounds(self, board: int) -> tuple[Int64, Int64]:
        starts = np.concatenate([np.empty(0, np.int64), *self._starts[board]])
        stops = np.concatenate([np.empty(0, np.int64), *self._stops[board]])
        if self._first_only:
            starts, stops = starts[:1], stops[:1]
        if len(stops) == 0 and len(starts):
            return starts[:1], np.array([self._last[board]])
        if not self._first_only and len(stops):
            starts = starts[: len(stops)]
            stops[-1] = self._last[board]
        return starts, stops
