"""How an L1 store comes to its place: whole, once, and never over what is not ours."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from support.l0_arrays import write_l0
from support.stores import chunk_digests, read_arrays, snapshot
from support.waiting import PATIENCE_S

from panoseti_zarr.cluster import ThreadExecutor
from panoseti_zarr.config import BaselineSubtractConfig
from panoseti_zarr.errors import (
    CorruptDataError,
    InputError,
    StopRequestedError,
    StoreLockedError,
    TransientIOError,
)
from panoseti_zarr.io.fs.locks import store_lock
from panoseti_zarr.io.l1.tasks import subtract_chunk
from panoseti_zarr.pipeline.l1 import l1_matches, make_l1

NAME = "x_L1.zarr"


@pytest.fixture
def l0(tmp_path):
    """A closed L0 store of 50 images in four chunks."""
    images = np.random.default_rng(0).poisson(40, (50, 32, 32))
    arrays = {"images": images, "quality": np.zeros(50)}
    return write_l0(tmp_path / "x.zarr", "img16", arrays, time_chunk=16)


@pytest.fixture
def l1(tmp_path):
    """Where the L1 store shall be; its directory is not there yet."""
    return tmp_path / "made" / "l1" / NAME


def subtract(l0, l1, executor=None, stop=None, **settings):
    with ThreadExecutor(2) as threads:
        return make_l1(l0, l1, BaselineSubtractConfig(**settings), executor or threads, stop=stop)


def change_root(store, **attributes):
    """Change root attributes of a store, as another commit or store would."""
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"].update(attributes)
    (store / "zarr.json").write_text(json.dumps(root))


class Disturbing(ThreadExecutor):
    """Runs tasks in a thread, and does something before the first subtraction."""

    def __init__(self, disturb):
        super().__init__(1)
        self._disturb = disturb

    def submit(self, function, *args, **kwargs):
        if function is subtract_chunk and self._disturb:
            self._disturb()
            self._disturb = None
        return super().submit(function, *args, **kwargs)


def test_only_the_store_and_its_lock_file_stay(l0, l1):
    """The directory is made; nothing hidden is left but the lock; the L0 store is untouched."""
    before = snapshot(l0)
    result = subtract(l0, l1)
    assert sorted(os.listdir(l1.parent)) == [f".{NAME}.lock", NAME]
    assert snapshot(l0) == before
    assert (result.path, result.n_frames) == (l1, 50)
    files = [path for path in l1.rglob("*") if path.is_file()]
    assert result.n_bytes == sum(path.stat().st_size for path in files)
    assert result.seconds > 0


def test_existing_store_is_replaced_whole(l0, l1):
    """Another window, codec and L0 commit: everything in the store is the new one's."""
    subtract(l0, l1, baseline_window=7, baseline_mode="running")
    first = os.stat(l1).st_ino
    with os.scandir(l1):  # a reader that has the old store open
        change_root(l0, commit=2)
        subtract(l0, l1, codec="zstd")
    assert os.stat(l1).st_ino != first
    assert len(read_arrays(l1)["baseline/window_start"]) == 1
    assert json.loads((l1 / "zarr.json").read_text())["attributes"]["l0_commit"] == 2
    assert sorted(os.listdir(l1.parent)) == [f".{NAME}.lock", NAME]


def test_same_store_again_is_the_same_byte_by_byte(l0, l1):
    """Making it twice changes nothing that is in it."""
    subtract(l0, l1)
    first = chunk_digests(l1), (l1 / "zarr.json").read_bytes()
    subtract(l0, l1)
    assert (chunk_digests(l1), (l1 / "zarr.json").read_bytes()) == first


def test_leftovers_of_a_killed_run_are_removed(l0, l1):
    """Half a new store, and staged chunks, of a run that was killed."""
    subtract(l0, l1)
    expected = chunk_digests(l1)
    for leftover in (f".{NAME}.new", f".{NAME}.staging"):
        (l1.parent / leftover / "images/c/0/0").mkdir(parents=True)
        (l1.parent / leftover / "images/c/0/0/0").write_bytes(b"half")
    subtract(l0, l1)
    assert chunk_digests(l1) == expected
    assert sorted(os.listdir(l1.parent)) == [f".{NAME}.lock", NAME]


