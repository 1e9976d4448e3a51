"""SIGKILL of the real service: at each step of its own files, and at any moment."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from ingest_process import L1_SETTINGS
from nights import Night
from processes import convert
from subtractions import Subtraction
from support.service_process import Station, environment, make_run
from support.stores import snapshot
from support.waiting import PATIENCE_S

from panoseti_zarr.daemon.state.records import StreamStatus
from panoseti_zarr.daemon.status.file import read_status_file
from panoseti_zarr.daemon.status.ledger import LEDGER_NAME, Ledger
from panoseti_zarr.daemon.status.requests import REQUESTS_NAME
from panoseti_zarr.io.fs.failpoints import SERVICE_STEPS
from panoseti_zarr.io.l0.metadata import read_state
from panoseti_zarr.io.simulate import StreamPlan

SEED = 20240726
KILLED_SERVICE = Path(__file__).with_name("killed_service.py")
BASELINE = "\n".join(["[baseline_subtract]", *(f"{key} = {value!r}"
                                               for key, value in L1_SETTINGS.items())])  # fmt: skip


class KilledStation(Station):
    """A station whose service can be killed at its steps."""

    program = (str(KILLED_SERVICE),)

    def start_and_die(self, *steps: str) -> None:
        """Start the service and wait until it dies at the last of these steps."""
        self.start(ready=False, KILL_AT=" ".join(steps))
        assert self.process.wait(PATIENCE_S) == -signal.SIGKILL, self.story()

    def ledger(self):
        """Return the runs of which the ledger of a service that is dead knows."""
        copy = self.base / "ledger_copy"
        shutil.rmtree(copy, ignore_errors=True)
        if not (self.state / LEDGER_NAME).exists():
            return ()
        shutil.copytree(self.state, copy)
        ledger = Ledger(copy)
        try:
            runs = ledger.load(0)
            assert not ledger.replaced
        finally:
            ledger.close()
        return runs


def station_of(base, root):
    """Return a station on a data root, its timing the quickest."""
    base.mkdir(exist_ok=True)
    return KilledStation(base, BASELINE, data_root=str(root), settle_s=0.1, rescan_s=0.1)


@dataclass(frozen=True)
class Archive:
    """A data root, and the stores that the commands make of it by hand."""

    root: Path
    nights: list[Night]
    subtractions: list[Subtraction]

    def assert_kept(self, station, before):
        """Check what stands after a kill; return the L1 stores, which must be made once.

        Every L0 store is readable; every L1 store is whole, matches, and is the one it was.
        """
        for night in self.nights:
            night.assert_readable(station.l0)
        made = {}
        for subtraction in self.subtractions:
            if (path := station.l1 / subtraction.name).exists():
                subtraction.assert_new(station.l1, station.l0 / subtraction.l0.name)
                made[subtraction.name] = snapshot(path)
        assert before.items() <= made.items(), "an L1 store was made twice"
        for run in station.ledger():
            for stream in run.streams.values():
                self._assert_not_ahead(station, run.name, stream)
        return made

    def _assert_not_ahead(self, station, run, stream):
        """Check that the ledger knows of nothing that the stores do not hold."""
        l0 = station.l0 / f"{run}.{stream.key}.zarr"
        if stream.n_frames:
            assert stream.n_frames <= read_state(l0).n_frames
        if stream.is_closed:
            assert read_state(l0).closed
        if stream.status is StreamStatus.DONE:
            assert (station.l1 / f"{run}.{stream.key}_L1.zarr").exists()

    def finish(self, station, before):
        """Start the service and let it finish; check the end."""
        station.start()
        wait_until_done(station, len(self.subtractions))
        assert station.stop() == 0
        made = self.assert_kept(station, before)
        assert len(made) == len(self.subtractions)
        for night in self.nights:
            night.assert_finished(station.l0)
            state = read_state(station.l0 / night.name)
            assert state.commit <= -(-night.n_frames // state.time_chunk) + 1, "committed twice"
        assert {path.suffix for path in station.l1.iterdir()} <= {".zarr", ".lock"}
        streams = [stream for run in station.ledger() for stream in run.streams.values()]
        assert {stream.status for stream in streams} == {StreamStatus.DONE}
        assert len(streams) == len(self.nights)


def wait_until_done(station, n_streams):
    """Wait until the service's status says that all streams, and all runs, are done."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        status = read_status_file(station.state)
        if status.service.pid == station.pid and status.runs:
            is_complete = all(run.completed_at for run in status.runs)
            if is_complete and status.totals.n_done == n_streams:
                return
        assert time.monotonic() < deadline_s, station.story()
        time.sleep(0.01)


