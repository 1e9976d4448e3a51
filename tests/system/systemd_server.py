"""An observatory's server on a `Box`: the service installed as the README says, and its journal."""

import json
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.waiting import PATIENCE_S, wait_until
from systemd_box import Box

REPOSITORY = Path(__file__).parents[2]
NAME = "panoseti-zarr"
UNIT = f"{NAME}.service"
PREFIX = "/opt/panoseti-zarr"
DATA, L0, L1, STATE = "/data/panoseti", "/data/zarr/L0", "/data/zarr/L1", "/var/lib/panoseti-zarr"

_PACKAGES = "/opt/packages"
_CHECKOUT = "/opt/checkout"
_SOURCE = "/root/panoseti-zarr"
_PARTS = (
    *("daemon", "panoseti_zarr", "requirements", "systemd"),
    *("pyproject.toml", "README.md", "LICENSE", "config.toml", "Makefile"),
)

# Quicker than on a real server, so that the tests need not wait.
CONFIG = f"""\
[daemon]
data_root = "{DATA}"
l0_dir = "{L0}"
l1_dir = "{L1}"
state_dir = "{STATE}"
settle_s = 0.3
rescan_s = 0.5
retry_s = 0.5
min_free_gb = 0.02
housekeeping = false
[quicklook]
dir = ""
[cluster]
use_cluster = true
[cluster.local]
n_workers = 1
dashboard_port = 0
[pff_to_zarr]
time_chunk = 256
[logging]
progress_s = 0.05
"""
QUICK = "[Service]\nRestartSec=0.2\nWatchdogSec=4\n"


def python_outside_home() -> str:
    """Return an interpreter of this version that the service may run."""
    candidates = (
        Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"),
        Path(f"/usr/bin/python3.{sys.version_info.minor}"),
    )
    for path in candidates:
        if path.exists() and not str(path).startswith(("/root", "/home")):
            return str(path)
    pytest.skip("this version of Python is in a home directory only")


def bindings() -> dict[str, Path]:
    """Return what the machine must see of this one."""
    return {_PACKAGES: Path(sysconfig.get_path("purelib")), _CHECKOUT: REPOSITORY}


