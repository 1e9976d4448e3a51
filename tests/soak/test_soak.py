"""The short form of the soak: what a minute can tell. ``make soak`` is the long form."""

import os

import psutil
from distributed import Client
from measures import fit, table
from soak import BOUNDS, MB, soak

from panoseti_zarr.cluster.dask_backend.local import start_local
from panoseti_zarr.config import LocalClusterConfig

N_TASKS = int(os.environ.get("SOAK_TASKS", "400"))

SHORT_BOUNDS = {
    # 600 to 700 MB where Dask keeps messages; the last of the warm-up may look like 100 MB.
    "service RSS, MB": 350 * MB,
    # One more for every fifth run would be a leak; one or two more are not.
    "service descriptors": 200,
    "service threads": 200,
    "service watches": 200,
    "workers descriptors": 200,
    "workers processes": 20,
    "status.json, MB": BOUNDS["status.json, MB"],
    "state files": 20,
    "other hidden files": 20,
}


def count_kept(dask_scheduler):
    """Return how many tasks and spans a scheduler holds."""
    return len(dask_scheduler.tasks), len(dask_scheduler.extensions["spans"].spans)


def test_nothing_grows_with_the_runs(tmp_path):
    """A service that has done some dozens of runs holds no more than before them."""
    slopes = fit(soak(tmp_path, lambda n_runs: n_runs >= 48), SHORT_BOUNDS)
    assert not any(slope.is_over for slope in slopes), table(slopes)


def test_dask_keeps_nothing_of_tasks_that_ended():
    """Neither tasks nor their arguments, 500 kB each, stay in the scheduler."""
    own = psutil.Process()
    with start_local(LocalClusterConfig(n_workers=2, dashboard_port=0)) as executor:
        assert executor.submit(len, b"").result() == 0
        rss_before = own.memory_info().rss
        for _ in range(N_TASKS):
            assert executor.submit(len, bytes(500_000)).result() == 500_000
        grown = own.memory_info().rss - rss_before
        with Client(executor.scheduler_address, set_as_default=False) as client:
            n_tasks, n_spans = client.run_on_scheduler(count_kept)
    assert grown < 100 * MB
    assert n_tasks < 100  # the last ones wait a moment for their release
    assert n_spans == 0
