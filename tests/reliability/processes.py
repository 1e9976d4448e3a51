"""Child processes that the tests hold at a step, kill, or let go on."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from support.waiting import PATIENCE_S

import panoseti_zarr

SCRIPT = Path(__file__).with_name("ingest_process.py")
CONVERT = (sys.executable, "-m", "panoseti_zarr", "convert")
SMALL_CHUNKS = {"time_chunk": 8, "max_concurrent_writes": 1}
"""One task at once, so that each chunk is a commit of its own."""


def environment():
    """Return an environment in which a child imports the package that the tests import."""
    package_root = str(Path(panoseti_zarr.__file__).parent.parent)
    paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
    kept = {key: value for key, value in os.environ.items() if key != "CONFIG_FILE"}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


class IngestProcess:
    """A running `ingest_process`; leave its context and it is killed.

    Parameters
    ----------
    before : sequence of str
        Words before the command: ``strace`` and its options.
    order : dict
        As `ingest_process.main` takes it.
    """

    def __init__(self, *, before=(), **order):
        self.commits = []
        order = {key: str(value) if isinstance(value, Path) else value
                 for key, value in order.items()}  # fmt: skip
        self._process = subprocess.Popen(
            [*before, sys.executable, str(SCRIPT), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            start_new_session=True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def pid(self):
        """Of the process, or of ``strace`` before it."""
        return self._process.pid

    def wait(self):
        """Return what is told next, commits apart."""
        told = self.wait_or_die()
        assert told is not None, f"died: {self._process.communicate()[1]}"
        return told

    def wait_or_die(self):
        """Return what is told next, commits apart; None if the process dies before."""
        for line in self._process.stdout:
            told = json.loads(line)
            if "commit" not in told:
                return told
            self.commits.append(told["commit"])
        return None

    def wait_until_held(self):
        """Return the step at which the process now waits; fail if it ends before."""
        return self.wait()["held"]

    def release(self):
        """Let the process go on from where it is held."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def kill(self):
        """Send SIGKILL, also to what ``strace`` started, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def finish(self):
        """Wait for the end; return what is told last: ``done``, or ``failed`` and ``message``."""
        told = self.wait()
        assert told.keys() & {"done", "failed"}, told
        self._process.communicate(timeout=PATIENCE_S)
        return told


def start_convert(run, l0_dir, config):
    """Start ``panoseti-zarr convert`` in a session of its own."""
    return start_command("convert", run, l0_dir, config)


def start_command(*words):
    """Start a command of the package in a session of its own."""
    return subprocess.Popen(
        [*CONVERT[:-1], *map(str, words)],
        env=environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def convert(run, l0_dir, config):
    """Run ``panoseti-zarr convert`` to its end."""
    with start_convert(run, l0_dir, config) as process:
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def assert_one_line(done, *parts):
    """The command failed with one line on stderr that says why, of itself or of its stream.

    Before it stands which configuration file was used, and nothing else.
    """
    assert done.returncode == 1, done.stderr
    *before, line = done.stderr.strip().splitlines()
    assert line.startswith(("error: ", "dp_")), done.stderr
    assert all(other.startswith("config: ") for other in before), done.stderr
    for part in parts:
        assert part in line


def hold(step, after_commits=0, n_before=0):
    """Return the order to stop at a step, after some commits and some passes of the step."""
    return {"step": step, "after_commits": after_commits, "n_before": n_before}