class Server:
    """The service on a machine, and its journal as it comes.

    Parameters
    ----------
    box : Box
        Booted with `bindings`.
    """

    def __init__(self, box: Box) -> None:
        self.box = box
        self.entries: list[dict[str, Any]] = []
        """Of the service's journal: ``priority`` and ``line``, and ``event`` where it is JSON."""
        self._changed = threading.Condition()
        self._follower: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def install(self) -> str:
        """Carry out ``make install`` without a network; return its output."""
        version = f"python3.{sys.version_info.minor}"
        python = python_outside_home()
        self.box.run("mkdir", "-p", _SOURCE, DATA)
        parts = (f"{_CHECKOUT}/{part}" for part in _PARTS)
        self.box.run("cp", "--recursive", *parts, _SOURCE)
        self.box.run(python, "-m", "venv", "--without-pip", PREFIX)
        # The locked packages are those with which the tests run: pip finds them installed.
        site = self.box.path(f"{PREFIX}/lib/{version}/site-packages")
        (site / "packages.pth").write_text(f"{_PACKAGES}\n")
        words = ("make", "-C", _SOURCE, "install", f"PYTHON={python}")
        return self.box.run("env", "PIP_NO_INDEX=1", *words).stdout

    def uninstall(self) -> str:
        """Carry out ``make uninstall``; return its words."""
        return self.box.run("make", "-C", _SOURCE, "uninstall").stdout

    def configure(self, text: str, unit: str = QUICK) -> None:
        """Write the configuration and what the unit has otherwise in these tests."""
        self.box.path("/etc/panoseti-zarr/config.toml").write_text(text)
        drop_in = self.box.path(f"/etc/systemd/system/{UNIT}.d/90-quick.conf")
        drop_in.write_text(unit)
        self.systemctl("daemon-reload")

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Run systemctl; return what it says.

        On a busy machine systemd drops a connection that it could not take in time: try again.
        """
        done = wait_until(lambda: self._try_systemctl(*words))
        assert done.returncode == 0 or not check, (words, done.stdout, done.stderr)
        return done.stdout

    def _try_systemctl(self, *words: str) -> subprocess.CompletedProcess[str] | None:
        done = self.box.run("systemctl", *words, check=False)
        return None if "Transport endpoint is not connected" in done.stderr else done

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.systemctl("show", "--value", f"--property={name}", UNIT).strip()

    def follow(self, *, since_boot: bool = False) -> None:
        """Read the journal from now on, or from the boot."""
        self.unfollow()
        self.entries.clear()
        lines = "all" if since_boot else "0"
        words = ("journalctl", "--boot", "--unit", UNIT, "--follow", "--output=json")
        self._follower = subprocess.Popen(
            self.box.command(*words, f"--lines={lines}"), stdout=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, args=(self._follower,), daemon=True)
        self._reader.start()

    def unfollow(self) -> None:
        """Read no longer."""
        if self._follower and self._reader:
            # The process inside first: its parent outside is the one that can reap it.
            for follower in psutil.Process(self._follower.pid).children():
                follower.terminate()
            self._follower.wait(PATIENCE_S)
            self._reader.join(PATIENCE_S)
            self._follower = None

    def _read(self, follower: subprocess.Popen[str]) -> None:
        assert follower.stdout is not None
        for line in follower.stdout:
            if not line.endswith("\n"):
                break  # the machine went down in the middle of it
            entry = json.loads(line)
            if entry.get("SYSLOG_IDENTIFIER") != NAME:
                continue
            told = {"priority": int(entry["PRIORITY"]), "line": entry["MESSAGE"]}
            try:
                told |= json.loads(entry["MESSAGE"])
            except ValueError:
                told["event"] = ""
            with self._changed:
                self.entries.append(told)
                self._changed.notify_all()
        follower.stdout.close()

    def wait_for(self, event: str, n: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait until a matching event came ``n`` times since `follow`; return the last."""
        with self._changed:
            is_there = self._changed.wait_for(lambda: len(self.find(event, **fields)) >= n, 60)
        assert is_there, self.story()
        return self.find(event, **fields)[n - 1]

    def find(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """Return the events of a name that have these fields."""
        return [e for e in self.entries if e["event"] == event and fields.items() <= e.items()]

    def story(self) -> str:
        """Return the journal for a failed assertion."""
        unit = self.systemctl("status", "--no-pager", "--full", UNIT, check=False)
        return "\n".join([unit, *(entry["line"] for entry in self.entries)])

    def wait_until(self, is_so: Callable[[], Any]) -> Any:
        """Ask until something is so that systemd gives no notice of."""
        return wait_until(is_so, self.story)

    def start(self) -> None:
        """Start the service and wait until it is ready, with its journal from here on."""
        self.follow()
        self.systemctl("start", UNIT, check=False)
        assert self.show("ActiveState") == "active", self.story()
        self.wait_for("service.ready")

    def main_pid(self) -> int:
        """Return the service's process, as the machine counts."""
        return int(self.show("MainPID"))

    def processes(self) -> set[int]:
        """Return all processes of the unit."""
        group = self.show("ControlGroup")
        found = self.box.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=False)
        return {int(word) for word in found.stdout.split()}

    def command(self, *words: str, user: str = "root") -> subprocess.CompletedProcess[str]:
        """Run one of the program's commands as a user."""
        return self.as_user(user, f"{PREFIX}/bin/{NAME}", *words)

    def as_user(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command with the rights of a user and of all its groups."""
        rights = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--")
        return self.box.run(*rights, *words, check=False)

    def reset(self) -> None:
        """Stop the service and take away what it knows and made, and its runs."""
        self.unfollow()
        self.systemctl("stop", UNIT)
        self.systemctl("reset-failed", UNIT, check=False)
        for place in (DATA, L0, L1, STATE):
            self.box.run("find", place, "-mindepth", "1", "-delete")
        self.configure(CONFIG)
