"""A run's configuration files, as they are published in its stores."""

import errno
import hashlib
import json
import os

import pytest

from panoseti_zarr.errors import TransientIOError
from panoseti_zarr.io.pff.run_config import MAX_FILE_BYTES, max_file_bytes, read_run_config


@pytest.mark.parametrize(
    ("url", "published"),
    [
        ("http://admin:secret@10.0.0.5/ups", "http://10.0.0.5/ups"),
        ("https://admin@host:8080/x", "https://host:8080/x"),
        ("http://admin:p@ss@host/", "http://host/"),
        ("http://admin:pa/ss@host/", "http://host/"),
        ("see ftp://u:p@h and http://v:q@i.", "see ftp://h and http://i."),
        ("http://host/path", "http://host/path"),
        ("observer@example.org", "observer@example.org"),
    ],
)
def test_user_names_and_passwords_are_taken_out(tmp_path, url, published):
    """No user name or password of a URL is left, at any depth and in keys too."""
    document = {"domes": [{"ups": {"url": url}}], url: 1}
    (tmp_path / "obs_config.json").write_text(json.dumps(document))
    found = read_run_config(tmp_path)["obs_config.json"]
    assert found == {"domes": [{"ups": {"url": published}}], published: 1}


def test_values_of_secret_keys_are_removed(tmp_path):
    """A key that names a password has its value removed."""
    (tmp_path / "a.json").write_text(
        '{"Password": "x", "nested": {"api_token": ["y"]}, "gain": 60}'
    )
    assert read_run_config(tmp_path)["a.json"] == {
        "Password": "removed",
        "nested": {"api_token": "removed"},
        "gain": 60,
    }


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'"' + b"x" * MAX_FILE_BYTES + b'"']
)
def test_what_is_no_small_json_is_named_by_its_digest(tmp_path, content):
    """Large files and those that are not JSON are recorded by size and sha256."""
    (tmp_path / "big.json").write_bytes(content)
    assert read_run_config(tmp_path)["big.json"] == {
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_only_regular_json_files_are_read(tmp_path):
    """Links, directories, dot files and other files are left alone."""
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    (tmp_path / "dir.json").mkdir()
    (tmp_path / ".hidden.json").write_text("{}")
    (tmp_path / "hk.pff").write_text("{}")
    assert read_run_config(tmp_path) == {"real.json": {}}


def test_a_directory_that_is_gone_is_tried_again_later(tmp_path):
    """As whatever else the system refuses, and not as an error of its own kind."""
    with pytest.raises(TransientIOError, match="reading the run's configuration: No such file"):
        read_run_config(tmp_path / "gone.pffd")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch, number):
    """One file with the rights of another user holds up no frame; a failing disk is waited for."""
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.json").write_text("{}")
    opened = os.open

    def refuse(path, *args, **options):
        if str(path).endswith("b.json"):
            raise OSError(number, os.strerror(number), str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(os, "open", refuse)
    if number == errno.EIO:
        with pytest.raises(TransientIOError, match=r"Input/output error.*b\.json"):
            read_run_config(tmp_path)
    else:
        assert read_run_config(tmp_path)["b.json"] == {"unreadable": "Permission denied"}


@pytest.mark.parametrize(
    ("config", "n_bytes"),
    [
        ({"data_config.json": {"max_file_size_mb": 4000}}, 4_000_000_000),
        ({"data_config.json": {"max_file_size_mb": 0.5}}, 500_000),
        ({"data_config.json": {"max_file_size_mb": 0}}, 0),
        ({"data_config.json": {"max_file_size_mb": "x"}}, 0),
        ({"data_config.json": []}, 0),
        ({}, 0),
    ],
)
def test_size_of_a_full_file(config, n_bytes):
    """The size at which the DAQ opens the next file; 0 where it is not told."""
    assert max_file_bytes(config) == n_bytes
