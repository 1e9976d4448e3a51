"""What the tests of the service share: a real process, its log as it comes, its directories."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import panoseti_zarr
from panoseti_zarr.daemon.report.log_events import EVENTS
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run
from support.waiting import PATIENCE_S, wait_until

COMMON_KEYS = {"timestamp", "level", "event"}
OPTIONAL_KEYS = {"exception"}
MARKERS = ("recording_ended", "collect_complete", "run_complete")


def environment(**more: str) -> dict[str, str]:
    """Return an environment in which a child imports the package that the tests import."""
    package_root = str(Path(panoseti_zarr.__file__).parent.parent)
    unwanted = {"CONFIG_FILE", "JOURNAL_STREAM", "NOTIFY_SOCKET", "COLUMNS"}
    kept = {key: value for key, value in os.environ.items() if key not in unwanted}
    return {**kept, "PYTHONPATH": package_root, **more}


def make_run(root: Path, *streams: StreamPlan, markers=MARKERS, day: int = 25, **plan) -> Path:
    """Simulate a run; the day of July 2024 makes its name."""
    start = datetime(2024, 7, day, 4, 34, 6, tzinfo=UTC)
    streams = streams or (StreamPlan("img16", 1, 300), StreamPlan("ph256", 2, 200))
    return simulate_run(root, RunPlan(streams, start=start, markers=markers, **plan))


def mark_finished(run: Path) -> None:
    """Write the markers of a run."""
    for marker in MARKERS:
        (run / marker).touch()


class Station:
    """A data root, output directories, a configuration, and the service on them.

    Leave its context and the service is killed. ``program`` is what Python runs for the service.
    """

    program: tuple[str, ...] = ("-m", "panoseti_zarr")

    def __init__(self, base: Path, more: str = "", **daemon: Any) -> None:
        self.base = base
        self.data, self.l0, self.l1 = base / "data", base / "l0", base / "l1"
        self.state = base / "state"
        self.config = base / "config.toml"
        self.data.mkdir(exist_ok=True)
        self.write_config(more, **daemon)
        self.events: list[dict[str, Any]] = []
        self.other_lines: list[str] = []
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def write_config(self, more: str = "", **daemon: Any) -> None:
        """Write the configuration: quick timing, small chunks, no pictures unless in ``more``."""
        keys = {
            "data_root": str(self.data),
            "l0_dir": str(self.l0),
            "l1_dir": str(self.l1),
            "state_dir": str(self.state),
            "settle_s": 0.3,
            "rescan_s": 0.3,
            "min_free_gb": 0.01,
            # So that directories can be compared as soon as a run is completed.
            "housekeeping": False,
            **daemon,
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items() if value is not None]
        others = ["[pff_to_zarr]", "time_chunk = 256", "[logging]", 'level = "debug"', more, ""]
        if "[quicklook]" not in more:
            others.insert(0, '[quicklook]\ndir = ""')
        text = "\n".join(["[daemon]", *lines, *others])
        self.config.write_text(text)

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()

    @property
    def pid(self) -> int:
        """Of the service."""
        return self.process.pid

    @property
    def process(self) -> subprocess.Popen[str]:
        """The service that was started last."""
        assert self._process is not None
        return self._process

    def start(self, *, ready: bool = True, **env: str) -> None:
        """Start the service again, with an empty log, and wait until it is ready."""
        self.events.clear()
        self._process = subprocess.Popen(
            [sys.executable, *self.program, "serve", "--config", str(self.config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(**env),
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if ready:
            self.wait_for("service.ready")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with self._changed:
                if line.startswith("{"):
                    self.events.append(json.loads(line))
                else:
                    self.other_lines.append(line)
                self._changed.notify_all()
        process.stdout.close()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, event: str, n: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait until a matching event came ``n`` times since the start; return the last."""
        deadline_s = time.monotonic() + PATIENCE_S
        with self._changed:
            while True:
                found = self.find(event, **fields)
                if len(found) >= n:
                    return found[n - 1]
                left_s = deadline_s - time.monotonic()
                is_over = self._reader is None or not self._reader.is_alive()
                assert left_s > 0, self.story()
                assert not is_over, self.story()
                self._changed.wait(min(left_s, 1.0))

    def find(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of a name that have these fields."""
        return [e for e in self.events if e["event"] == event and fields.items() <= e.items()]

    def names(self, *prefixes: str) -> list[str]:
        """Return the names of the events so far that begin with one of the prefixes."""
        return [e["event"] for e in self.events if e["event"].startswith(prefixes)]

    def story(self) -> str:
        """Return the log for a failed assertion."""
        told = [str(event) for event in self.events if event["level"] != "debug"]
        return "\n".join([*told, *self.other_lines])

    def rescans(self, n: int = 3) -> None:
        """Wait until the root was rescanned as many times from now on."""
        self.wait_for("root.scanned", len(self.find("root.scanned")) + n)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the service with a signal; return its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        assert self._reader is not None
        self._reader.join(PATIENCE_S)
        for event in self.events:
            keys = {*EVENTS[event["event"]]} - OPTIONAL_KEYS
            assert event.keys() - COMMON_KEYS - OPTIONAL_KEYS == keys, event
        return code

    def kill(self) -> None:
        """End it without a word."""
        self.stop(signal.SIGKILL)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command with the same configuration."""
        return subprocess.run(
            [sys.executable, "-m", "panoseti_zarr", *words, "--config", str(self.config)],
            capture_output=True,
            text=True,
            env=environment(COLUMNS="80"),
            timeout=PATIENCE_S,
            check=False,
        )

    def status(self) -> dict[str, Any]:
        """Return what ``status --json`` says, with its exit code as ``exit_code``."""
        done = self.command("status", "--json")
        return {**json.loads(done.stdout), "exit_code": done.returncode}

    def wait_for_status(self, is_so: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Ask for the status until it is as wanted: it is written a moment after the log.

        What is not there yet, such as a first run, is not as wanted.
        """

        def wanted_status() -> dict[str, Any] | None:
            status = self.status()
            with contextlib.suppress(LookupError, TypeError):
                return status if is_so(status) else None
            return None

        return wait_until(wanted_status, self.status)

    def wait_until(self, is_so: Callable[[], Any]) -> None:
        """Wait, looking with each event of the log, until something is so."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline_s, self.story()
            with self._changed:
                self._changed.wait(0.2)

    def command_verify(self, stream: str, run: Path) -> int:
        """Compare a stream's L0 store with its run, every frame; return the exit code."""
        store = self.l0 / f"{run.name}.{stream}.zarr"
        words = [sys.executable, "-m", "panoseti_zarr", "verify", str(store), str(run)]
        return subprocess.run(words, env=environment(), timeout=PATIENCE_S, check=False).returncode

    def wait_for_states(self, **expected: str) -> None:
        """Wait until every stream is in its expected state, or in that of ``others``."""
        others = expected.pop("others", None)

        def is_so(status: dict[str, Any]) -> Any:
            streams = [s for run in status["runs"] for s in run["streams"]]
            return bool(streams) and all(
                s["state"] == expected.get(s["stream"], others) for s in streams
            )

        self.wait_for_status(is_so)
