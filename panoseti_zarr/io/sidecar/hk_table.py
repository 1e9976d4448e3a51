"""A run's ``hk.pff`` as a table: ``{run}.hk.parquet``.

Read twice, so that memory is bounded whatever its length: for the columns, then for the rows.
Needs pyarrow, which nothing else does: ``pip install 'panoseti-zarr[hk]'``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from panoseti_zarr import __version__
from panoseti_zarr.core.pff.hk_records import (
    BoardRecord,
    Column,
    ColumnFinder,
    as_number,
    as_text,
    parse_line,
)
from panoseti_zarr.errors import CorruptDataError, SourceChangedError
from panoseti_zarr.io.fs.durable import sync_directory, sync_file

if TYPE_CHECKING:
    import pyarrow as pa

Item = TypeVar("Item")

HK_NAME = "hk.pff"
TABLE_FORMAT = "panoseti-zarr-hk"
TABLE_FORMAT_VERSION = 1

MAX_LINE_BYTES = 1 << 20
"""A longer line is no record; it is not held in memory."""

ROWS_AT_ONCE = 8192
"""Records in memory."""

BATCHES_A_GROUP = 4
"""Of this many rows, in a row group of the table."""


@dataclass(frozen=True)
class TableSummary:
    """What went into the table.

    Attributes
    ----------
    n_rows : int
        One for each time a board said something.
    n_bad_lines : int
        Lines that are no records.
    is_cut_short : bool
        The last line is one of these, and has no end.
    n_without_time : int
        Rows.
    boards : dict of str to int
        Rows of each board.
    """

    n_rows: int
    n_bad_lines: int
    is_cut_short: bool
    n_without_time: int
    boards: dict[str, int]


class _Reading:
    """One pass over the records of a file, as long as it was when the pass began."""

    def __init__(self, file: BinaryIO, size_bytes: int) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self.n_bad_lines = 0
        self.is_cut_short = False

    def records(self) -> Iterator[BoardRecord]:
        """Yield what each board said, in order."""
        for line in self._lines():
            found = parse_line(line) if len(line) <= MAX_LINE_BYTES else None
            if found is None:
                self.n_bad_lines += 1
                self.is_cut_short = not line.endswith(b"\n")
            else:
                yield from found

    def _lines(self) -> Iterator[bytes]:
        """Yield the lines that are not blank; of those that are too long, a part."""
        self._file.seek(0)
        left = self._size_bytes
        while left > 0:
            line = part = self._file.readline(min(left, MAX_LINE_BYTES + 1))
            if not line:
                raise SourceChangedError("file shrank while it was read", path=HK_NAME)
            left -= len(line)
            while left > 0 and not part.endswith(b"\n"):
                part = self._file.readline(min(left, MAX_LINE_BYTES + 1))
                left -= len(part) or left
            if line.strip():
                yield line if part is line else line + b"\n"


def write_table(
    source: Path, size_bytes: int, table: Path, identity: dict[str, Any]
) -> TableSummary:
    """Make the table of an ``hk.pff``, in its place in one durable step.

    Parameters
    ----------
    source : Path
        The file; never through a link.
    size_bytes : int
        So much of it is read.
    table : Path
        Replaced where there is one.
    identity : dict
        Of the source; a part of the table's metadata.

    Raises
    ------
    ModuleNotFoundError
        There is no pyarrow.
    CorruptDataError
        Not one record can be read, or there are too many fields.
    SourceChangedError
        The file shrank meanwhile.
    OSError
        It cannot be read, or the table not be written.
    """
    import pyarrow as pa  # noqa: PLC0415 - most processes do without
    from pyarrow import parquet  # noqa: PLC0415

    new = table.with_name(f".{table.name}.new")
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        columns, summary = _survey(_Reading(file, size_bytes))
        if not summary.n_rows:
            raise CorruptDataError(
                f"no readable record in {summary.n_bad_lines} lines", path=HK_NAME
            )
        schema = _schema(pa, columns, {"source": identity, **_as_metadata(summary)})
        try:
            with parquet.ParquetWriter(new, schema, compression="zstd") as writer:
                records = _blocks(_Reading(file, size_bytes).records(), ROWS_AT_ONCE)
                batches = (_batch(pa, rows, columns, schema) for rows in records)
                for group in _blocks(batches, BATCHES_A_GROUP):
                    writer.write_table(pa.Table.from_batches(group))
            sync_file(new)
            new.rename(table)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    sync_directory(table.parent)
    return summary


def _survey(reading: _Reading) -> tuple[tuple[Column, ...], TableSummary]:
    finder = ColumnFinder()
    boards: dict[str, int] = {}
    n_without_time = 0
    for record in reading.records():
        finder.add(record)
        boards[record.board] = boards.get(record.board, 0) + 1
        n_without_time += record.time_ns is None
    summary = TableSummary(
        n_rows=sum(boards.values()),
        n_bad_lines=reading.n_bad_lines,
        is_cut_short=reading.is_cut_short,
        n_without_time=n_without_time,
        boards=dict(sorted(boards.items())),
    )
    return finder.columns(), summary


def _as_metadata(summary: TableSummary) -> dict[str, Any]:
    return {
        "format": TABLE_FORMAT,
        "format_version": TABLE_FORMAT_VERSION,
        "writer": f"panoseti-zarr {__version__}",
        "n_rows": summary.n_rows,
        "n_bad_lines": summary.n_bad_lines,
        "is_cut_short": summary.is_cut_short,
        "n_without_time": summary.n_without_time,
    }


def _schema(pyarrow: Any, columns: tuple[Column, ...], about: dict[str, Any]) -> pa.Schema:
    fields = [
        pyarrow.field("time", pyarrow.timestamp("ns", "UTC")),
        pyarrow.field("board", pyarrow.string(), nullable=False),
        pyarrow.field("module", pyarrow.int16()),
        pyarrow.field("quabo", pyarrow.int8()),
    ]
    for column in columns:
        value_type = pyarrow.float64() if column.is_number else pyarrow.string()
        unit = {"unit": column.unit} if column.unit else None
        fields.append(pyarrow.field(column.name, value_type, metadata=unit))
    # What pandas reads as its index; other readers pass it over.
    time = {
        "name": "time",
        "field_name": "time",
        "pandas_type": "datetimetz",
        "numpy_type": "datetime64[ns]",
        "metadata": {"timezone": "UTC"},
    }
    pandas = {"index_columns": ["time"], "column_indexes": [], "columns": [time]}
    metadata = {"panoseti_zarr": json.dumps(about), "pandas": json.dumps(pandas)}
    return pyarrow.schema(fields, metadata=metadata)


def _blocks(items: Iterator[Item], n_items: int) -> Iterator[list[Item]]:
    while block := list(islice(items, n_items)):
        yield block


def _batch(
    pyarrow: Any, rows: list[BoardRecord], columns: tuple[Column, ...], schema: pa.Schema
) -> pa.RecordBatch:
    numbers: dict[str, list[float | None]] = {}
    texts: dict[str, list[str | None]] = {}
    for column in columns:
        (numbers if column.is_number else texts)[column.field] = [None] * len(rows)
    for index, record in enumerate(rows):
        for name, value in record.fields.items():
            number = as_number(value)
            if number is not None:
                numbers[name][index] = number
            elif name in texts:
                texts[name][index] = as_text(value)
    values: list[list[Any]] = [
        [record.time_ns for record in rows],
        [record.board for record in rows],
        [record.module for record in rows],
        [record.quabo for record in rows],
        *((numbers if column.is_number else texts)[column.field] for column in columns),
    ]
    arrays = [
        pyarrow.array(column, type=of.type) for column, of in zip(values, schema, strict=True)
    ]
    return pyarrow.record_batch(arrays, schema=schema)
