"""What the tests of clusters over SSH share."""

import pytest
from ssh_hosts import SshHosts
from support.service_process import Station


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Three hosts with an sshd each."""
    with SshHosts(tmp_path_factory.mktemp("hosts")) as made:
        yield made


@pytest.fixture
def web_station(tmp_path, port):
    """Directories and a service on them, not started yet, with a status page."""
    with Station(tmp_path, f"[web]\nport = {port}") as made:
        yield made
