"""Notices that the kernel dropped: seen, said, and answered with a rescan at once."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from support.service_process import Station, make_run

from panoseti_zarr.io.simulate import StreamPlan

pytestmark = pytest.mark.slow

N_FILES = 20_000
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@pytest.mark.skipif(int(QUEUE.read_text()) >= N_FILES, reason="the kernel's queue is too long")
def test_everything_is_ingested_within_one_rescan_though_20000_notices_are_lost(tmp_path):
    """With an hour between rescans, runs of which no notice came are done at once."""
    with Station(tmp_path, rescan_s=3600, watch="inotify") as station:
        station.start()
        # The second is for what happened before the watch was there.
        station.wait_for("root.scanned", 2)
        n_scans = len(station.find("root.scanned"))
        process = psutil.Process(station.pid)
        process.suspend()
        try:
            for number in range(N_FILES):
                os.close(os.open(station.data / f"noise-{number}", os.O_CREAT | os.O_WRONLY))
            for day in (25, 26):
                make_run(station.data, StreamPlan("img16", 1, 100), day=day)
        finally:
            process.send_signal(signal.SIGCONT)
        station.wait_for("watch.overflowed")
        station.wait_for("run.completed", 2)
        assert len(station.find("watch.overflowed")) == 1
        # The notices that did come share one look or two; what was lost needs one.
        assert len(station.find("root.scanned")) - n_scans <= 3
        assert station.stop() == 0
