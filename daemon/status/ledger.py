"""The service's memory between starts: a small SQLite file that may be deleted.

It saves looking into every store at each start, and remembers what the stores cannot tell: what
is in quarantine and why, and what was removed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import fields
from pathlib import Path
from typing import Any

from panoseti_zarr.daemon.state.records import Run, RunPhase, Stream, StreamStatus, VerifyStatus
from panoseti_zarr.errors import ErrorCode
from panoseti_zarr.io.fs.failpoints import reached

LEDGER_NAME = "ledger.sqlite3"
LEDGER_VERSION = 3
"""Version 3 has a column for `Stream.code`. Older ledgers get the columns that they lack."""

_OLDEST_VERSION = 2

_TIMES = ("discovered_s", "finished_s", "completed_s")
_RUN_COLUMNS = (
    "name",
    "root",
    "digest",
    "directory_mtime_ns",
    "is_complete",
    "is_removed",
    "rebuild",
    "n_empty_files",
)
_NOT_KEPT = {
    "due_s",
    "n_attempts",
    "requeue_after_job",
    "n_verify_attempts",
    "verify_due_s",
    "size_bytes",
}
_STREAM_COLUMNS = tuple(field.name for field in fields(Stream) if field.name not in _NOT_KEPT)

Rows = tuple[tuple[Any, ...], tuple[tuple[Any, ...], ...]]


class Ledger:
    """The open ledger; one thread at a time may use it.

    Parameters
    ----------
    state_dir : Path
        On a local disk: WAL needs shared memory.

    Raises
    ------
    sqlite3.Error
        It cannot be opened, even again.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LEDGER_NAME
        self.replaced = ""
        """Why the ledger that was there could not be used; empty where it could."""
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            self._replace(str(error))

    def load(self, offset_ns: int) -> tuple[Run, ...]:
        """Read every run; a ledger that makes no sense is replaced, and gives none.

        Parameters
        ----------
        offset_ns : int
            Unix time minus monotonic time: the ledger holds the first, records the second.
        """
        try:
            return self._read(offset_ns)
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as error:
            self._replace(f"{type(error).__name__}: {error}")
            return ()

    def volumes(self) -> tuple[tuple[str, str], ...]:
        """Return on which volumes data roots and output directories were when all was well."""
        try:
            return tuple(self._db.execute("SELECT path, volume FROM places"))
        except sqlite3.DatabaseError as error:
            self._replace(f"{type(error).__name__}: {error}")
            return ()

    def save(self, rows: list[Rows], volumes: tuple[tuple[str, str], ...]) -> None:
        """Write runs, as `rows_of` gives them, and volumes, in one transaction."""
        with self._db:
            self._db.executemany("REPLACE INTO places VALUES (?, ?)", volumes)
            for run, streams in rows:
                marks = ", ".join("?" * len(run))
                self._db.execute(f"REPLACE INTO runs VALUES ({marks})", run)  # noqa: S608
                self._db.execute("DELETE FROM streams WHERE run = ?", run[:1])
                names = ", ".join(("run", *_STREAM_COLUMNS))
                marks = ", ".join("?" * (len(_STREAM_COLUMNS) + 1))
                insert = f"INSERT INTO streams ({names}) VALUES ({marks})"  # noqa: S608
                self._db.executemany(insert, streams)
                reached("ledger.run_written")
        reached("ledger.committed")

    def close(self) -> None:
        """Fold the log into the file and close it."""
        self._db.close()

    def _read(self, offset_ns: int) -> tuple[Run, ...]:
        columns = (*_RUN_COLUMNS, "order_kind", "order_ns", "warnings", *_TIMES)
        names = ", ".join(columns)
        runs: dict[str, Run] = {}
        for row in self._db.execute(f"SELECT {names} FROM runs"):  # noqa: S608 - our own names
            values = dict(zip(columns, row, strict=True))
            order = (values.pop("order_kind"), values.pop("order_ns"), values["name"])
            warnings = tuple(values.pop("warnings").splitlines())
            for name in _TIMES:
                values[name] = None if values[name] is None else (values[name] - offset_ns) / 1e9
            values["rebuild"] = bool(values["rebuild"])
            if not values.pop("is_complete"):
                values["completed_s"] = None
            phase = RunPhase.REMOVED if values.pop("is_removed") else RunPhase.SETTLING
            runs[values["name"]] = Run(order=order, phase=phase, warnings=warnings, **values)
        names = ", ".join(_STREAM_COLUMNS)
        for run, *row in self._db.execute(
            f"SELECT run, {names} FROM streams ORDER BY rowid"  # noqa: S608 - our own names
        ):
            values = dict(zip(_STREAM_COLUMNS, row, strict=True))
            values["status"] = StreamStatus(values["status"])
            values["verify"] = VerifyStatus(values["verify"])
            values["code"] = ErrorCode(values["code"])
            for name in ("is_closed", "rebuild", "refresh_l1"):
                values[name] = bool(values[name])
            runs[run].streams[values["key"]] = Stream(**values)
        return tuple(runs.values())

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version and not _OLDEST_VERSION <= version <= LEDGER_VERSION:
            raise sqlite3.DatabaseError(f"its version is {version}, not {LEDGER_VERSION}")
        with self._db:
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS runs ({', '.join(_RUN_COLUMNS)}, order_kind, order_ns,"
                f" warnings, {', '.join(_TIMES)}, PRIMARY KEY (name))"
            )
            self._db.execute(
                f"CREATE TABLE IF NOT EXISTS streams (run, {', '.join(_STREAM_COLUMNS)},"
                " PRIMARY KEY (run, key))"
            )
            self._db.execute("CREATE TABLE IF NOT EXISTS places (path PRIMARY KEY, volume)")
            self._add_missing_columns()
            self._db.execute(f"PRAGMA user_version = {LEDGER_VERSION}")
        reached("ledger.opened")

    def _add_missing_columns(self) -> None:
        """Give the streams of an older ledger the fields that they have since."""
        held = {name for _, name, *_ in self._db.execute("PRAGMA table_info(streams)")}
        for column in fields(Stream):
            if column.name in _STREAM_COLUMNS and column.name not in held:
                default = repr(str(column.default))
                self._db.execute(f"ALTER TABLE streams ADD COLUMN {column.name} DEFAULT {default}")

    def _replace(self, reason: str) -> None:
        """Put a ledger that cannot be used aside, and begin again."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        for suffix in ("-wal", "-shm"):
            self._path.with_name(f"{LEDGER_NAME}{suffix}").unlink(missing_ok=True)
        self._path.rename(self._path.with_name(f"{LEDGER_NAME}.unusable"))
        reached("ledger.put_aside")
        self._open()
        self.replaced = reason


def rows_of(run: Run, offset_ns: int) -> Rows:
    """Return a run as the ledger's rows; nothing in them changes with the run.

    Whole numbers are cut to the 64 bits that SQLite has: a name may say that a run began in 2300.
    """
    times = (getattr(run, name) for name in _TIMES)
    row = (
        *(getattr(run, name) for name in _RUN_COLUMNS),
        run.order[0],
        run.order[1],
        "\n".join(run.warnings),
        *(None if time_s is None else int(time_s * 1e9) + offset_ns for time_s in times),
    )
    streams = tuple(
        (run.name, *(_in_64_bits(getattr(stream, name)) for name in _STREAM_COLUMNS))
        for stream in run.streams.values()
    )
    return tuple(map(_in_64_bits, row)), streams


def _in_64_bits(value: Any) -> Any:
    return max(-(2**63), min(value, 2**63 - 1)) if type(value) is int else value
