"""``panoseti-zarr cluster`` over SSH: three hosts, a real sshd on each."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
from ssh_hosts import GUEST, cluster_config
from support.service_process import environment
from support.stores import assert_same_store
from support.waiting import PATIENCE_S, wait_until

from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run

pytestmark = [pytest.mark.slow, pytest.mark.root]

COMMAND = (sys.executable, "-m", "panoseti_zarr")


class Cluster:
    """A running ``panoseti-zarr cluster`` on host a, and a run to convert with it."""

    def __init__(self, hosts, base):
        self.hosts = hosts
        self.base = base
        self.file = base / "run" / "scheduler.json"
        self.log = base / "cluster.log"
        self.config = base / "config.toml"
        self.config.write_text(f"[pff_to_zarr]\ntime_chunk = 32\n{cluster_config(hosts)}\n")
        with self.log.open("w") as log:
            self.process = hosts.start(
                "a", *COMMAND, "cluster", str(self.config), str(self.file),
                stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip

    def wait(self):
        """Wait until it is ready."""
        wait_until(self._is_ready)

    def _is_ready(self):
        assert self.process.poll() is None, self.log.read_text()
        return self.file.exists()

    def guest(self, *words):
        """Have a Dask client on host a do something; return what it found."""
        done = self.hosts.run("a", sys.executable, GUEST, str(self.file), *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def end(self):
        """Kill it where it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def cluster(hosts, tmp_path_factory):
    made = Cluster(hosts, tmp_path_factory.mktemp("cluster"))
    try:
        made.wait()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def run(cluster):
    return simulate_run(cluster.base / "data", RunPlan((StreamPlan("img16", 1, 3200),)))


@pytest.fixture(scope="module")
def expected(cluster, run):
    """The store that ``convert`` makes without a cluster."""
    l0_dir = cluster.base / "expected"
    plain = cluster.base / "plain.toml"
    plain.write_text("[pff_to_zarr]\ntime_chunk = 32\n")
    words = [*COMMAND, "convert", str(run), str(l0_dir), str(plain)]
    subprocess.run(words, check=True, capture_output=True, env=environment())
    (store,) = l0_dir.glob("*.zarr")
    return store


def test_a_run_over_two_hosts(cluster, run, expected):
    """Both worker hosts stage chunks, and the store is that of ``convert`` without a cluster."""
    l0_dir = cluster.base / "l0"
    words = ("convert", str(run), str(l0_dir), str(cluster.config), str(cluster.file))
    done = cluster.hosts.run("a", *COMMAND, *words)
    assert done.returncode == 0, done.stderr
    assert_same_store(l0_dir / expected.name, expected)
    found = cluster.guest("look")
    assert {address.split("//")[1].split(":")[0] for address in found} == {"10.99.0.2", "10.99.0.3"}
    assert all(worker["n_tasks"] > 10 for worker in found.values())
    assert {worker["umask"] for worker in found.values()} == {0o027}
    assert {worker["memory_limit"] for worker in found.values()} == {10**9}


def test_certificates_are_for_their_owner_alone(cluster):
    """They lie beside the scheduler file, and nobody else can read them."""
    directory = cluster.file.with_name("scheduler.json.tls")
    assert directory.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes == dict.fromkeys(("ca.pem", "cert.pem", "key.pem"), 0o600)


PROBE = """
import socket, ssl, sys
host, port = sys.argv[1].rsplit(":", 1)
def answer(wrap):
    with wrap(socket.create_connection((host, int(port)), 5)) as connection:
        connection.settimeout(5)
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        return connection.recv(100)
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
for name, wrap in (("plain", lambda c: c), ("tls", context.wrap_socket)):
    try:
        said = answer(wrap)
    except OSError as error:
        said = b""
    print(name, said)
"""


def test_nothing_answers_without_the_certificate(cluster):
    """Beyond loopback every port but sshd's wants the cluster's certificate, and says nothing."""
    n_ports = 0
    for name in "abc":
        for address in cluster.hosts.sockets(name):
            if address.startswith("127.") or address.endswith(":22"):
                continue
            done = cluster.hosts.run("c", sys.executable, "-c", PROBE, address)
            assert done.stdout.splitlines() == ["plain b''", "tls b''"], (address, done)
            n_ports += 1
    assert n_ports == 5


def test_a_plaintext_client_is_refused(cluster):
    """A Dask client without TLS does not get in, nor one with a certificate of its own."""
    address = json.loads(cluster.file.read_text())["address"]
    code = (
        "from distributed import Client\n"
        "from panoseti_zarr.cluster.tls import make_certificates\n"
        "import sys\n"
        "own = make_certificates().security()\n"
        "for address, security in ((sys.argv[2], None), (sys.argv[1], own)):\n"
        "    try: Client(address, security=security, timeout=4)\n"
        "    except OSError as error: print('refused')\n"
    )
    plain = address.replace("tls://", "tcp://")
    done = cluster.hosts.run("b", sys.executable, "-c", code, address, plain)
    assert done.stdout.split() == ["refused", "refused"], done.stderr