def test_store_that_was_set_aside_comes_back(l0, l1):
    """Where names cannot be exchanged, a kill between two renames loses no store."""
    subtract(l0, l1)
    l1.rename(l1.parent / f".{NAME}.old")
    stop = threading.Event()
    stop.set()
    with pytest.raises(StopRequestedError):
        subtract(l0, l1, stop=stop)
    assert l1_matches(l0, l1)
    assert sorted(os.listdir(l1.parent)) == [f".{NAME}.lock", NAME]


def test_l1_matches_the_commit_it_was_made_from(l0, l1):
    """Store, commit and frame count decide; settings and other attributes do not."""
    assert not l1_matches(l0, l1)
    subtract(l0, l1)
    assert l1_matches(l0, l1)
    change_root(l1, settings={})
    assert l1_matches(l0, l1)
    for changed in ({"commit": 2}, {"commit": 1, "n_frames": 49}, {"n_frames": 50}):
        change_root(l0, **changed)
        assert l1_matches(l0, l1) == (changed == {"n_frames": 50})
    change_root(l0, store_id="another")
    assert not l1_matches(l0, l1)
    with pytest.raises(InputError, match="cannot read"):
        l1_matches(l0.with_name("none"), l1)


def test_open_store_is_refused(l0, l1):
    """Frames may still come to a store that is not closed."""
    change_root(l0, closed=False)
    with pytest.raises(InputError, match="not closed"):
        subtract(l0, l1)
    assert not l1.parent.exists()


def test_absent_store_is_refused(l0, l1):
    """No L0 store: an error that names it, and nothing is made."""
    with pytest.raises(InputError, match=r"none\.zarr"):
        subtract(l0.with_name("none.zarr"), l1)
    assert not l1.parent.exists()


