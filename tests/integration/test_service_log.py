"""The log as it comes out of a process: lines, forms, priorities, no secrets."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from service_process import environment

SCRIPT = """
import logging, sys, warnings
from daemon import log
log.configure({level!r}, {style!r})
logger = log.get_logger()
{body}
"""


def run(body: str, level: str = "info", style: str = "auto", **options) -> list[str]:
    """Run a piece of code with the log configured; return the lines on stdout."""
    script = SCRIPT.format(level=level, style=style, body=body)
    options = {"stdout": subprocess.PIPE, **options}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(**options.pop("env", {})),
        check=True,
        text=True,
        timeout=60,
        **options,
    )
    return (done.stdout or "").splitlines()


def test_an_event_is_one_json_line():
    """Timestamp (UTC), level and event come first; line breaks in values are escaped."""
    (line,) = run("logger.warning('run.refused', run='a\\nb', reason='x')")
    event = json.loads(line)
    assert list(event) == ["timestamp", "level", "event", "run", "reason"]
    assert (event["level"], event["event"], event["run"]) == ("warning", "run.refused", "a\nb")
    told = datetime.fromisoformat(event["timestamp"])
    assert abs((datetime.now(UTC) - told).total_seconds()) < 60


def test_an_error_is_one_line_with_its_traceback():
    """Tracebacks are part of the event's line."""
    body = "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n"
    (line,) = run(body + "    logger.error('task.crashed', task='t', exc_info=e)")
    assert "ZeroDivisionError" in json.loads(line)["exception"]


def test_levels_are_kept_and_can_change():
    """Below the level nothing is written; `set_level` changes it."""
    body = "logger.info('a.b'); log.set_level('debug'); logger.debug('c.d')"
    assert [json.loads(line)["event"] for line in run(body, level="warning")] == ["c.d"]


@pytest.mark.parametrize(
    ("body", "logger"),
    [
        ("logging.getLogger('distributed.x').warning('lost %s', 3)", "distributed.x"),
        ("logging.getLogger('watchdog.y').error('lost %s', 3)", "watchdog.y"),
        ("warnings.warn('lost 3')", "py.warnings"),
    ],
)
def test_libraries_log_in_the_same_form(body, logger):
    """Dask, watchdog and Python's warnings come out as events; chatter does not."""
    (line,) = run(f"logging.getLogger('distributed').info('hello')\n{body}")
    event = json.loads(line)
    assert (event["event"], event["logger"]) == ("library.logged", logger)
    assert "lost 3" in event["message"]


def test_dask_does_not_bring_its_own_handlers():
    """Importing distributed after the log was configured changes nothing."""
    body = "import distributed\nlogging.getLogger('distributed.core').warning('w')"
    (line,) = run(body, stderr=subprocess.STDOUT)
    assert json.loads(line)["message"] == "w"


def test_passwords_are_taken_out():
    """User names and passwords in URLs do not reach the log, wherever they stand."""
    url = "http://admin:1234@10.0.1.1/outlet"
    body = f"logger.info('a.b', reason='x {url}', notes=['{url}'], more={{'k': '{url}'}})"
    body += f"\nlogging.getLogger('tornado').error('%s', '{url}')"
    for line in run(body):
        assert "10.0.1.1" in line
        assert "1234" not in line
        assert "admin" not in line


def test_under_the_journal_each_line_has_its_priority(tmp_path):
    """JOURNAL_STREAM names stdout's device and inode: `<N>` stands before the JSON."""
    path = tmp_path / "journal"
    body = "logger.info('a.b'); logger.warning('a.c'); logger.error('a.d'); logger.critical('a.e')"
    with path.open("w") as journal:
        status = os.fstat(journal.fileno())
        stream = f"{status.st_dev}:{status.st_ino}"
        run(body, stdout=journal, env={"JOURNAL_STREAM": stream})
    lines = path.read_text().splitlines()
    assert [line[:4] for line in lines] == ["<6>{", "<4>{", "<3>{", "<2>{"]
    with path.open("w") as other:
        run(body, stdout=other, env={"JOURNAL_STREAM": "1:2"})
    assert all(line.startswith("{") for line in path.read_text().splitlines())


def test_a_terminal_gets_colours_unless_json_is_asked_for():
    """On a terminal events are readable; `format = "json"` stays JSON."""
    for style, is_json in (("auto", False), ("json", True)):
        reader, writer = pty.openpty()
        run("logger.info('run.finished', run='r')", style=style, stdout=writer)
        os.close(writer)
        text = os.read(reader, 4096).decode()
        os.close(reader)
        assert "run.finished" in text
        assert text.startswith("{") is is_json
        assert ("\x1b[" in text) is not is_json


def test_a_reader_that_went_away_does_not_end_the_service():
    """A closed pipe loses lines, not the process."""
    reader, writer = os.pipe()
    os.close(reader)
    run("logger.info('a.b')\nlogger.info('a.c')\nsys.stdout = None", stdout=writer)
    os.close(writer)
