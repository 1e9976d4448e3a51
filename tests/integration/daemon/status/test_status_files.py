"""The service's small files: lock, requests, status, ledger."""

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest
from support.service_process import environment

from panoseti_zarr.config import DaemonConfig
from panoseti_zarr.daemon.state.records import Run, Stream, StreamStatus
from panoseti_zarr.daemon.status.document import RunInfo, StatusDocument
from panoseti_zarr.daemon.status.file import read_status_file, write_status_file
from panoseti_zarr.daemon.status.ledger import LEDGER_NAME, Ledger, rows_of
from panoseti_zarr.daemon.status.lock import LOCK_NAME, is_locked, service_lock
from panoseti_zarr.daemon.status.requests import (
    REQUESTS_NAME,
    RetryRequest,
    find_requests,
    request_retry,
)
from panoseti_zarr.errors import ErrorCode, InputError

OFFSET_NS = 1_700_000_000 * 10**9


def example_run() -> Run:
    """Return a run with something in every field that the ledger keeps."""
    streams = {
        key: Stream(key, status, "d1", is_closed=True, n_frames=7, n_bytes=9, lag_s=1.5, reason=why)
        for key, status, why in (
            ("dp_img16.module_10", StreamStatus.DONE, ""),
            ("dp_img16.module_9", StreamStatus.QUARANTINED, "no\nheader"),
        )
    }
    return Run(
        "a.pffd",
        "/data",
        (0, 5, "a.pffd"),
        digest="d0",
        directory_mtime_ns=2**60 + 1,
        discovered_s=1.0,
        finished_s=2.5,
        warnings=("one", "two"),
        n_empty_files=3,
        completed_s=4.0,
        streams=streams,
    )


def document(name: str, reason: str | None = None) -> StatusDocument:
    """Return a status document with a run."""
    run = RunInfo(name=name, root="/data", state="waiting", reason=reason)
    return StatusDocument(written_at="2024-07-25T04:34:06Z", runs=(run,))


