"""Record in real time while the service follows: lag, processor time, L1 after the end.

    python benchmarks/live.py --seconds 180 --modules 8 --rate 1000
    python benchmarks/live.py --kills 2

A reader looks into every store four times a second meanwhile: it must see more and more frames,
and what it reads must be what the files hold. With ``--kills`` the service is killed and started
again as many times. At the end each store is compared with that of one conversion.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

import panoseti_zarr

COMMAND = (sys.executable, "-m", "panoseti_zarr")
LOOK_S = 0.25
N_READ = 256
"""Frames at the end of a store that each look reads whole."""


@dataclass
class Reader:
    """Looks into stores that grow.

    Attributes
    ----------
    counts : dict of str to int
        Frames last seen, by store.
    stale_s : float
        The longest that the newest frame of a store was old when a look came, seconds.
    samples : dict
        Pixels and times that looks have read, to be compared at the end: by store, lists of
        (first frame, images, times).
    """

    l0_dir: Path
    over: threading.Event = field(default_factory=threading.Event)
    counts: dict[str, int] = field(default_factory=dict)
    stale_s: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[tuple[int, Any, Any]]] = field(default_factory=dict)
    n_looks: int = 0

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(LOOK_S):
            for path in self.l0_dir.glob("*.zarr"):
                self._look(path)

    def _look(self, path: Path) -> None:
        stream = panoseti_zarr.open_stream(path)
        n_frames = stream.sizes["time"]
        before = self.counts.get(path.name, 0)
        if n_frames < before:
            raise SystemExit(f"{path.name}: {n_frames} frames after {before}")
        newest = stream.timestamps[-1:].values.astype("datetime64[ns]").astype(np.int64)[0]
        stale_s = time.time() - newest / 1e9
        self.stale_s[path.name] = max(stale_s, self.stale_s.get(path.name, 0.0))
        self.n_looks += 1
        if n_frames == before:
            return
        self.counts[path.name] = n_frames
        first = max(0, n_frames - N_READ)
        part = stream.isel(time=slice(first, None))
        sample = (first, part.images.values.copy(), part.timestamps.values.copy())
        self.samples.setdefault(path.name, []).append(sample)

    def assert_right(self) -> int:
        """Compare what was read with the closed stores; return how many samples there were."""
        for name, samples in self.samples.items():
            stream = panoseti_zarr.open_stream(self.l0_dir / name)
            for first, images, times in samples:
                part = stream.isel(time=slice(first, first + len(times)))
                if not (part.images.values == images).all():
                    raise SystemExit(f"{name}: frames from {first} on were read wrong")
                if not (part.timestamps.values == times).all():
                    raise SystemExit(f"{name}: times from {first} on were read wrong")
        return sum(map(len, self.samples.values()))


class Service:
    """The service in a process of its own, and its log."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.events: list[dict[str, Any]] = []
        self.cpu_s = 0.0

    def start(self) -> None:
        """Start it."""
        words = [*COMMAND, "serve", "--config", str(self._config)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        self._thread = threading.Thread(target=self._read, args=(self._process,))
        self._thread.start()

    def stop(self, number: int) -> None:
        """End it with a signal, and count its processor time, that of its children included."""
        self._process.send_signal(number)
        _, _, usage = os.wait4(self._process.pid, 0)
        self.cpu_s += usage.ru_utime + usage.ru_stime
        self._process.returncode = 0
        self._thread.join()

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait for an event."""
        while True:
            for found in list(self.events):
                if found["event"] == event:
                    return found
            time.sleep(0.2)

    def cpu_now_s(self) -> float:
        """Return its processor time so far, seconds; of worker processes that ended, too."""
        return self.cpu_s + sum(_cpu_s(pid) for pid in _tree(self._process.pid))

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self.events.append(json.loads(line))


def _tree(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    return [pid, *(p for child in children for p in _tree(int(child)))]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def at(event: dict[str, Any]) -> float:
    """Return the Unix time of an event."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()


def main() -> None:
    """Record, follow, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=180)
    parser.add_argument("--modules", type=int, default=8)
    parser.add_argument("--rate", type=int, default=1000, help="frames per second of a module")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--cluster", action="store_true", help="two local Dask workers")
    parser.add_argument("--dir", help="where; else a temporary directory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as directory:
        measure(Path(directory), options)


def measure(base: Path, options: argparse.Namespace) -> None:
    """Do it below a directory."""
    data, l0, l1, state = (base / name for name in ("data", "l0", "l1", "state"))
    data.mkdir()
    l0.mkdir()
    cluster = "[cluster]\nuse_cluster = true\n[cluster.local]\nn_workers = 2\ndashboard_port = 0\n"
    config = base / "config.toml"
    config.write_text(
        f'[daemon]\ndata_root = "{data}"\nl0_dir = "{l0}"\nl1_dir = "{l1}"\nstate_dir = "{state}"\n'
        f"follow = true\nmin_free_gb = 0\n{cluster if options.cluster else ''}"
    )
    service, reader = Service(config), Reader(l0)
    service.start()
    service.wait_for("service.ready")
    thread = threading.Thread(target=reader.run)
    thread.start()
    modules = [word for n in range(options.modules) for word in ("--module", str(n + 1))]
    frames = str(options.seconds * options.rate)
    words = [*COMMAND, "simulate", str(data), "--live", "--rate", str(options.rate)]
    simulator = subprocess.Popen([*words, "--frames", frames, *modules], stdout=subprocess.PIPE)
    began_s, cpu_s = time.time(), service.cpu_now_s()
    for kill in range(options.kills):
        time.sleep(
            max(0.0, began_s + (kill + 1) * options.seconds / (options.kills + 1) - time.time())
        )
        service.stop(signal.SIGKILL)
        service.start()
    run = Path(simulator.communicate()[0].decode().strip())
    recorded_s = time.time() - began_s
    cpu_s = service.cpu_now_s() - cpu_s
    service.wait_for("run.completed")
    reader.over.set()
    thread.join()
    service.stop(signal.SIGTERM)
    report(service.events, reader, options, cpu_s / recorded_s)
    subprocess.run(
        [*COMMAND, "convert", str(run), str(base / "expected")],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    n_chunks = compare_chunks(l0, base / "expected")
    print(f"{reader.assert_right()} reads of growing stores, in {reader.n_looks} looks: all right")
    print(f"{n_chunks} chunks, each as of one conversion")


def compare_chunks(found: Path, expected: Path) -> int:
    """Compare every chunk of the stores in two directories; return how many there are."""
    chunks = [p for p in expected.rglob("*") if p.is_file() and "/c/" in str(p)]
    for path in chunks:
        if path.read_bytes() != (found / path.relative_to(expected)).read_bytes():
            raise SystemExit(f"{path} differs from one conversion")
    return len(chunks)


def report(
    events: list[dict[str, Any]], reader: Reader, options: argparse.Namespace, cores: float
) -> None:
    """Print what the log tells."""
    commits = [event for event in events if event["event"] == "stream.committed"]
    finished = next(event for event in events if event["event"] == "run.finished")
    live = [event for event in commits if at(event) < at(finished)]
    oldest = [event["lag_s"] + event["n_new_frames"] / options.rate for event in live]
    l1 = [at(event) - at(finished) for event in events if event["event"] == "l1.finished"]
    bad = {e["event"] for e in events if e["level"] not in {"info", "debug"}}
    lines = [
        f"{options.modules} x {options.rate} frames/s, {options.seconds} s, {options.kills} kills",
        f"lag of the oldest frame of a commit: most {max(oldest):.1f} s; of the newest: most "
        f"{max(event['lag_s'] for event in live):.1f} s ({len(live)} commits while recorded)",
        f"a reader's newest frame: at most {max(reader.stale_s.values()):.1f} s old",
        f"processor: {cores:.2f} cores on average while recorded",
        f"L1 after run.finished: the last of {len(l1)} after {max(l1):.1f} s",
        f"warnings and errors: {sorted(bad) or 'none'}",
    ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
