"""What the tests of clusters over SSH share."""

import pytest
from ssh_hosts import SshHosts


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Three hosts with an sshd each."""
    with SshHosts(tmp_path_factory.mktemp("hosts")) as made:
        yield made
