"""The service on a cluster over SSH: hosts that are cut off, and a service that is killed."""

import json
import subprocess
import sys

import pytest
from ssh_hosts import GUEST, cluster_config
from support.service_process import Station, environment, make_run
from support.stores import assert_same_store, snapshot
from support.waiting import wait_until

from panoseti_zarr.cluster.dask_backend.scheduler_file import write_scheduler_file
from panoseti_zarr.cluster.tls import make_certificates
from panoseti_zarr.io.simulate import StreamPlan

pytestmark = [pytest.mark.slow, pytest.mark.root]

STREAM = "dp_ph256.module_1"


class SshStation(Station):
    """A service on host a whose cluster has hosts b and c."""

    def __init__(self, hosts, base):
        self._hosts = hosts
        self._certificates = make_certificates()
        self._certificates.write(base / "keys")
        # In place of the service's Python comes that of the host: the pid stays.
        words = hosts.on("a", sys.executable, "-m", "panoseti_zarr")
        self.program = ("-c", f"import os, sys; os.execvp('ip', {words!r} + sys.argv[1:])")
        self.scheduler_file = base / "guest" / "scheduler.json"
        self.scheduler_file.parent.mkdir()
        super().__init__(base)
        self.use("abc")

    def use(self, names):
        """Configure the cluster's hosts."""
        keys = {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
        tls = [f'{key} = "{self.base}/keys/{name}"' for key, name in keys.items()]
        cluster = cluster_config(self._hosts, names)
        self.write_config("\n".join([cluster, "[cluster.tls]", *tls]))

    def guest(self, *words):
        """Have a Dask client on host a do something; return what it found."""
        address = self.wait_for("cluster.scheduler_started")["address"]
        write_scheduler_file(self.scheduler_file, address, self._certificates)
        done = self._hosts.run("a", sys.executable, GUEST, str(self.scheduler_file), *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def workers(self, host):
        """Return the addresses of a host's workers."""
        return [address for address in self.guest("look") if host in address]

    def convert(self, run):
        """Convert a run without the service and without a cluster; return the store."""
        l0_dir, config = self.base / "expected", self.base / "plain.toml"
        config.write_text("[pff_to_zarr]\ntime_chunk = 256\n")
        words = [sys.executable, "-m", "panoseti_zarr", "convert", run, l0_dir, config]
        done = subprocess.run(words, check=False, capture_output=True, env=environment())
        assert done.returncode == 0, done.stderr
        return l0_dir / f"{run.name}.{STREAM}.zarr"


@pytest.fixture
def station(hosts, tmp_path):
    with SshStation(hosts, tmp_path) as made:
        yield made
    for name in "bc":
        hosts.mend(name)


def test_a_month_in_a_minute(hosts, station):
    """Hosts are cut off and come back, the service is killed: work goes on, nothing is left.

    When it is killed, a task is held back on a host that is cut off. Another service finishes the
    stream; the late task harms nothing.
    """
    station.start()
    assert {e["host"] for e in station.find("cluster.host_joined")} == {"10.99.0.2", "10.99.0.3"}

    # The link of c is cut during a run: the other host finishes it.
    run = make_run(station.data, StreamPlan("ph256", 1, 60_000), day=1)
    station.wait_for("stream.committed", run=run.name)
    hosts.cut("c")
    assert not station.find("stream.closed", run=run.name)
    station.wait_for("run.completed", run=run.name)
    assert_same_store(station.l0 / f"{run.name}.{STREAM}.zarr", station.convert(run))

    # It is mended: the host is used again.
    n_joined = len(station.find("cluster.host_joined", host="10.99.0.3"))
    hosts.mend("c")
    station.wait_for("cluster.host_joined", n_joined + 1, host="10.99.0.3")
    wait_until(lambda: len(station.workers("10.99.0.3")) == 1)
    (worker,) = station.workers("10.99.0.3")
    assert station.guest("run_on", worker) in hosts.processes("c")

    # A task is held back on c, which is cut off again, and the service is killed.
    station.guest("hold", worker, str(station.base))
    run = make_run(station.data, StreamPlan("ph256", 1, 5000), day=2)
    wait_until((station.base / "held").exists)
    hosts.cut("c")
    station.kill()
    assert hosts.processes("c", "cluster.ssh.host_agent")
    wait_until(lambda: not hosts.processes("b"), "b has processes left")

    # Another service, without c, finishes the run; then the held task ends.
    station.use("ab")
    station.start()
    station.wait_for("run.completed", run=run.name)
    store = station.l0 / f"{run.name}.{STREAM}.zarr"
    assert_same_store(store, station.convert(run))
    before = snapshot(store)
    (station.base / "go").touch()
    wait_until((station.base / "gone").exists, "the held task was killed before it was let go")

    # Nothing of the killed service is left on the host that is still cut off, nor of the task.
    wait_until(lambda: not hosts.processes("c"), "c has processes left")
    assert snapshot(store) == before
    assert station.stop() == 0
    wait_until(lambda: not any(hosts.processes(name) for name in "abc"))
