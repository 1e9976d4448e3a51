"""Three hosts on one machine: network namespaces joined by a bridge, a real sshd on each.

They share the file system, and one process table. Root only: `require` skips elsewhere.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.needs import need
from support.service_process import environment
from support.waiting import PATIENCE_S

NAMES = ("a", "b", "c")
GUEST = str(Path(__file__).with_name("ssh_guest.py"))
_SSHD = """
ListenAddress {address}:22
HostKey {directory}/host_{name}
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
UseDNS no
"""


def require():
    """Skip the test where such hosts cannot be made."""
    need("ip", "sshd", "ssh-keygen", root=True)
    probe = f"pz{os.getpid()}-probe"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode:
        pytest.skip("network namespaces cannot be made here")
    _run("ip", "netns", "delete", probe)


def _run(*words):
    subprocess.run(words, check=True, capture_output=True, timeout=PATIENCE_S)


class SshHosts:
    """The hosts, up while its context lasts.

    Parameters
    ----------
    directory : Path
        Where keys, ``known_hosts`` and the logs of the sshds go.
    """

    def __init__(self, directory):
        self.directory = directory
        self.identity = directory / "identity"
        self.known_hosts = directory / "known_hosts"
        self._switch = self._namespace("switch")
        self._daemons = {}

    @staticmethod
    def _namespace(name):
        return f"pz{os.getpid()}-{name}"

    @staticmethod
    def address(name):
        """Return a host's address, which is also its name in the configuration."""
        return f"10.99.0.{NAMES.index(name) + 1}"

    def __enter__(self):
        require()
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.callback(self._remove)
            self.make_key(self.identity)
            shutil.copy(f"{self.identity}.pub", self.directory / "authorized_keys")
            _run("ip", "netns", "add", self._switch)
            _run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", "bridge", "up")
            for name in NAMES:
                self._add(name)
            lines = [self.host_key_line(name) for name in NAMES]
            self.known_hosts.write_text("".join(lines))
            stack.pop_all()
        return self

    def __exit__(self, *_):
        self._remove()

    def _add(self, name):
        space, switch, port = self._namespace(name), self._switch, f"port-{name}"
        _run("ip", "netns", "add", space)
        _run("ip", "-n", space, "link", "set", "lo", "up")
        _run("ip", "link", "add", "eth0", "netns", space, "type", "veth",
             "peer", "name", port, "netns", switch)  # fmt: skip
        _run("ip", "-n", switch, "link", "set", port, "master", "bridge", "up")
        _run("ip", "-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        _run("ip", "-n", space, "link", "set", "eth0", "up")
        self.make_key(self.directory / f"host_{name}")
        self.start_sshd(name)

    def start_sshd(self, name, hiding=None):
        """Start a host's sshd, again if it runs; what it starts finds one directory empty."""
        if daemon := self._daemons.pop(name, None):
            daemon.kill()
            daemon.wait()
        settings = self.directory / f"sshd_{name}.conf"
        settings.write_text(
            _SSHD.format(address=self.address(name), name=name, directory=self.directory)
        )
        words = ["/usr/sbin/sshd", "-D", "-f", str(settings),
                 "-E", str(self.directory / f"sshd_{name}.log")]  # fmt: skip
        if hiding is not None:
            # `ip netns exec` gives each command mounts of its own.
            words = ["sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(hiding), *words]
        self._daemons[name] = subprocess.Popen(self.on(name, *words), stdin=subprocess.DEVNULL)
        self._wait_for_sshd(name)

    def _wait_for_sshd(self, name):
        probe = f"import socket; socket.create_connection(({self.address(name)!r}, 22), 1).close()"
        deadline_s = time.monotonic() + PATIENCE_S
        while subprocess.run(
            self.on(name, sys.executable, "-S", "-c", probe), capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline_s, "sshd does not answer"

    def make_key(self, path):
        """Make a key pair, again if there is one."""
        for old in (path, path.with_name(f"{path.name}.pub")):
            old.unlink(missing_ok=True)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))

    def host_key_line(self, name, key=None):
        """Return the line of ``known_hosts`` for a host; with another key on request."""
        public = Path(f"{key or self.directory / f'host_{name}'}.pub").read_text()
        return f"{self.address(name)} {public}"

    def on(self, name, *words):
        """Return the words of a command that is to run on a host."""
        return ["ip", "netns", "exec", self._namespace(name), *words]

    def run(self, name, *words, **options):
        """Run a command on a host to its end."""
        options = {"capture_output": True, "text": True, "timeout": 120, **options}
        return subprocess.run(self.on(name, *words), check=False, env=environment(), **options)

    def start(self, name, *words, **options):
        """Start a command on a host."""
        return subprocess.Popen(self.on(name, *words), env=environment(), text=True, **options)

    def cut(self, name):
        """Take a host's link down."""
        _run("ip", "-n", self._switch, "link", "set", f"port-{name}", "down")

    def mend(self, name):
        """Bring it back up."""
        _run("ip", "-n", self._switch, "link", "set", f"port-{name}", "up")

    def processes(self, name, word=""):
        """Return the pids of a host's Python processes whose command line has a word."""
        done = subprocess.run(
            ["ip", "netns", "pids", self._namespace(name)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = []
        for pid in done.stdout.split():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if "python" in line and word in line:
                    found.append(int(pid))
        return found

    def sockets(self, name):
        """Return the TCP addresses on which a host listens, as ``address:port``."""
        code = "import pathlib; print(pathlib.Path('/proc/net/tcp').read_text())"
        rows = self.run(name, sys.executable, "-S", "-c", code).stdout.splitlines()[1:]
        columns = [row.split() for row in rows if row.strip()]
        return [_address(column[1]) for column in columns if column[3] == "0A"]

    def _remove(self):
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        for name in NAMES:
            space = self._namespace(name)
            found = subprocess.run(
                ["ip", "netns", "pids", space], capture_output=True, text=True, check=False
            )
            for pid in found.stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
        for space in (*map(self._namespace, NAMES), self._switch):
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def _address(text):
    """Decode an address of ``/proc/net/tcp``."""
    address, port = text.split(":")
    return f"{socket.inet_ntoa(bytes.fromhex(address)[::-1])}:{int(port, 16)}"


def cluster_config(hosts, names="abc", /, **more):
    """Return the text of ``[cluster]`` for some of the hosts."""
    keys = {
        "hosts": [hosts.address(name) for name in names],
        "threads_per_worker": 1,
        "memory_per_worker": "1GB",
        "identity_file": str(hosts.identity),
        "known_hosts": str(hosts.known_hosts),
        "dashboard_port": 0,
        "connect_timeout": 120,
        **more,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(['[cluster]\ntype = "ssh"\nuse_cluster = true', "[cluster.ssh]", *lines, ""])
