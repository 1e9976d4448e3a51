"""Frames of a stream, printed and cut where files end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panoseti_zarr.io.simulate.defects import ByteDefect
from panoseti_zarr.io.simulate.header import FrameBlock, encode_block
from panoseti_zarr.io.simulate.plan import FilePlan, RunPlan, StreamPlan


@dataclass(frozen=True)
class Piece:
    """Printed frames that go into one file, (n, frame bytes), and when they were taken, (n,)."""

    file: FilePlan
    frames: NDArray[np.uint8]
    time_ns: NDArray[np.int64]


def print_pieces(
    plan: RunPlan, stream: StreamPlan, blocks: Iterable[FrameBlock]
) -> Iterator[Piece]:
    """Yield the printed frames of a stream, the plan's byte defects in them, cut where files end.

    Parameters
    ----------
    plan : RunPlan
    stream : StreamPlan
        One of ``plan.streams``.
    blocks : iterable of FrameBlock
        Its frames.

    Yields
    ------
    Piece
        One or more frames each.
    """
    defects = [d for d in plan.defects if isinstance(d, ByteDefect) and d.concerns(stream.key)]
    files = iter(plan.files(stream))
    file = next(files)
    for block in blocks:
        frames = encode_block(block)
        for defect in defects:
            defect.alter_bytes(block, frames)
        done = 0
        while done < block.n_frames:
            end = min(file.first_frame + file.n_frames - block.first_frame, block.n_frames)
            if end > done:
                yield Piece(file, frames[done:end], block.time_ns[done:end])
            if end < block.n_frames:
                file = next(files)
            done = end
