"""The parts of a cluster over SSH, without SSH: certificates, places, orders, output."""

import os
import time
from pathlib import Path

import pytest

from panoseti_zarr.cluster.shared_paths import (
    PathProbe,
    SharedPaths,
    differences,
    write_probe_files,
)
from panoseti_zarr.cluster.ssh.cluster import check_hosts
from panoseti_zarr.cluster.ssh.host_process import known_hosts
from panoseti_zarr.cluster.ssh.log_lines import OutputLines
from panoseti_zarr.cluster.ssh.protocol import StartRequest, version_difference, versions
from panoseti_zarr.cluster.tls import (
    certificates_beside,
    configured_certificates,
    make_certificates,
)
from panoseti_zarr.config import TlsConfig
from panoseti_zarr.errors import ConfigError, TransientIOError


@pytest.fixture
def impatient(monkeypatch):
    """Do not wait for what a network file system may still show."""
    monkeypatch.setattr("panoseti_zarr.cluster.shared_paths._PATIENCE_S", 0)


def test_certificates_survive_their_files(tmp_path):
    """What is written is read again, and the key is shown to nobody."""
    made = make_certificates()
    made.write(tmp_path / "s.json.tls")
    assert certificates_beside(tmp_path / "s.json") == made
    assert certificates_beside(tmp_path / "other.json") is None
    assert made.key not in repr(made)


