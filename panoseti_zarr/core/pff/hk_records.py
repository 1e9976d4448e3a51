"""The records of ``hk.pff``: one JSON object a line, of one board or more.

Boards and fields differ from run to run and change within one, so the columns of a table come
from the records themselves. Source: the head node's housekeeping recorder, and real runs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from panoseti_zarr.core.redact import redact, redact_urls
from panoseti_zarr.errors import CorruptDataError, one_line
from panoseti_zarr.model import N_QUABOS

TIME_FIELD = "Computer_UTC"
"""When the head node's computer took the record: Unix seconds, as text."""

FIXED_COLUMNS = ("time", "board", "module", "quabo")

MAX_FIELDS = 2000
"""Real runs have under 100 fields."""

_MAX_EXACT = 2**53 - 1
_TIME = re.compile(r"([0-9]{1,10})(?:\.([0-9]+))?", re.ASCII)
_MAX_TIME_S = 9_000_000_000
# A number with a leading zero, as a version has it (0209), is a name.
_NUMBER = re.compile(
    r"\s*[+-]?(?:(0|[1-9][0-9]*)|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|nan|inf)\s*",
    re.ASCII | re.IGNORECASE,
)
# What a line has that may hold a secret, or needs escapes; real ones have none.
_ODD = re.compile(rb"[\\\x7f-\xff]|://|passw|passphrase|secret|token", re.IGNORECASE)
_QUABO = re.compile(r"QUABO_([0-9]{1,4})", re.ASCII)
_UNITS = (
    (re.compile(r"HVMON[0-9]|RAWHVMON|V[0-9]+MON|VCC(?:INT|AUX)|DACVOLTAGE"), "V"),
    (re.compile(r"HVIMON[0-9]|I[0-9]+MON|DETR[0-9]_CURR"), "A"),
    (re.compile(r"TEMP[0-9]|TEMPERATURE"), "degC"),
)


@dataclass(frozen=True)
class BoardRecord:
    """What one board said at one time.

    Attributes
    ----------
    board : str
        ``QUABO_1016``, ``GPSPRIM``, ``WRSWITCH``.
    time_ns : int or None
        Unix time, nanoseconds; None where it does not say.
    fields : dict of str to object
        The others, by name, without user names and passwords.
    """

    board: str
    time_ns: int | None
    fields: dict[str, Any]

    @property
    def module(self) -> int | None:
        """The module whose board it is; None where it is no quabo."""
        return None if self._location is None else self._location // N_QUABOS

    @property
    def quabo(self) -> int | None:
        """Which of the module's quabos, 0 to 3."""
        return None if self._location is None else self._location % N_QUABOS

    @property
    def _location(self) -> int | None:
        """``BOARDLOC``, the end of the board's address: four times the module, and the quabo."""
        found = _QUABO.fullmatch(self.board)
        location = int(found[1]) if found else -1
        return location if 0 <= location < 256 * N_QUABOS else None


def parse_line(line: bytes) -> list[BoardRecord] | None:
    """Read a line; None where it is no record.

    Examples
    --------
    >>> parse_line(b'{"WPS": {"Computer_UTC": "1754975261.080837", "POWER": "ON"}}')
    [BoardRecord(board='WPS', time_ns=1754975261080837000, fields={'POWER': 'ON'})]
    """
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not document:
        return None
    is_odd = _ODD.search(line) is not None
    records = []
    for board, fields in document.items():
        if not isinstance(fields, dict):
            return None
        name, values = (_clean(board), _clean_fields(fields)) if is_odd else (board, fields)
        time_ns = _time_ns(values.pop(TIME_FIELD, None))
        records.append(BoardRecord(name, time_ns, values))
    return records


def as_number(value: object) -> float | None:
    """Return a field's value as a number; None if it is not a number, or if float64 would alter it.

    Examples
    --------
    >>> as_number("-55.67"), as_number("0209"), as_number("0x28b4667a"), as_number(True)
    (-55.67, None, None, 1.0)
    """
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value)
        if found is None:
            return None
        number = float(value)
        return None if found[1] and abs(number) > _MAX_EXACT else number
    if isinstance(value, float):
        return value
    return float(value) if isinstance(value, int) and abs(value) <= _MAX_EXACT else None


def as_text(value: object) -> str | None:
    """Return a field's value as text; None if it is missing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return one_line(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


@dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes
    ----------
    name : str
        The field's, unless another column has it.
    field : str
    is_number : bool
        Numbers, or what is no number.
    """

    name: str
    field: str
    is_number: bool

    @property
    def unit(self) -> str | None:
        """Unit of the numbers, where the field's name tells it."""
        units = (unit for pattern, unit in _UNITS if pattern.fullmatch(self.field))
        return next(units, None) if self.is_number else None


@dataclass
class ColumnFinder:
    """Finds the columns that records need.

    A field with numbers has a column of numbers. What it says besides goes into a second one, of
    text, ``{field}_text``; a field that never says a number has that one alone, by its own name.
    """

    _numbers: set[str] = field(default_factory=set)
    _texts: set[str] = field(default_factory=set)
    _fields: set[str] = field(default_factory=set)

    def add(self, record: BoardRecord) -> None:
        """Take in the fields of a record.

        Raises
        ------
        CorruptDataError
            There are more than `MAX_FIELDS`.
        """
        for name, value in record.fields.items():
            if as_number(value) is not None:
                self._numbers.add(name)
            elif name not in self._texts and as_text(value) is not None:
                self._texts.add(name)
        self._fields.update(record.fields)
        if len(self._fields) > MAX_FIELDS:
            raise CorruptDataError(f"housekeeping with more than {MAX_FIELDS} fields")

    def columns(self) -> tuple[Column, ...]:
        """Return the columns, by field; without those that are always empty."""
        taken = {*FIXED_COLUMNS}
        columns = []
        for name in sorted(self._numbers | self._texts):
            for is_number, fields in ((True, self._numbers), (False, self._texts)):
                if name in fields:
                    is_second = not is_number and name in self._numbers
                    wanted = f"{name}_text" if is_second else name
                    while wanted in taken or (is_second and wanted in self._fields):
                        wanted += "_"
                    taken.add(wanted)
                    columns.append(Column(wanted, name, is_number))
        return tuple(columns)


def _clean(name: str) -> str:
    return one_line(redact_urls(name))


def _clean_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {one_line(name): value for name, value in redact(fields).items()}


def _time_ns(value: object) -> int | None:
    """Return a time exactly, which a float of seconds would not hold."""
    found = _TIME.fullmatch(str(value).strip())
    if not found or int(found[1]) > _MAX_TIME_S:
        return None
    return int(found[1]) * 1_000_000_000 + int((found[2] or "")[:9].ljust(9, "0"))
