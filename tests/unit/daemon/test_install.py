"""What the unit gets from the configuration when the service is installed."""

import os
import pwd
import stat
from pathlib import Path

import pytest

from panoseti_zarr.config import Config, load_config
from panoseti_zarr.daemon import install
from panoseti_zarr.daemon.install import NAME, directories_drop_in, source
from panoseti_zarr.errors import InputError

BIN = Path("/opt/panoseti-zarr/bin")
FILE = Path("/etc/panoseti-zarr/config.toml")


def drop_in(**daemon: str) -> list[str]:
    """Return the lines for a configuration with these directories."""
    places = {"data_root": "/data", "l0_dir": "/l0", "l1_dir": "/l1", "state_dir": "/state"}
    config = Config.model_validate({"daemon": {**places, **daemon}})
    return directories_drop_in(config, FILE, BIN).splitlines()


def test_what_is_written_may_be_written_and_nothing_else():
    """The list of the unit is begun again; the state directory of systemd needs no entry."""
    lines = drop_in(state_dir="/var/lib/panoseti-zarr")
    written = [line for line in lines if line.startswith("ReadWritePaths")]
    assert written == ["ReadWritePaths=", 'ReadWritePaths="-/l0"', 'ReadWritePaths="-/l1"']
    assert 'ReadWritePaths="-/state"' in drop_in()
    assert not any("/data" in line for line in lines)


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "is_allowed"),
    [
        (0o700, 1000, 0, True),
        (0o500, 1000, 0, False),
        (0o577, 1000, 0, False),
        (0o770, 0, 1001, True),
        (0o751, 0, 1001, False),
        (0o757, 0, 1001, False),
        (0o757, 0, 0, True),
        (0o775, 0, 0, False),
    ],
)
def test_a_directory_that_the_service_may_not_write_to_is_named(
    tmp_path, monkeypatch, mode, uid, gid, is_allowed
):
    """By the rules of POSIX: the owner's bit alone, then the group's, then that of others."""
    owner = pwd.struct_passwd((NAME, "x", 1000, 1001, "", "/", "/bin/false"))
    status = os.stat_result((stat.S_IFDIR | mode, 0, 0, 1, uid, gid, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _: status)
    assert install._may_write(tmp_path, owner) == is_allowed


@pytest.mark.parametrize(
    ("directory", "lines"),
    [("/pictures", ['ReadWritePaths="-/pictures"']), ("", []), (None, [])],
)
def test_the_directory_of_pictures_may_be_written(directory, lines):
    """One elsewhere needs an entry; that in the state directory, or none at all, does not."""
    places = {"data_root": "/data", "l0_dir": "/l0", "l1_dir": "/l1", "state_dir": "/state"}
    config = Config.model_validate({"daemon": places, "quicklook": {"dir": directory}})
    with_it = set(directories_drop_in(config, FILE, BIN).splitlines())
    assert sorted(with_it - set(drop_in())) == lines


def test_homes_stay_hidden_but_for_what_is_named_in_them():
    """A data root in a home is shown read-only, a directory of stores writable."""
    lines = drop_in(data_root="/home/obs/in", l1_dir="/home/obs/L1")
    assert "ProtectHome=tmpfs" in lines
    assert 'BindReadOnlyPaths="-/home/obs/in"' in lines
    assert 'BindPaths="-/home/obs/L1"' in lines
    assert not any("ProtectHome" in line for line in drop_in())


def test_paths_are_quoted_and_what_cannot_be_is_refused():
    """Blanks and percent signs are taken literally; quotes are no part of a setting's path."""
    assert 'ReadWritePaths="-/a b/100%%"' in drop_in(l0_dir="/a b/100%")
    for path in ('/a"b', "/a'b", "/a\\b", "/a\nb"):
        with pytest.raises(InputError, match="quotes"):
            drop_in(l0_dir=path)


def test_a_directory_that_is_missing_is_named():
    """Without it the service would not start."""
    config = Config.model_validate({"daemon": {"l0_dir": "/l0"}})
    with pytest.raises(InputError, match=r"daemon\.l1_dir"):
        directories_drop_in(config, FILE, BIN)


@pytest.mark.parametrize(
    "name", ["config.toml", "systemd/panoseti-zarr.service", "systemd/panoseti-zarr.sysusers"]
)
def test_the_files_that_belong_to_the_program_are_found(name):
    """Of a checkout; the tests of an installation find those of a wheel."""
    assert source(name).is_file()


def test_the_example_configuration_needs_no_more_than_the_unit_has():
    """As installed, example and unit agree."""
    lines = directories_drop_in(load_config(source("config.toml")), FILE, BIN).splitlines()
    assert 'ReadWritePaths="-/data/zarr/L0"' in lines
    unit = source("systemd/panoseti-zarr.service").read_text()
    assert "ReadWritePaths=-/data/zarr\n" in unit


def test_a_command_that_fails_is_named_with_what_it_said():
    """One line, not a traceback; one that succeeds is silent."""
    install._call("true")
    with pytest.raises(InputError, match=r"^ls /nothing failed: .*No such file"):
        install._call("ls", "/nothing")
