"""Where the work of the service is done: in the workers, not in the service."""

import psutil
import pytest
from support.service_process import Station, make_run

from panoseti_zarr.io.simulate import StreamPlan

pytestmark = pytest.mark.slow

CLUSTER = "[cluster]\nuse_cluster = true\n[cluster.local]\nn_workers = 2\ndashboard_port = 0"
MB = 1_000_000


def test_image_data_passes_through_the_workers_alone(tmp_path):
    """Both worker processes read the files; the service does not, and does not grow with them."""
    with Station(tmp_path, CLUSTER) as station:
        config = station.config.read_text()
        station.config.write_text(config.replace("time_chunk = 256", "time_chunk = 4096"))
        station.start()
        service = psutil.Process(station.pid)
        make_run(station.data, StreamPlan("img16", 1, 20_000), day=20)
        station.wait_for("run.completed", 1)
        rss_before = service.memory_info().rss
        read_before = service.io_counters().read_chars
        make_run(station.data, StreamPlan("img16", 1, 80_000), day=21)
        station.wait_for("run.completed", 2)
        grown = service.memory_info().rss - rss_before
        read_by_service = service.io_counters().read_chars - read_before
        workers = [
            child
            for child in service.children(recursive=True)
            if "spawn_main" in " ".join(child.cmdline())
        ]
        read_by_workers = [worker.io_counters().read_chars for worker in workers]
        assert station.stop() == 0
    assert len(workers) == 2
    assert min(read_by_workers) > 40 * MB
    assert sum(read_by_workers) > 250 * MB
    assert read_by_service < 40 * MB
    # The files of the second run are 203 MB; some tens are Dask's own, once.
    assert grown < 50 * MB