def by_hand(base, root):
    """Make the stores of a data root with ``convert`` and ``baseline``."""
    station = station_of(base, root)
    l0, l1 = base / "by_hand/l0", base / "by_hand/l1"
    nights, subtractions = [], []
    for run in sorted(root.iterdir()):
        done = convert(run, l0, station.config)
        assert done.returncode == 0, done.stderr
    for store in sorted(l0.glob("*.zarr")):
        made = l1 / f"{store.name.removesuffix('.zarr')}_L1.zarr"
        words = ["baseline", str(store), str(made), "--config", str(station.config)]
        command = [sys.executable, "-m", "panoseti_zarr", *words]
        subprocess.run(command, check=True, env=environment(), cwd="/", capture_output=True)
        run = root / store.name.rpartition(".dp_")[0]
        nights.append(Night(run, store))
        subtractions.append(Subtraction(store, made))
    return Archive(root, nights, subtractions)


@pytest.fixture(scope="module")
def one_stream(memory_dir):
    """A run with a stream of six chunks, more than are under way at once: two commits or more."""
    base = memory_dir / "one_stream"
    make_run(base / "data_root", StreamPlan("ph256", 2, 1400))
    return by_hand(base, base / "data_root")


NOTED = {
    ("ledger.opened",): 0,
    ("ledger.run_written",): 0,
    ("ledger.run_written", "ledger.committed"): 1,
}
"""How many runs the ledger holds where only that was done."""

MOMENTS = (
    *NOTED,
    ("snapshot.written",),
    ("snapshot.replaced",),
    ("commit.done", "ledger.run_written"),
    ("commit.done", "ledger.run_written", "ledger.committed"),
    ("l1.durable",),
    ("swap.in_place",),
    ("l1.done", "ledger.run_written"),
    ("l1.done", "ledger.run_written", "ledger.committed", "snapshot.written"),
)


@pytest.mark.parametrize("steps", MOMENTS, ids="-".join)
def test_a_kill_at_a_step(one_stream, place, steps):
    """Started again it ends the same: no chunk committed twice, the L1 store made once."""
    with station_of(place, one_stream.root) as station:
        station.start_and_die(*steps)
        made = one_stream.assert_kept(station, {})
        assert len(made) == (steps[0] in {"swap.in_place", "l1.done"})
        if steps[0].startswith("snapshot."):
            is_new = steps == ("snapshot.replaced",)
            assert (read_status_file(station.state).written_at is not None) == is_new
        if steps in NOTED:
            assert len(station.ledger()) == NOTED[steps]
        one_stream.finish(station, made)


def test_every_step_is_killed_at():
    """A step that joins those of the service joins these tests."""
    assert {steps[-1] for steps in MOMENTS} | {"ledger.put_aside"} >= {*SERVICE_STEPS}


def test_a_kill_while_a_ledger_is_replaced(one_stream, place):
    """A ledger that cannot be used was put aside, and no new one begun."""
    with station_of(place, one_stream.root) as station:
        station.state.mkdir()
        (station.state / LEDGER_NAME).write_bytes(b"not a ledger" * 1000)
        station.start_and_die("ledger.put_aside")
        assert not (station.state / LEDGER_NAME).exists()
        one_stream.finish(station, {})


@pytest.mark.parametrize("step", ["ledger.run_written", "ledger.committed"])
def test_a_request_is_not_lost(one_stream, place, step):
    """Killed while a request for a rebuild is noted: the stores are made again once."""
    with station_of(place, one_stream.root) as station:
        one_stream.finish(station, {})
        (night,) = one_stream.nights
        id_before = read_state(station.l0 / night.name).store_id
        assert station.command("retry", "--rebuild", night.run.name).returncode == 0
        station.start_and_die("ledger.run_written", *["ledger.committed"][: step.endswith("ed")])
        assert len(os.listdir(station.state / REQUESTS_NAME)) == 1
        one_stream.finish(station, {})
        assert read_state(station.l0 / night.name).store_id != id_before
        assert len(station.find("stream.closed")) == len(station.find("l1.finished")) == 1
        assert os.listdir(station.state / REQUESTS_NAME) == []


@pytest.fixture(scope="module")
def two_runs(memory_dir):
    """Two runs, three streams, six chunks."""
    base = memory_dir / "two_runs"
    make_run(base / "data_root")
    make_run(base / "data_root", StreamPlan("ph256", 2, 600), day=26)
    return by_hand(base, base / "data_root")


def test_kills_at_random_moments(two_runs, place, request, count):
    """After each kill what stands is whole; each end equals what is made by hand."""
    n_kills = 100 if request.config.getoption("long", False) else 10
    moments = random.Random(SEED)  # noqa: S311 - moments, not secrets
    n_done = n_roots = n_midway = 0
    while n_done < n_kills or (n_done < 4 * n_kills and n_midway <= n_kills / 10):
        with station_of(place / f"root_{n_roots}", two_runs.root) as station:
            made = {}
            for _ in range(moments.randint(2, 6)):
                # Most kills come once it is ready; the others at any moment of its start.
                station.start(ready=moments.random() < 0.9)
                time.sleep(moments.uniform(0, 0.35))
                station.kill()
                made = two_runs.assert_kept(station, made)
                n_done += 1
                n_midway += any(station.l0.glob("*.zarr")) and len(made) < 3
            two_runs.finish(station, made)
        n_roots += 1
    count(n_kills=n_done, n_kills_midway=n_midway, n_roots=n_roots)
    assert n_midway > n_kills / 10