@pytest.mark.parametrize("kind", ["directory", "file", "l0", "link", "group"])
def test_what_is_not_ours_is_not_replaced(l0, l1, kind):
    """A directory, a file, an L0 store, a link, another Zarr group: refused, and left alone."""
    l1.parent.mkdir(parents=True)
    if kind == "directory":
        l1.mkdir()
        (l1 / "precious").write_text("data")
    elif kind == "file":
        l1.write_text("data")
    elif kind == "link":
        subtract(l0, l1.with_name("other.zarr"))
        l1.symlink_to("other.zarr")
    elif kind == "group":
        l1.mkdir()
        (l1 / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    else:
        l1 = l0
    before = snapshot(l1.parent)
    with pytest.raises(InputError, match="not replaced"):
        subtract(l0, l1)
    assert snapshot(l1.parent) == before


def test_store_inside_the_l0_store_is_refused(l0):
    """Nothing but Zarr lies inside a store."""
    with pytest.raises(InputError, match="inside"):
        subtract(l0, l0 / NAME)


def test_a_second_maker_learns_who_holds_the_store(l0, l1):
    """One maker per store; the error names the pid."""
    l1.parent.mkdir(parents=True)
    with (
        store_lock(l1.parent, l1.name),
        pytest.raises(StoreLockedError, match=f"pid {os.getpid()}"),
    ):
        subtract(l0, l1)


def test_stop_leaves_the_old_store(l0, l1):
    """A stop in the middle of the subtraction changes nothing."""
    subtract(l0, l1)
    before = snapshot(l1)
    stop = threading.Event()
    with Disturbing(stop.set) as executor, pytest.raises(StopRequestedError):
        subtract(l0, l1, executor, stop)
    assert snapshot(l1) == before
    assert sorted(os.listdir(l1.parent)) == [f".{NAME}.lock", NAME]


@pytest.mark.parametrize("mode", ["initial", "running"])
@pytest.mark.parametrize("path", ["images/c/3/0/0", "quality/c/3", "headers/quabo_2/tv_sec/c/3"])
def test_missing_chunk_is_an_error(l0, l1, path, mode):
    """A chunk that is not there is never zeros, NaN or an absent copy."""
    (l0 / path).unlink()
    with pytest.raises(CorruptDataError):
        subtract(l0, l1, baseline_window=5, baseline_mode=mode)
    assert os.listdir(l1.parent) == [f".{NAME}.lock"]


@pytest.mark.parametrize("path", ["images/c/2/0/0", "quality/c/2"])
def test_damaged_chunk_is_an_error(l0, l1, path):
    """A bit that flipped in L0 fails its checksum and makes no L1."""
    data = bytearray((l0 / path).read_bytes())
    data[len(data) // 2] ^= 1
    (l0 / path).write_bytes(data)
    with pytest.raises(CorruptDataError):
        subtract(l0, l1)


def test_l0_that_changes_meanwhile_is_tried_again_later(l0, l1):
    """A commit, or a rebuild, while tasks read: transient, and no L1 of two commits."""
    with (
        Disturbing(lambda: change_root(l0, commit=2)) as executor,
        pytest.raises(TransientIOError, match="changed"),
    ):
        subtract(l0, l1, executor)
    assert not l1.exists()


def test_l0_that_is_removed_meanwhile_is_not_called_corrupt(l0, l1):
    """Chunks that are missing because the store went are a transient error."""
    with (
        Disturbing(lambda: l0.rename(l0.with_name("gone"))) as executor,
        pytest.raises(TransientIOError, match="changed"),
    ):
        subtract(l0, l1, executor)


def test_what_came_to_the_place_meanwhile_is_not_replaced(l0, l1):
    """Someone makes a directory where the store shall go: refused at the end, and left alone."""
    with Disturbing(l1.mkdir) as executor, pytest.raises(InputError, match="not replaced"):
        subtract(l0, l1, executor)
    assert os.listdir(l1) == []
    assert sorted(os.listdir(l1.parent)) == [f".{NAME}.lock", NAME]


def test_directory_that_cannot_be_written_is_transient(l0, tmp_path):
    """A file where a directory should be made: an I/O error, one line."""
    (tmp_path / "file").write_text("")
    with pytest.raises(TransientIOError, match="cannot make the L1 store"):
        subtract(l0, tmp_path / "file" / NAME)


def command(*arguments):
    """Run ``panoseti-zarr baseline`` in a process of its own."""
    words = [sys.executable, "-m", "panoseti_zarr", "baseline", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_command_makes_a_store_and_says_so(l0, l1, tmp_path):
    """One line on stdout; options go before the configuration."""
    config = tmp_path / "config.toml"
    config.write_text('[baseline_subtract]\nbaseline_window = 9\ncodec = "gzip"\n')
    done = command(l0, l1, "--config", config, "--baseline-window", 12, "--level", 3)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert done.stdout.startswith(f"{NAME}: 50 frames, ")
    settings = json.loads((l1 / "zarr.json").read_text())["attributes"]["settings"]
    assert (settings["baseline_window"], settings["codec"], settings["level"]) == (12, "gzip", 3)
    assert read_arrays(l1)["baseline/window_stop"].tolist() == [12]


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        (["--codec", "rar"], 2, "codec"),
        (["--baseline-window", "-1"], 2, "baseline_window"),
        (["--level", "99"], 2, "level"),
        (["--window", "3"], 2, "No such option"),
    ],
)
def test_command_refuses_wrong_options(l0, l1, options, code, reason):
    """Exit code 2, and the name of what is wrong."""
    done = command(l0, l1, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert reason in done.stderr
    assert not l1.exists()


def test_command_fails_in_one_line(l0, l1):
    """What cannot be done is one line on stderr and exit code 1, with no traceback."""
    l1.mkdir(parents=True)
    done = command(l0, l1)
    assert os.listdir(l1.parent) == [NAME]
    assert (done.returncode, done.stdout) == (1, "")
    error = [line for line in done.stderr.splitlines() if not line.startswith("config: ")]
    assert len(error) == 1
    assert error[0].startswith("error: not an L1 store of panoseti-zarr is there")
