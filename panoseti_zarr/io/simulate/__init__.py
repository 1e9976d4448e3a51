"""Write a run directory as the DAQ would, without a telescope.

The order of writing is the DAQ's and the head node's: configuration, empty files of all
products, frames in place, markers last. `simulate_run` does it at once, and the same plan gives
the same bytes; `record_run` does it in real time.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from panoseti_zarr.errors import from_os_error
from panoseti_zarr.io.simulate.defects import FileDefect, MissingSeqno
from panoseti_zarr.io.simulate.directory import (
    add_housekeeping,
    frames_dir,
    make_run_dirs,
    open_files,
    run_dirs,
    write_marker,
)
from panoseti_zarr.io.simulate.frames import frame_blocks
from panoseti_zarr.io.simulate.live import Recording, record_run
from panoseti_zarr.io.simulate.pieces import print_pieces
from panoseti_zarr.io.simulate.plan import MARKERS, RunPlan, StreamPlan, max_file_size_mb

__all__ = [
    "MARKERS",
    "Recording",
    "RunPlan",
    "StreamPlan",
    "max_file_size_mb",
    "record_run",
    "run_dirs",
    "simulate_run",
]


def simulate_run(root: Path, plan: RunPlan, *, overwrite: bool = False) -> Path:
    """Write a run directory.

    Parameters
    ----------
    root : pathlib.Path
        Where to make it; made if missing.
    plan : RunPlan
    overwrite : bool
        Replace a run of that name, if it was simulated too. Without it an existing one is
        refused.

    Returns
    -------
    pathlib.Path
        The run directory.

    Raises
    ------
    InputError
        Where something of that name is there that may not be replaced.
    """
    try:
        run_dir = make_run_dirs(root, plan, overwrite=overwrite)
        add_housekeeping(run_dir, plan, plan.daq_delay_s)
        if plan.empty_files:
            open_files(root, plan, plan.daq_delay_s)
        ends_s = [_write_stream(root, plan, stream) for stream in plan.streams]
        for wait_s, name in enumerate(plan.markers, start=1):
            write_marker(run_dir, plan, name, max(ends_s, default=plan.daq_delay_s) + wait_s)
    except OSError as error:
        raise from_os_error(error, "writing the simulated run") from error
    return run_dir


def _write_stream(root: Path, plan: RunPlan, stream: StreamPlan) -> int:
    """Write the files of a stream; return when it ended, seconds after the start of the run."""
    directory = frames_dir(root, plan, stream.module)
    paths: dict[int, Path] = {}
    now_s = plan.daq_delay_s
    pieces = print_pieces(plan, stream, frame_blocks(plan, stream))
    for file, pieces_of_file in groupby(pieces, key=lambda piece: piece.file):
        path = directory / plan.frame_file_name(stream.key, file.seqno, now_s)
        with path.open("ab") as opened:
            for piece in pieces_of_file:
                opened.write(piece.frames.data)
                now_s = int(piece.time_ns[-1]) // 1_000_000_000 - plan.start_s
        paths[file.seqno] = path
    last = plan.files(stream)[-1]
    if plan.empty_files and not last.n_frames:
        (directory / plan.frame_file_name(stream.key, last.seqno, now_s)).touch()
    defects = [d for d in plan.defects if isinstance(d, FileDefect) and d.concerns(stream.key)]
    for defect in sorted(defects, key=lambda defect: isinstance(defect, MissingSeqno)):
        defect.alter_files(paths)
    return now_s
