"""What a line of hk.pff says, and the columns that records need."""

import json

import pytest

from panoseti_zarr.core.pff.hk_records import (
    MAX_FIELDS,
    BoardRecord,
    ColumnFinder,
    as_number,
    as_text,
    parse_line,
)
from panoseti_zarr.core.redact import without_secrets_in_text
from panoseti_zarr.errors import CorruptDataError


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("-55.67592", -55.67592),
        (" 40.25 ", 40.25),
        ("7.005e-05", 7.005e-05),
        ("0", 0.0),
        ("+12", 12.0),
        ("9007199254740991", 2.0**53 - 1),
        (12, 12.0),
        (1.5, 1.5),
        (False, 0.0),
        ("9007199254740993", None),
        (2**60, None),
        ("0209", None),
        ("0x28b4667a", None),
        ("1_000", None),
        ("", None),
        ("ok,", None),
        ("٣", None),
        (None, None),
        ([1], None),
    ],
)
def test_numbers(value, number):
    """A number is one only where float64 says the same; versions and hexadecimals are names."""
    assert as_number(value) == number


def test_text():
    """Nothing and blanks are no text; what is nested is JSON; control characters are escaped."""
    values = [None, " ", "ok,", {"b": 1, "a": [2]}, "a\nb"]
    assert [as_text(v) for v in values] == [None, None, "ok,", '{"a": [2], "b": 1}', "a\\nb"]


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1754975259.3758526", 1754975259375852600),
        (1754975259.5, 1754975259500000000),
        (1754975259, 1754975259000000000),
        ("1754975259.1234567891", 1754975259123456789),
        ("9999999999", None),
        ("-1", None),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times_are_exact(text, time_ns):
    """A time keeps its digits, which a float of seconds would not; what is not a time is None."""
    (record,) = parse_line(json.dumps({"WPS": {"Computer_UTC": text, "A": 1}}).encode())
    assert record == BoardRecord("WPS", time_ns, {"A": 1})


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"A": 1}', b"\xff", b"1" * 5000, b"[" * 100_000]
)
def test_what_is_no_record(line):
    """Cut, nested, foreign: None, and no error."""
    assert parse_line(line) is None


def test_the_quabo_of_a_board():
    """BOARDLOC 1018 is quabo 2 of module 254; other boards have neither."""
    boards = ["QUABO_1018", "QUABO_0", "QUABO_1024", "QUABO_x", "GPSPRIM"]
    records = [BoardRecord(board, None, {}) for board in boards]
    assert [(r.module, r.quabo) for r in records] == [(254, 2), (0, 0), *[(None, None)] * 3]


def test_no_secret_of_a_line():
    """User names and passwords are taken out, however they are written."""
    line = rb'{"WPS": {"url": "http:\/\/admin:pw@h/", "Password": "pw", "A": "\u0070w://u:pw@h"}}'
    assert "pw@" not in str(parse_line(line))
    assert set(parse_line(line)[0].fields.values()) == {"http://h/", "removed", "pw://h"}


def columns(*fields):
    finder = ColumnFinder()
    for one in fields:
        finder.add(BoardRecord("B", 0, one))
    return [(c.name, c.field, c.is_number, c.unit) for c in finder.columns()]


def test_columns_come_from_the_records():
    """Numbers and text of a field are two columns; what is always empty is left out."""
    assert columns({"TEMP1": "1"}, {"TEMP1": "bad", "POWER": "ON"}, {"EMPTY": ""}) == [
        ("POWER", "POWER", False, None),
        ("TEMP1", "TEMP1", True, "degC"),
        ("TEMP1_text", "TEMP1", False, None),
    ]
    assert columns({"HVMON0": "-55.1", "HVIMON3": "1e-4"}) == [
        ("HVIMON3", "HVIMON3", True, "A"),
        ("HVMON0", "HVMON0", True, "V"),
    ]


def test_no_two_columns_of_one_name():
    """Fields named as a fixed column, or as another's text, get another name."""
    found = columns({"time": 1, "A": 1, "A_text": "x"}, {"A": "x", "board": "b"})
    names = [name for name, *_ in found]
    assert names == ["A", "A_text_", "A_text", "board_", "time_"]


def test_too_many_fields():
    """A file with thousands of fields is rejected."""
    finder = ColumnFinder()
    with pytest.raises(CorruptDataError, match=f"more than {MAX_FIELDS} fields"):
        finder.add(BoardRecord("B", 0, {str(n): n for n in range(MAX_FIELDS + 1)}))


@pytest.mark.parametrize(
    "text",
    [
        "GET http://admin:hunter2@10.0.1.1/ 200",
        "password: 'hunter2'",
        '{"api_token": "hunter2"}',
        "WPS_PASSWORD=hunter2;",
        "rtsp://hunter2@host",
    ],
)
def test_no_secret_in_a_log(text):
    """Free text loses passwords in URLs and after names of secrets."""
    assert "hunter2" not in without_secrets_in_text(text)
    assert "hunter2" in text


def test_other_text_stays():
    """What has no secret is as it was."""
    text = "2025-01-01 12:00:00 run started; tokens 3\nmail a@b.c http://host/path?a=1@2\n"
    assert without_secrets_in_text(text) == text
