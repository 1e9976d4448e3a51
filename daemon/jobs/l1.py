"""The L1 job: it makes a stream's L1 store from its L0 store, in a thread of its own."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.core.pff.names import l1_store_name, store_name
from panoseti_zarr.daemon.jobs.context import JobContext, check_device, classify_error
from panoseti_zarr.daemon.state.events import L1Ended, L1Started, Outcome
from panoseti_zarr.daemon.state.instructions import StartL1
from panoseti_zarr.io.l1.builder import recover_killed
from panoseti_zarr.pipeline.l1 import l1_matches, make_l1


def run_l1(job: StartL1, context: JobContext) -> None:
    """Make a stream's L1 store unless it matches, and post how the job ended."""
    run, stream = job.target.run, job.target.stream
    l0_path = context.l0_dir / store_name(run, job.target.key)
    l1_path = context.l1_dir / l1_store_name(run, job.target.key)
    settings = context.config.baseline_subtract
    try:
        check_device(context.l1_dir, job.target.output_device, "l1_dir")
        if l1_matches(l0_path, l1_path) and not (job.refresh and _differs(l1_path, settings)):
            recover_killed(l1_path)
            event = L1Ended(time.monotonic(), run, stream, Outcome.DONE)
        else:
            context.post(L1Started(time.monotonic(), run, stream))
            result = make_l1(l0_path, l1_path, settings, context.executor, stop=context.stop)
            event = L1Ended(
                time.monotonic(),
                run,
                stream,
                Outcome.DONE,
                is_changed=True,
                n_frames=result.n_frames,
                n_bytes=result.n_bytes,
                seconds=result.seconds,
            )
    except BaseException as error:  # noqa: BLE001 - a job's boundary: every end is reported
        failure = classify_error(error, context.stop)
        if failure.blames_data and not os.path.lexists(l0_path):
            failure = failure._replace(outcome=Outcome.MISSING)
        event = L1Ended(time.monotonic(), run, stream, *failure)
    context.post(event)


def _differs(l1_path: Path, settings: BaselineSubtractConfig) -> bool:
    """Whether an L1 store was made with other settings."""
    try:
        with open(l1_path / "zarr.json", "rb") as file:
            held = json.load(file)["attributes"]["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return bool(held != settings.model_dump(mode="json"))