class TestLedger:
    """SQLite in the state directory."""

    def test_gives_back_what_was_saved(self, tmp_path):
        """Runs, the order of their streams, times, volumes: all as it was."""
        ledger = Ledger(tmp_path)
        ledger.save([rows_of(example_run(), OFFSET_NS)], (("/data", "sda1 (ext4)"),))
        ledger.close()
        ledger = Ledger(tmp_path)
        (found,) = ledger.load(OFFSET_NS)
        assert found == example_run()
        assert list(found.streams) == list(example_run().streams)
        assert ledger.volumes() == (("/data", "sda1 (ext4)"),)
        ledger.close()

    def test_times_that_no_integer_of_sqlite_holds(self, tmp_path):
        """A run's name may say the year 2300: it is kept, as the latest of all times."""
        ledger = Ledger(tmp_path)
        far = replace(example_run(), order=(0, 10**19, "a.pffd"), directory_mtime_ns=-(10**19))
        ledger.save([rows_of(far, OFFSET_NS)], ())
        (found,) = ledger.load(OFFSET_NS)
        assert (found.order[1], found.directory_mtime_ns) == (2**63 - 1, -(2**63))
        ledger.close()

    def test_an_older_ledger_gets_the_columns_that_it_lacks(self, tmp_path):
        """Of version 2, without `Stream.code`: everything that it holds is kept."""
        ledger = Ledger(tmp_path)
        ledger.save([rows_of(example_run(), OFFSET_NS)], ())
        ledger.close()
        with closing(sqlite3.connect(tmp_path / LEDGER_NAME)) as older, older:
            older.execute("ALTER TABLE streams DROP COLUMN code")
            older.execute("PRAGMA user_version = 2")
        ledger = Ledger(tmp_path)
        assert ledger.load(OFFSET_NS) == (example_run(),)
        assert ledger.replaced == ""
        changed = example_run()
        changed.streams["dp_img16.module_10"].code = ErrorCode.LATE_FILE
        ledger.save([rows_of(changed, OFFSET_NS)], ())
        assert ledger.load(OFFSET_NS) == (changed,)
        ledger.close()

    def test_volumes_that_cannot_be_read_are_put_aside(self, tmp_path):
        """With the ledger that has them: the service starts."""
        ledger = Ledger(tmp_path)
        ledger.save([rows_of(example_run(), OFFSET_NS)], ())
        ledger._db.execute("DROP TABLE places")
        assert ledger.volumes() == ()
        assert "places" in ledger.replaced
        assert ledger.load(OFFSET_NS) == ()
        ledger.close()

    def test_saves_again_what_changed(self, tmp_path):
        """A stream that is gone from a run is gone from the ledger."""
        ledger = Ledger(tmp_path)
        run = example_run()
        ledger.save([rows_of(run, OFFSET_NS)], ())
        del run.streams["dp_img16.module_10"]
        ledger.save([rows_of(run, OFFSET_NS)], ())
        (found,) = ledger.load(OFFSET_NS)
        assert list(found.streams) == ["dp_img16.module_9"]
        ledger.close()

    def test_times_survive_a_reboot(self, tmp_path):
        """The file holds Unix time: another monotonic clock shifts what is read."""
        ledger = Ledger(tmp_path)
        ledger.save([rows_of(example_run(), OFFSET_NS)], ())
        (found,) = ledger.load(OFFSET_NS + 10**9)
        assert found.finished_s == 1.5
        ledger.close()

    @pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 99, b""])
    def test_a_broken_file_is_put_aside(self, tmp_path, content):
        """What is no database is kept beside, and an empty ledger begun."""
        (tmp_path / LEDGER_NAME).write_bytes(content)
        ledger = Ledger(tmp_path)
        assert ledger.load(OFFSET_NS) == ()
        assert bool(ledger.replaced) == bool(content)
        assert (tmp_path / f"{LEDGER_NAME}.unusable").exists() == bool(content)
        ledger.close()

    def test_a_later_version_is_put_aside(self, tmp_path):
        """A ledger of a later program is not misread."""
        with sqlite3.connect(tmp_path / LEDGER_NAME) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()
        ledger = Ledger(tmp_path)
        assert "version is 99" in ledger.replaced
        ledger.close()

    def test_rows_that_make_no_sense_are_put_aside(self, tmp_path):
        """An unknown state in a row replaces the ledger instead of stopping the service."""
        ledger = Ledger(tmp_path)
        ledger.save([rows_of(example_run(), OFFSET_NS)], ())
        ledger.close()
        with sqlite3.connect(tmp_path / LEDGER_NAME) as database:
            database.execute("UPDATE streams SET status = 'dancing'")
        database.close()
        ledger = Ledger(tmp_path)
        assert ledger.load(OFFSET_NS) == ()
        assert "dancing" in ledger.replaced
        ledger.close()