def test_workers_may_write_what_they_like(cluster):
    """12 MB on each worker's stderr hold nobody up; our log has some of it, with the host."""
    assert len(cluster.guest("write_stderr", "12000000")) == 2
    assert len(cluster.guest("write_stderr", "0")) == 2
    wait_until(lambda: _has_lines(cluster))
    assert cluster.log.stat().st_size < 1_000_000


def _has_lines(cluster):
    text = cluster.log.read_text()
    return all(f"host_said: host 10.99.0.{n}, line xxx" in text for n in (2, 3))


def test_a_killed_scheduler(cluster, run, expected):
    """It is started again, at the same address, and a conversion under way finishes."""
    l0_dir = cluster.base / "l0_killed"
    words = ("convert", str(run), str(l0_dir), str(cluster.config), str(cluster.file))
    process = cluster.hosts.start("a", *COMMAND, *words, stderr=subprocess.PIPE)
    try:
        wait_until((l0_dir / expected.name).is_dir)
        (scheduler,) = cluster.hosts.processes("a", "cluster.ssh.host_agent")
        os.kill(scheduler, signal.SIGKILL)
        _, stderr = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, stderr
    assert "cluster.lost" in stderr
    assert "cluster.connected" in stderr
    assert_same_store(l0_dir / expected.name, expected)


def test_the_end(cluster):
    """SIGTERM ends everything on all hosts, and takes the scheduler file and keys away."""
    cluster.process.send_signal(signal.SIGTERM)
    assert cluster.process.wait(PATIENCE_S) == 0, cluster.log.read_text()
    assert list(cluster.file.parent.iterdir()) == []
    wait_until(lambda: not any(cluster.hosts.processes(name) for name in "abc"))


def test_a_wrong_host_key(hosts, tmp_path):
    """A host that is not the one that is known is refused, with its name; nothing is started."""
    hosts.make_key(tmp_path / "other")
    known = tmp_path / "known_hosts"
    lines = [hosts.host_key_line("a"), hosts.host_key_line("b"),
             hosts.host_key_line("c", tmp_path / "other")]  # fmt: skip
    known.write_text("".join(lines))
    config = tmp_path / "config.toml"
    config.write_text(cluster_config(hosts, known_hosts=str(known)))
    done = hosts.run("a", *COMMAND, "cluster", str(config), str(tmp_path / "scheduler.json"))
    assert done.returncode == 2
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: 10.99.0.3: its SSH host key is not the one")
    assert not (tmp_path / "scheduler.json").exists()
    wait_until(lambda: not any(hosts.processes(name) for name in "abc"))


@pytest.mark.parametrize(
    ("code", "line", "changes"),
    [
        (2, "error: 10.99.0.2: SSH does not let root in with a key", {"identity_file": "{}/key"}),
        (2, "error: 10.99.0.2: the process ended with status 127", {"remote_python": "/none/py"}),
        (
            1,
            "error: the SSH cluster did not start within 2 s: 10.99.0.9",
            {"hosts": ["10.99.0.9"], "connect_timeout": 2},
        ),
    ],
)
def test_hosts_that_cannot_be_used(hosts, tmp_path, code, line, changes):
    """No key that is known there, no Python, nobody at all: one line with the host's name."""
    hosts.make_key(tmp_path / "key")
    changes = {k: v.format(tmp_path) if isinstance(v, str) else v for k, v in changes.items()}
    config = tmp_path / "config.toml"
    config.write_text(cluster_config(hosts, "b", **changes))
    done = hosts.run("a", *COMMAND, "cluster", str(config), str(tmp_path / "scheduler.json"))
    assert done.returncode == code
    assert done.stderr.splitlines()[-1].startswith(line)


def test_a_host_that_sees_another_directory(hosts, tmp_path):
    """A host on which the directory of the stores is another one is refused, with both names."""
    run = simulate_run(tmp_path / "data", RunPlan((StreamPlan("img16", 1, 64),)))
    (tmp_path / "l0").mkdir()
    config = tmp_path / "config.toml"
    config.write_text(cluster_config(hosts))
    hosts.start_sshd("c", hiding=tmp_path / "l0")
    try:
        done = hosts.run("a", *COMMAND, "convert", str(run), str(tmp_path / "l0"), str(config))
    finally:
        hosts.start_sshd("c")
    assert done.returncode == 1, done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"error: 10.99.0.3: {tmp_path}/l0 is not the same directory there")
    assert list((tmp_path / "l0").iterdir()) == []
