"""Watch notices become hints, by inotify and by polling."""

import threading

import pytest

from panoseti_zarr.daemon.watch.mounts import mount_of
from panoseti_zarr.daemon.watch.watcher import MAX_RUN_WATCHES, HintCoalescer, Watcher


class Hints:
    """Collects hints, and lets tests wait for one."""

    def __init__(self):
        self.seen = []
        self._changed = threading.Condition()

    def __call__(self, root, run):
        with self._changed:
            self.seen.append((root, run))
            self._changed.notify_all()

    def wait_for(self, hint):
        """Wait until a hint has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: hint in self.seen, 30), self.seen


@pytest.fixture
def hints():
    return Hints()


@pytest.fixture(params=["inotify", "polling"])
def watcher(request, hints, monkeypatch):
    """A watcher of each kind, polling fast."""
    monkeypatch.setattr("panoseti_zarr.daemon.watch.watcher._POLL_S", 0.1)
    watcher = Watcher(request.param, hints)
    yield watcher
    watcher.close()


def test_a_new_run_is_a_hint(watcher, hints, tmp_path):
    """A directory made in a root names its run."""
    watcher.watch_root(str(tmp_path))
    (tmp_path / "new.pffd").mkdir()
    hints.wait_for((str(tmp_path), "new.pffd"))


def test_a_marker_in_a_watched_run_is_a_hint(watcher, hints, tmp_path):
    """A file made in a run names the run."""
    (tmp_path / "a.pffd").mkdir()
    watcher.watch_root(str(tmp_path))
    watcher.watch_run(str(tmp_path), "a.pffd")
    hints.seen.clear()
    (tmp_path / "a.pffd" / "run_complete").touch()
    hints.wait_for((str(tmp_path), "a.pffd"))


def test_a_new_watch_is_a_hint_itself(watcher, hints, tmp_path):
    """What happened before the watch was there is looked for once, not again and again."""
    (tmp_path / "a.pffd").mkdir()
    for _ in range(2):
        watcher.watch_root(str(tmp_path))
        watcher.watch_run(str(tmp_path), "a.pffd")
    assert hints.seen == [(str(tmp_path), None), (str(tmp_path), "a.pffd")]


def test_something_else_in_a_root_is_a_hint_without_a_run(watcher, hints, tmp_path):
    """What has no run's name may still be worth a rescan."""
    watcher.watch_root(str(tmp_path))
    hints.seen.clear()
    (tmp_path / "other").mkdir()
    hints.wait_for((str(tmp_path), None))


def test_a_root_that_was_replaced_is_watched_again(watcher, hints, tmp_path):
    """After a remount the next listing puts the watch on the new directory."""
    root = tmp_path / "root"
    root.mkdir()
    watcher.watch_root(str(root))
    root.rename(tmp_path / "old")
    root.mkdir()
    watcher.watch_root(str(root))
    (root / "new.pffd").mkdir()
    hints.wait_for((str(root), "new.pffd"))


def test_a_dead_observer_is_replaced(watcher, hints, tmp_path):
    """The next listing after an observer's death starts a new one."""
    watcher.watch_root(str(tmp_path))
    for observer in watcher._observers.values():
        observer.stop()
        observer.join()
    watcher.watch_root(str(tmp_path))
    (tmp_path / "new.pffd").mkdir()
    hints.wait_for((str(tmp_path), "new.pffd"))


def test_a_root_that_is_missing_is_an_error(watcher, tmp_path):
    """Who asked is told; the rescan does without."""
    with pytest.raises(OSError, match="No such file"):
        watcher.watch_root(str(tmp_path / "nothing"))


def test_watches_of_runs_are_few(hints, tmp_path):
    """An archive of unfinished runs does not use up the system's watches."""
    watcher = Watcher("inotify", hints)
    for number in range(MAX_RUN_WATCHES + 3):
        (tmp_path / f"{number}.pffd").mkdir()
        watcher.watch_run(str(tmp_path), f"{number}.pffd")
    assert len(watcher._runs) == MAX_RUN_WATCHES
    watcher.unwatch_run(str(tmp_path), "0.pffd")
    watcher.watch_run(str(tmp_path), f"{MAX_RUN_WATCHES}.pffd")
    assert len(watcher._runs) == MAX_RUN_WATCHES
    watcher.close()


def test_a_hint_passes_once_until_it_is_acknowledged():
    """A flood of notices is one hint."""
    told = []
    once = HintCoalescer(lambda root, run: told.append((root, run)))
    for _ in range(1000):
        once("/a", "x")
        once("/a", None)
    assert told == [("/a", "x"), ("/a", None)]
    once.acknowledge("/a", "x")
    once("/a", "x")
    assert told[2:] == [("/a", "x")]


def assert_watched_again(watcher, hints, root):
    """A rescan puts every watch back, with a hint each; then notices come again."""
    hints.seen.clear()
    watcher.watch_root(str(root))
    assert hints.seen == [(str(root), None), (str(root), "a.pffd")]
    hints.seen.clear()
    (root / "new.pffd").mkdir()
    hints.wait_for((str(root), "new.pffd"))
    (root / "a.pffd" / "run_complete").touch()
    hints.wait_for((str(root), "a.pffd"))


def test_a_dead_watch_is_replaced(watcher, hints, tmp_path):
    """Where the thread of one watch died and the observer lives, the next listing mends it."""
    (tmp_path / "a.pffd").mkdir()
    watcher.watch_root(str(tmp_path))
    watcher.watch_run(str(tmp_path), "a.pffd")
    for observer in watcher._observers.values():
        assert len(observer.emitters) == 2
        for emitter in observer.emitters:
            emitter.stop()
            emitter.join()
    assert_watched_again(watcher, hints, tmp_path)


def test_a_dead_reader_of_the_kernel_s_queue_is_replaced(hints, tmp_path):
    """Without it every watch would stay silent though its threads live."""
    watcher = Watcher("inotify", hints)
    (tmp_path / "a.pffd").mkdir()
    watcher.watch_root(str(tmp_path))
    watcher.watch_run(str(tmp_path), "a.pffd")
    watcher._notices.stop()
    watcher._notices.join()
    assert_watched_again(watcher, hints, tmp_path)
    watcher.close()


@pytest.mark.parametrize(
    ("kind", "watched"),
    [("nfs4", "polling"), ("fuse.sshfs", "polling"), ("ext4", "inotify"), ("tmpfs", "inotify")],
)
def test_auto_polls_what_other_machines_can_change(hints, tmp_path, monkeypatch, kind, watched):
    """The type of the mount decides, as the kernel's table has it."""
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 0:1 / {tmp_path} rw - {kind} server:/x rw\n")
    monkeypatch.setattr(
        "panoseti_zarr.daemon.watch.watcher.mount_of", lambda path: mount_of(path, table)
    )
    watcher = Watcher("auto", hints)
    watcher.watch_root(str(tmp_path))
    assert list(watcher._observers) == [watched]
    table.write_text(f"1 0 0:1 / {tmp_path} rw - ext4 /dev/sda1 rw\n")
    watcher.watch_root(str(tmp_path))
    assert watcher.kind_of(str(tmp_path)) == "inotify"
    hints.seen.clear()
    (tmp_path / "new.pffd").mkdir()
    hints.wait_for((str(tmp_path), "new.pffd"))
    watcher.close()
