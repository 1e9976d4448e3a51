"""What a person at a terminal sees: bars while a run is converted, the status as it changes."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
from support.service_process import Station, environment, make_run
from support.waiting import PATIENCE_S

from panoseti_zarr.io.simulate import StreamPlan

COMMAND = (sys.executable, "-m", "panoseti_zarr")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a terminal of 24 lines, and what it wrote so far."""

    def __init__(self, *words: str | Path) -> None:
        self._reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.text = ""
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, words)],
            stdin=writer,
            stdout=writer,
            stderr=writer,
            env=environment(TERM="xterm-256color"),
            start_new_session=True,
        )
        os.close(writer)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        os.close(self._reader)

    def _read(self) -> None:
        while True:
            try:
                new = os.read(self._reader, 65536)
            except OSError:
                return
            with self._changed:
                self.text += ESCAPES.sub("", new.decode(errors="replace"))
                self._changed.notify_all()

    def wait_for(self, pattern: str) -> str:
        """Wait until something was written; return it."""
        with self._changed:
            is_there = self._changed.wait_for(lambda: re.search(pattern, self.text), PATIENCE_S)
        assert is_there, self.text
        return re.search(pattern, self.text)[0]

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._thread.join(PATIENCE_S)
        return code


@pytest.fixture
def run_and_config(tmp_path):
    run = make_run(tmp_path / "data", StreamPlan("img16", 1, 8_000), StreamPlan("ph256", 2, 500))
    config = tmp_path / "config.toml"
    config.write_text("[pff_to_zarr]\ntime_chunk = 256\n")
    return run, config


def test_a_conversion_shows_a_bar_for_each_stream(run_and_config, tmp_path):
    """Bytes done of all, a rate, and the time left of each stream under way; then the result."""
    run, config = run_and_config
    with Terminal("convert", run, tmp_path / "l0", config) as terminal:
        terminal.wait_for(r"dp_img16\.module_1 +\S+ +[0-9.]+/20\.[0-9] MB +([0-9.]+ [kM]B/s|\?)")
        assert terminal.end() == 0
        terminal.wait_for(r"dp_img16\.module_1: 8,?000 frames")


def test_without_a_terminal_there_is_no_bar(run_and_config, tmp_path):
    """Piped into a file, stderr has lines only."""
    run, config = run_and_config
    words = ["convert", run, tmp_path / "l0", config]
    done = subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, env=environment(), check=True
    )
    assert b"\x1b" not in done.stderr + done.stdout
    assert b"/s " not in done.stderr


def test_watch_shows_the_status_as_it_changes_until_it_is_interrupted(tmp_path):
    """A run that arrives appears on the screen; Ctrl-C leaves the last status, and its code."""
    with Station(tmp_path) as station:
        station.start()
        station.wait_for_status(lambda s: s["service"]["phase"] == "running")
        with Terminal("status", "--watch", "--config", station.config) as terminal:
            terminal.wait_for("total: 0 runs")
            run = make_run(station.data)
            station.wait_for("run.completed")
            terminal.wait_for("total: 1 run, 2 streams, 2 done")
            assert run.name in terminal.text.replace("\r\n", "")
            terminal.process.send_signal(signal.SIGINT)
            assert terminal.end() == 0
        assert station.stop() == 0
