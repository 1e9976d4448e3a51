"""A cluster that others run: waited for, lost, started again."""

import os
import subprocess
import sys
import time
from queue import SimpleQueue

import pytest
from support.service_process import Station, environment, make_run
from support.waiting import PATIENCE_S

from panoseti_zarr.cluster import make_executor
from panoseti_zarr.config import Config
from panoseti_zarr.io.simulate import StreamPlan

CONFIG = "[cluster.local]\nn_workers = 1\nthreads_per_worker = 2\ndashboard_port = 0\n"


class OthersCluster:
    """``panoseti-zarr cluster``; leave its context and it is killed."""

    def __init__(self, base):
        self.file = base / "scheduler.json"
        self._config = base / "cluster.toml"
        self._config.write_text(CONFIG)
        self._process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Start it again, and wait until its file is there."""
        self.file.unlink(missing_ok=True)
        words = [sys.executable, "-m", "panoseti_zarr", "cluster", self._config, self.file]
        self._process = subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.file.exists():
            assert self._process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def kill(self):
        """Kill it with its scheduler; its workers end by themselves."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def others(tmp_path):
    base = tmp_path / "others"
    base.mkdir()
    with OthersCluster(base) as made:
        yield made


WAIT = 'until [ -e "$0" ]; do sleep 0.02; done; echo $PPID'
"""Waits until a file is there, and says which process has waited."""


def test_a_task_survives_its_scheduler(others, tmp_path):
    """A task under way when the scheduler is killed runs again on the next one."""
    told = SimpleQueue()
    others.start()
    with make_executor(Config(), scheduler=str(others.file), tell=told.put) as executor:
        assert executor.n_slots == 2
        words = ["sh", "-c", WAIT, str(tmp_path / "go")]
        task = executor.submit(subprocess.run, words, capture_output=True)
        first = executor.submit(os.getpid).result(timeout=PATIENCE_S)
        others.kill()
        while told.get(timeout=PATIENCE_S).name != "cluster.lost":
            pass
        late = executor.submit(os.getpid)
        others.start()
        (tmp_path / "go").touch()
        assert (
            int(task.result(timeout=PATIENCE_S).stdout) == late.result(timeout=PATIENCE_S) != first
        )


@pytest.mark.slow
def test_the_service_waits_for_a_cluster(others, tmp_path):
    """It says what it waits for, begins when the cluster is there, and survives its restart."""
    address = f'[cluster]\nuse_cluster = true\ntype = "address"\nscheduler_file = "{others.file}"'
    with Station(tmp_path, address) as station:
        run = make_run(station.data, StreamPlan("ph256", 1, 20_000))
        station.start(ready=False)
        station.wait_for("cluster.unreachable")
        status = station.wait_for_status(lambda s: s["service"].get("waits_for"))
        assert "cannot read the scheduler file" in status["service"]["waits_for"]
        others.start()
        station.wait_for("stream.committed", run=run.name)
        others.kill()
        station.wait_for("cluster.lost")
        station.wait_for_status(lambda s: s["service"]["waits_for"])
        assert "cluster: address; waits: " in station.command("status").stdout
        others.start()
        station.wait_for("cluster.connected")
        station.wait_for("run.completed", run=run.name, n_quarantined=0)
        station.wait_for_status(lambda s: s["service"]["waits_for"] is None)
        assert station.stop() == 0