def test_a_key_that_others_can_read(tmp_path):
    """It is refused, with its name."""
    made = make_certificates()
    made.write(tmp_path / "keys")
    files = {"ca_file": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
    tls = TlsConfig(**{key: tmp_path / "keys" / name for key, name in files.items()})
    assert configured_certificates(tls) == made
    (tmp_path / "keys" / "key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match=r"mode 0600 \(file .*key\.pem"):
        configured_certificates(tls)


def test_a_certificate_that_is_none(tmp_path):
    """A file that is no PEM, or is not there, is refused with its name."""
    (tmp_path / "ca").write_text("hello")
    tls = TlsConfig(ca_file=tmp_path / "ca", cert=tmp_path / "cert", key=tmp_path / "key")
    with pytest.raises(ConfigError, match="not a PEM file"):
        configured_certificates(tls)
    (tmp_path / "ca").unlink()
    with pytest.raises(ConfigError, match="No such file"):
        configured_certificates(tls)


def make_root(base):
    """Make a data root with a file that rests and one that may grow."""
    run = base / "data" / "run.pffd"
    run.mkdir(parents=True)
    (run / "old.pff").write_bytes(b"12345")
    (run / "new.pff").write_bytes(b"1")
    os.utime(run / "old.pff", (time.time() - 1000,) * 2)
    return base / "data"


def test_a_host_that_sees_the_same(tmp_path):
    """Tokens, names and sizes agree; the token of a directory still to be made lies above it."""
    root = make_root(tmp_path)
    with write_probe_files(SharedPaths((tmp_path / "l0" / "deep",), (root,))) as sight:
        (token,) = map(Path, sight.tokens)
        assert token.parent == tmp_path
        assert sight.names == {str(root): ["run.pffd"]}
        assert sight.sizes == {str(root / "run.pffd" / "old.pff"): 5}
        assert differences(PathProbe(**vars(sight))) == ""
    assert list(tmp_path.iterdir()) == [root]


@pytest.mark.usefixtures("impatient")
def test_a_host_that_sees_otherwise(tmp_path):
    """What differs is said: no token, another token, a missing name, another size."""
    root = make_root(tmp_path)
    (tmp_path / "token").write_text("a")
    old = root / "run.pffd" / "old.pff"
    told = [
        differences(PathProbe(tokens={str(tmp_path / "none" / "token"): "a"})),
        differences(PathProbe(tokens={str(tmp_path / "token"): "b"})),
        differences(PathProbe(names={str(root): ["run.pffd", "other.pffd"]})),
        differences(PathProbe(names={str(tmp_path / "none"): []})),
        differences(PathProbe(sizes={str(old): 6})),
        differences(PathProbe(sizes={str(root / "none"): 6})),
    ]
    assert told == [
        f"{tmp_path}/none is not the same directory there: its token: No such file or directory",
        f"{tmp_path} is another directory there: its token has other content",
        f"{root} lacks 1 of 2 entries there: other.pffd",
        f"{tmp_path}/none is no directory there",
        f"{old} has 5 bytes there, 6 here",
        f"{root}/none cannot be read there: No such file or directory",
    ]


def test_places_that_cannot_be_used_here(tmp_path):
    """What cannot be read here is not compared; what cannot be written fails at present."""
    (tmp_path / "file").touch()
    with write_probe_files(SharedPaths((), (tmp_path / "none", tmp_path / "file"))) as sight:
        assert sight == PathProbe()
    unwritable = write_probe_files(SharedPaths((Path("/proc/1"),)))
    with pytest.raises(TransientIOError, match="cannot write here"), unwritable:
        pass
    nameless = write_probe_files(SharedPaths((Path("/", "x" * 300),)))
    with pytest.raises(TransientIOError, match="looking at the output directories"), nameless:
        pass


def test_tokens_of_killed_processes_are_swept(tmp_path):
    """One that is old goes; one of another process that is at it stays."""
    with write_probe_files(SharedPaths((tmp_path,))) as sight:
        (recent,) = map(Path, sight.tokens)
        old = recent.with_name(recent.name + "0")
        old.touch()
        os.utime(old, (time.time() - 1000,) * 2)
        with write_probe_files(SharedPaths((tmp_path,))):
            assert not old.exists()
            assert recent.exists()
    assert list(tmp_path.iterdir()) == []


def test_certificates_that_are_being_written(tmp_path):
    """A moment too early is no mistake of the configuration."""
    (tmp_path / "s.json.tls").mkdir()
    with pytest.raises(TransientIOError, match="being written"):
        certificates_beside(tmp_path / "s.json")


def test_an_order_survives_its_line():
    """It is one line, and comes out as it went in; its keys are shown to nobody."""
    order = StartRequest("tls://h:1", "h.0", {"key": "secret\n"}, n_workers=2, dask={"a.b": 1})
    assert order.line().count("\n") == 1
    assert StartRequest.from_line(order.line()) == order
    assert "secret" not in repr(order)


def test_versions_that_differ():
    """Each is named with both sides; the same ones are no difference."""
    here = versions()
    assert {"Python", "panoseti-zarr", "distributed"} <= here.keys()
    assert version_difference(here, dict(here)) == ""
    there = {**here, "distributed": "1.0"}
    told = version_difference(here, there)
    assert told == f"distributed 1.0 there, {here['distributed']} here"
    assert "missing there" in version_difference(here, {})


def test_output_is_cut_into_lines():
    """Pieces join to lines, control characters are escaped, blank lines go."""
    lines = []
    output = OutputLines(lines.append)
    for piece in ("on", "e\ntw\x07o\n\n", "rest"):
        output.take(piece)
    assert lines == ["one", "tw\\x07o"]
    output.end()
    assert lines[2:] == ["rest"]


def test_output_is_never_a_flood():
    """Of many lines some come out and the others are counted; a line without end is cut."""
    lines = []
    output = OutputLines(lines.append)
    output.take("x" * 5000)
    output.take("line\n" * 1000)
    output.end()
    assert len(lines[0]) == 2000
    assert len(lines) == 101
    assert lines[-1] == "... and 901 lines more"


@pytest.mark.parametrize("hosts", [("localhost", "b"), ("a", "127.0.0.1"), ("::1", "b")])
def test_hosts_that_cannot_find_each_other(hosts):
    """``localhost`` is another machine on each of several hosts."""
    with pytest.raises(ConfigError, match="give its name"):
        check_hosts(hosts)


def test_hosts_that_can():
    """One machine alone, or names."""
    check_hosts(("localhost",))
    check_hosts(("a", "10.0.0.2"))


def test_host_keys_are_always_verified(tmp_path, monkeypatch):
    """Without any file of host keys no host is known; a file that was named must be there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(tmp_path) not in "".join(known_hosts(None))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").touch()
    assert str(tmp_path / ".ssh" / "known_hosts") in known_hosts(None)
    with pytest.raises(ConfigError, match="known_hosts"):
        known_hosts(tmp_path / "none")
