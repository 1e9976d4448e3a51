"""The job of a round: append what an open stream has so far."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from daemon.instructions import StartRound
from daemon.jobs import (
    StreamGoneError,
    Workshop,
    as_root_stands,
    check_device,
    judge_error,
    list_inside,
    parse_stream,
    tell_commit,
)
from daemon.messages import Outcome, RoundEnded
from panoseti_zarr.pipeline.follow import follow_stream


def run_round(job: StartRound, workshop: Workshop) -> None:
    """Append what an open stream has; tell how it ended."""

    def ended(outcome: Outcome, reason: str = "") -> RoundEnded:
        return RoundEnded(time.monotonic(), job.run, job.stream, outcome, reason)

    key = parse_stream(job.stream)
    try:
        check_device(workshop.l0_dir, job.l0_device, "l0_dir")
        listing = list_inside(Path(job.root), job.run, key, workshop.recordings)
        result = follow_stream(
            listing,
            key,
            workshop.l0_dir,
            workshop.config.pff_to_zarr,
            workshop.executor,
            workshop.recordings.of(job.run),
            with_tail=job.with_tail,
            on_commit=partial(tell_commit, workshop.tell, job),
            stop=workshop.stop,
        )
    except StreamGoneError:
        workshop.tell(ended(Outcome.MISSING))
    except BaseException as error:  # noqa: BLE001 - the task boundary: it must be told of
        outcome, reason = judge_error(error, workshop.stop)
        if outcome is Outcome.CORRUPT:
            outcome, reason = as_root_stands(job, reason)
        workshop.tell(ended(outcome, reason))
    else:
        workshop.tell(
            RoundEnded(
                time.monotonic(),
                job.run,
                job.stream,
                Outcome.DONE,
                n_rest=result.n_rest,
                next_chunk_bytes=result.next_chunk_bytes,
            )
        )