class TestLock:
    """One service per state directory."""

    def test_holds_and_names_its_process(self, tmp_path):
        """While it is held a second one fails, and the message names pid and host."""
        holder = f"pid {os.getpid()} on {socket.gethostname()}"
        with service_lock(tmp_path):
            assert is_locked(tmp_path)
            with pytest.raises(InputError, match=holder), service_lock(tmp_path):
                pass
        assert not is_locked(tmp_path)
        assert (tmp_path / LOCK_NAME).exists()

    def test_dies_with_its_process(self, tmp_path):
        """A process that ends without a word leaves no lock."""
        script = (
            "import os, pathlib, sys; from panoseti_zarr.daemon.status.lock import service_lock\n"
            "with service_lock(pathlib.Path(sys.argv[1])): os._exit(9)"
        )
        subprocess.run([sys.executable, "-c", script, tmp_path], env=environment(), check=False)
        assert (tmp_path / LOCK_NAME).read_text().startswith("pid ")
        assert not is_locked(tmp_path)

    def test_a_directory_without_a_lock_is_not_locked(self, tmp_path):
        """Nobody ran here."""
        assert not is_locked(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_a_link_is_not_followed(self, tmp_path):
        """A lock file that is a link is refused: it could lead anywhere."""
        (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
        with pytest.raises(InputError), service_lock(tmp_path):
            pass


class TestRequests:
    """What `panoseti-zarr retry` leaves for the service."""

    def test_are_found_oldest_first(self, tmp_path):
        """A request of a run that is in a data root waits until its file is removed."""
        (tmp_path / REQUESTS_NAME).mkdir()
        settings = DaemonConfig(data_root=(tmp_path,))
        for name in ("b.pffd", "a.pffd"):
            (tmp_path / name).mkdir()
            request_retry(settings, tmp_path, name, rebuild=name.startswith("a"))
        found = find_requests(tmp_path)
        expected = [RetryRequest("b.pffd", rebuild=False), RetryRequest("a.pffd", rebuild=True)]
        assert list(found.values()) == expected
        next(iter(found)).unlink()
        assert list(find_requests(tmp_path).values()) == expected[1:]

    def test_the_service_can_read_them_whatever_the_umask(self, tmp_path):
        """Root asks, with a umask that keeps others out."""
        (tmp_path / REQUESTS_NAME).mkdir()
        (tmp_path / "a.pffd").mkdir()
        before = os.umask(0o077)
        try:
            request_retry(DaemonConfig(data_root=(tmp_path,)), tmp_path, "a.pffd", rebuild=False)
        finally:
            os.umask(before)
        (path,) = find_requests(tmp_path)
        assert path.stat().st_mode & 0o777 == 0o644

    def test_a_run_that_only_the_status_knows_is_known(self, tmp_path):
        """Its directory may be away at present."""
        (tmp_path / REQUESTS_NAME).mkdir()
        write_status_file(tmp_path, document("old.pffd"))
        request_retry(DaemonConfig(), tmp_path, "old.pffd", rebuild=False)
        assert len(find_requests(tmp_path)) == 1

    @pytest.mark.parametrize("name", ["nothing.pffd", "..", "", "evil\n.pffd"])
    def test_an_unknown_run_is_an_error(self, tmp_path, name):
        """Nothing is left behind."""
        (tmp_path / REQUESTS_NAME).mkdir()
        with pytest.raises(InputError, match="no run named"):
            request_retry(DaemonConfig(data_root=(tmp_path,)), tmp_path, name, rebuild=False)
        assert find_requests(tmp_path) == {}

    @pytest.mark.parametrize(
        "content",
        [
            *(b"", b"[]", b"{}", b"\xff", b"[" * 4096),
            b'{"request": "rm", "run": "a", "rebuild": true}',
        ],
    )
    def test_a_file_that_is_no_request_says_why(self, tmp_path, content):
        """Rubbish in the directory is a problem to log, not an error."""
        (tmp_path / REQUESTS_NAME).mkdir()
        (tmp_path / REQUESTS_NAME / "1.json").write_bytes(content)
        (reason,) = find_requests(tmp_path).values()
        assert isinstance(reason, str)
        assert reason


class TestStatusFile:
    """The status file."""

    def test_is_replaced_in_one_step_and_holds_no_password(self, tmp_path):
        """A reader meets the old or the new document, and neither shows a secret."""
        write_status_file(tmp_path, document("a.pffd", reason="ftp://me:word@host/x"))
        assert "word" not in (tmp_path / "status.json").read_text()
        found = read_status_file(tmp_path)
        assert found.runs[0].reason == "ftp://host/x"
        assert os.listdir(tmp_path) == ["status.json"]

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 2}'])
    def test_a_torn_or_foreign_file_is_like_none(self, tmp_path, content):
        """No service has written a status yet."""
        (tmp_path / "status.json").write_bytes(content)
        assert read_status_file(tmp_path) == StatusDocument()
