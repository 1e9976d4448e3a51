"""The log as it comes out of a process: lines, forms, priorities, no secrets."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from support.service_process import environment
from support.waiting import PATIENCE_S

SCRIPT = """
import logging, sys, warnings
from panoseti_zarr.daemon import log
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
        timeout=PATIENCE_S,
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
    (error,) = json.loads(line)["exception"]
    assert (error["exc_type"], error["exc_value"]) == ("ZeroDivisionError", "division by zero")
    assert error["frames"][-1]["name"] == "<module>"
    assert "locals" not in error["frames"][-1]


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


@pytest.mark.parametrize(
    "text",
    ["password=1234", 'login {"passwd": "1234"}', "Token: 1234", "secret = '1234'"],
)
def test_passwords_in_words_are_taken_out(text):
    """What a library says of how it connects is told without what follows the word."""
    body = f"logging.getLogger('tornado').error('%s', {text!r})\n"
    body += f"try:\n    raise OSError({text!r})\nexcept OSError as e:\n"
    lines = run(body + "    logger.error('task.crashed', task={'password': '1234'}, exc_info=e)")
    assert len(lines) == 2
    assert not any("1234" in line for line in lines)


def test_what_nobody_caught_is_an_event_too():
    """Errors of threads, of destructors and of the main thread: one line each, none on stderr."""
    body = (
        "import threading\n"
        "t = threading.Thread(target=lambda: 1 / 0, name='lane x')\nt.start(); t.join()\n"
        "class Bad:\n    def __del__(self): raise ValueError\n"
        "Bad()\n"
        "sys.excepthook(*[*sys.exc_info()[:1], RuntimeError('end'), None])"
    )
    events = [json.loads(line) for line in run(body, stderr=subprocess.STDOUT)]
    assert [e["event"] for e in events] == ["task.crashed"] * 3
    kinds = [e["exception"][0]["exc_type"] for e in events]
    assert kinds == ["ZeroDivisionError", "ValueError", "RuntimeError"]
    assert events[0]["task"] == "lane x"


WORKER = """
import logging, warnings
from panoseti_zarr.daemon import log
from panoseti_zarr.daemon.startup import _let_workers_log
from panoseti_zarr.cluster import make_executor
from panoseti_zarr.config import Config

def task():
    logging.getLogger("distributed.worker").warning("from a worker")
    logging.getLogger("distributed.core").info("chatter")
    warnings.warn("careful")

if __name__ == "__main__":
    log.configure("info", "json")
    local = {"n_workers": 1, "dashboard_port": 0}
    config = Config.model_validate({"cluster": {"use_cluster": True, "local": local}})
    _let_workers_log(config)
    with make_executor(config) as executor:
        executor.submit(task).result()
"""


def test_worker_processes_log_in_the_same_form(tmp_path):
    """What Dask and warnings say in a worker comes out as events, and nothing else does."""
    script = tmp_path / "script.py"
    script.write_text(WORKER)
    done = subprocess.run(
        [sys.executable, script],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert {e["event"] for e in events} == {"library.logged"}
    assert [e["logger"] for e in events] == ["distributed.worker", "py.warnings"]


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


def test_warnings_are_counted_by_their_event():
    """The metrics count what is logged as a warning or worse, of libraries too; nothing else."""
    body = (
        "from panoseti_zarr.daemon.report.metrics import Metrics\n"
        "metrics = Metrics(0, '1.0', {})\n"
        "logger.error('stream.quarantined', reason='x'); logger.info('a.b')\n"
        "logging.getLogger('tornado').warning('w')\n"
        "count = lambda event: metrics._registry.get_sample_value(\n"
        "    'panoseti_zarr_errors_total', {'event': event})\n"
        "names = ('stream.quarantined', 'library.logged', 'a.b')\n"
        "logger.info('x.y', counts=[count(name) for name in names])\n"
        "metrics.close()"
    )
    *_, last = run(body)
    assert json.loads(last)["counts"] == [1.0, 1.0, None]
