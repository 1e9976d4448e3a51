"""Write a run directory as the DAQ would, without a telescope.

The order of writing is the DAQ's and the head node's: configuration, empty files of all
products, frames in place, markers last. The same plan gives the same bytes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from panoseti_zarr.errors import InputError, from_os_error
from panoseti_zarr.io.simulate.config import (
    SIMULATED_AUTHOR,
    config_files,
    housekeeping,
    marker_text,
)
from panoseti_zarr.io.simulate.defects import ByteDefect, FileDefect, MissingSeqno
from panoseti_zarr.io.simulate.frames import frame_blocks
from panoseti_zarr.io.simulate.header import encode_block
from panoseti_zarr.io.simulate.plan import (
    MARKERS,
    FilePlan,
    RunPlan,
    StreamPlan,
    max_file_size_mb,
)
from panoseti_zarr.model import PRODUCTS, StreamKey

__all__ = ["MARKERS", "RunPlan", "StreamPlan", "max_file_size_mb", "simulate_run"]


@dataclass(frozen=True)
class _Piece:
    """Printed frames that go into one file, (n, frame bytes), and the time of the last."""

    file: FilePlan
    frames: NDArray[np.uint8]
    last_ns: int


def simulate_run(root: Path, plan: RunPlan, *, overwrite: bool = False) -> Path:
    """Write a run directory.

    Parameters
    ----------
    root : pathlib.Path
        Where to make it; made where there is none.
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
    run_dir = root / plan.run_name
    try:
        if run_dir.is_symlink() or run_dir.exists():
            _remove_simulated(run_dir, overwrite=overwrite)
        run_dir.mkdir(parents=True)
        for name, text in config_files(plan).items():
            (run_dir / name).write_text(text)
        (run_dir / "hk.pff").write_text(housekeeping(plan))
        if plan.empty_files:
            _open_files(run_dir, plan)
        ends_s = [_write_stream(run_dir, plan, stream) for stream in plan.streams]
        for wait_s, name in enumerate(plan.markers, start=1):
            end_s = max(ends_s, default=plan.daq_delay_s) + wait_s
            (run_dir / name).write_text(marker_text(plan, end_s))
    except OSError as error:
        raise from_os_error(error, "writing the simulated run") from error
    return run_dir


def _remove_simulated(run_dir: Path, *, overwrite: bool) -> None:
    """Remove a simulated run; refuse where that is not wanted, or it may be a real one."""
    if not overwrite:
        raise InputError("the run is there already", path=str(run_dir))
    try:
        author = json.loads((run_dir / "sw_info.json").read_bytes())["author"]
    except (OSError, ValueError, KeyError, TypeError):
        author = None
    if author != SIMULATED_AUTHOR or run_dir.is_symlink():
        raise InputError("what is there was not simulated: not replaced", path=str(run_dir))
    shutil.rmtree(run_dir)


def _open_files(run_dir: Path, plan: RunPlan) -> None:
    """Make the files that the DAQ opens at its start: one for each product of each module."""
    for module in plan.modules:
        for product in PRODUCTS:
            key = StreamKey(product, module)
            (run_dir / plan.frame_file_name(key, 0, plan.daq_delay_s)).touch()


def _write_stream(run_dir: Path, plan: RunPlan, stream: StreamPlan) -> int:
    """Write the files of a stream; return when it ended, seconds after the start of the run."""
    paths: dict[int, Path] = {}
    now_s = plan.daq_delay_s
    for file, pieces in groupby(_pieces(plan, stream), key=lambda piece: piece.file):
        path = run_dir / plan.frame_file_name(stream.key, file.seqno, now_s)
        with path.open("ab") as opened:
            for piece in pieces:
                opened.write(piece.frames.data)
                now_s = piece.last_ns // 1_000_000_000 - plan.start_s
        paths[file.seqno] = path
    last = plan.files(stream)[-1]
    if plan.empty_files and not last.n_frames:
        (run_dir / plan.frame_file_name(stream.key, last.seqno, now_s)).touch()
    defects = [d for d in plan.defects if isinstance(d, FileDefect) and d.concerns(stream.key)]
    for defect in sorted(defects, key=lambda defect: isinstance(defect, MissingSeqno)):
        defect.alter_files(paths)
    return now_s


def _pieces(plan: RunPlan, stream: StreamPlan) -> Iterator[_Piece]:
    """Yield the printed frames of a stream, cut where files end."""
    defects = [d for d in plan.defects if isinstance(d, ByteDefect) and d.concerns(stream.key)]
    files = iter(plan.files(stream))
    file = next(files)
    for block in frame_blocks(plan, stream):
        frames = encode_block(block)
        for defect in defects:
            defect.alter_bytes(block, frames)
        done = 0
        while done < block.n_frames:
            end = min(file.first_frame + file.n_frames - block.first_frame, block.n_frames)
            if end > done:
                yield _Piece(file, frames[done:end], int(block.time_ns[end - 1]))
            if end < block.n_frames:
                file = next(files)
            done = end
