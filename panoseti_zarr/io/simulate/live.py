"""Records a simulated run in real time, as the DAQ does.

Frames have the times at which they are due, and none is written before. A recorder that comes
late writes all that is due by then: nothing is dropped, and no time is shifted.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr.errors import ConfigError, from_os_error
from panoseti_zarr.io.simulate.daq_file import DaqFile
from panoseti_zarr.io.simulate.defects import CutTail, MissingSeqno, StubFile
from panoseti_zarr.io.simulate.directory import (
    add_housekeeping,
    frames_dir,
    make_run_dirs,
    open_files,
    write_marker,
)
from panoseti_zarr.io.simulate.frames import arrival_ns, live_blocks
from panoseti_zarr.io.simulate.pieces import Piece, print_pieces
from panoseti_zarr.io.simulate.plan import RunPlan, StreamPlan
from panoseti_zarr.model import StreamKey

_TICK_S = 0.1
_S = 1_000_000_000
_HOUSEKEEPING_NS = _S


@dataclass(frozen=True)
class Recording:
    """A run that was recorded.

    Attributes
    ----------
    run_dir : pathlib.Path
    start_ns : int
        When the DAQ opened its files: the time of the first images, ns since 1970-01-01 UTC.
    n_frames : dict of StreamKey to int
        Frames written of each stream; fewer than planned where it was stopped.
    """

    run_dir: Path
    start_ns: int
    n_frames: dict[StreamKey, int]


def check_live(plan: RunPlan) -> None:
    """Refuse defects that are of copies of a finished run, with `ConfigError`."""
    if any(isinstance(defect, MissingSeqno | StubFile) for defect in plan.defects):
        raise ConfigError(
            "missing-seqno and stub-file are defects of copied files: a live recording has neither"
        )


def record_run(
    root: Path,
    plan: RunPlan,
    *,
    overwrite: bool = False,
    stop: threading.Event | None = None,
    on_frames: Callable[[StreamKey, int], None] | None = None,
    clock: Callable[[], int] = time.time_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Recording:
    """Record a run: return when all its frames were due, or when stopped.

    Frame files grow by `daq_file.BUFFER_BYTES`. The one that passes the largest size is closed
    then and the next opened, the last ones are closed at the end; the markers follow.

    Parameters
    ----------
    root : pathlib.Path
        Where to make it; made if missing.
    plan : RunPlan
        Its ``start`` is in the names of the run alone: frame files are named by the time at
        which they are opened, frames stamped with the time at which they are due.
    overwrite : bool
        Replace a run of that name, if it was simulated too.
    stop : threading.Event, optional
        Ends the recording in an orderly way, within a tenth of a second; may be set in a signal
        handler of the thread that records.
    on_frames : callable, optional
        Told, for each stream, how many frames are written.
    clock : callable
        Gives the time, ns since 1970-01-01 UTC.
    sleep : callable
        Lets this many seconds pass.

    Returns
    -------
    Recording

    Raises
    ------
    ConfigError
        For a defect that a recording cannot have.
    InputError
        Where something of that name is there that may not be replaced.
    """
    check_live(plan)
    try:
        run_dir = make_run_dirs(root, plan, overwrite=overwrite)
        with contextlib.closing(_Recorder(root, run_dir, plan, clock())) as recorder:
            is_over = False
            while not is_over:
                # Not waited for: a signal handler could not set an event that its thread locks.
                is_stopped = stop is not None and stop.is_set()
                is_over = recorder.advance(clock()) or is_stopped
                if on_frames is not None:
                    for stream in recorder.streams:
                        on_frames(stream.key, stream.n_frames)
                if not is_over:
                    sleep(_TICK_S)
            recorder.finish(clock())
    except OSError as error:
        raise from_os_error(error, "recording the simulated run") from error
    n_frames = {stream.key: stream.n_frames for stream in recorder.streams}
    return Recording(run_dir, recorder.start_ns, n_frames)


class _Recorder:
    """The DAQ, and what the control software does while it records."""

    def __init__(self, root: Path, run_dir: Path, plan: RunPlan, start_ns: int) -> None:
        self.start_ns = start_ns
        self._run_dir, self._plan = run_dir, plan
        self._next_housekeeping_ns = start_ns
        if plan.empty_files:
            open_files(root, plan, _after_start_s(plan, start_ns))
        self.streams = [
            _StreamRecorder(frames_dir(root, plan, stream.module), plan, stream, start_ns)
            for stream in plan.streams
        ]

    def advance(self, now_ns: int) -> bool:
        """Write what is due; return whether that was all."""
        for stream in self.streams:
            stream.advance(now_ns)
        if now_ns >= self._next_housekeeping_ns:
            add_housekeeping(self._run_dir, self._plan, _after_start_s(self._plan, now_ns))
            self._next_housekeeping_ns = now_ns + _HOUSEKEEPING_NS
        return all(stream.is_done for stream in self.streams)

    def finish(self, now_ns: int) -> None:
        """End all frame files, then write the markers."""
        for stream in self.streams:
            stream.finish()
        for name in self._plan.markers:
            write_marker(self._run_dir, self._plan, name, _after_start_s(self._plan, now_ns))

    def close(self) -> None:
        """Close the frame files that are still open, as they are on disk."""
        for stream in self.streams:
            stream.close()


class _StreamRecorder:
    """One stream: its frames to come, and the file that is written."""

    def __init__(self, directory: Path, plan: RunPlan, stream: StreamPlan, start_ns: int) -> None:
        self.key = stream.key
        self.n_frames = 0
        self._directory, self._plan, self._stream = directory, plan, stream
        first_ns = start_ns + plan.stream_delay_s(stream) * _S
        self._pieces = print_pieces(plan, stream, live_blocks(plan, stream, first_ns))
        self._piece: Piece | None = None
        self._n_of_piece = 0
        self._arrival_ns = arrival_ns(stream)
        self._next_files = list(plan.files(stream))
        self._file: DaqFile | None = None
        cuts = (d for d in plan.defects if isinstance(d, CutTail) and d.concerns(stream.key))
        self._n_cut = sum(cut.n_bytes for cut in cuts)
        if plan.empty_files:
            self._open_next(start_ns)

    @property
    def is_done(self) -> bool:
        """Whether all frames are written."""
        return self.n_frames == self._stream.n_frames

    def advance(self, now_ns: int) -> None:
        """Write the frames that have come by now."""
        while not self.is_done:
            if self._piece is None:
                self._piece, self._n_of_piece = next(self._pieces), 0
            time_ns = self._piece.time_ns
            n_due = int(time_ns.searchsorted(now_ns - self._arrival_ns, side="right"))
            if n_due > self._n_of_piece:
                self._write(self._piece, n_due, now_ns)
            if n_due < len(time_ns):
                return
            self._piece = None

    def finish(self) -> None:
        """End the open file; it lacks its last bytes where the plan has a `CutTail`."""
        self._end_file(self._n_cut)

    def close(self) -> None:
        """Close the open file as it is on disk."""
        if self._file is not None:
            self._file.abandon()

    def _write(self, piece: Piece, n_due: int, now_ns: int) -> None:
        """Write frames of a piece up to one; end a file that has passed the largest size."""
        file = self._file or self._open_next(now_ns)
        file.write(piece.frames[self._n_of_piece : n_due].data.cast("B"))
        self.n_frames += n_due - self._n_of_piece
        self._n_of_piece = n_due
        is_full = self.n_frames == piece.file.first_frame + piece.file.n_frames
        if is_full and self._next_files:
            self._end_file(self._n_cut if self.is_done else 0)
            if self._plan.empty_files:
                self._open_next(now_ns)

    def _open_next(self, now_ns: int) -> DaqFile:
        seqno = self._next_files.pop(0).seqno
        after_start_s = _after_start_s(self._plan, now_ns)
        name = self._plan.frame_file_name(self.key, seqno, after_start_s)
        self._file = DaqFile(self._directory / name)
        return self._file

    def _end_file(self, n_cut: int) -> None:
        if self._file is not None:
            self._file.close(n_cut)
            self._file = None


def _after_start_s(plan: RunPlan, time_ns: int) -> int:
    return time_ns // _S - plan.start_s
