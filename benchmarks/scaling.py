"""Measure what docs/scaling.md tells: a cluster on three hosts of this machine; root only.

The hosts are the network namespaces of the system tests: they share this machine's processors.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent / "tests" / part) for part in ("", "system")]

from ssh_hosts import SshHosts, cluster_config, wait_until  # noqa: E402

from panoseti_zarr.cluster import Executor, make_executor  # noqa: E402
from panoseti_zarr.config import load_config  # noqa: E402
from panoseti_zarr.io.simulate import RunPlan, StreamPlan, simulate_run  # noqa: E402

COMMAND = (sys.executable, "-m", "panoseti_zarr")
N_TASKS = 3000


def nothing(number: int) -> int:
    """Do nothing, as a task."""
    return number


def time_tasks(executor: Executor, n_at_once: int) -> float:
    """Return how many tasks a second pass through, this many under way at once."""
    running = deque()
    began_s = time.perf_counter()
    for number in range(N_TASKS):
        if len(running) == n_at_once:
            running.popleft().result()
        running.append(executor.submit(nothing, number))
    for future in running:
        future.result()
    return N_TASKS / (time.perf_counter() - began_s)


def guest(config: str, scheduler: str) -> None:
    """Print tasks per second of a cluster: one at once, and 64."""
    with make_executor(load_config(Path(config)), scheduler=scheduler or None) as executor:
        time_tasks(executor, 8)
        print(json.dumps([round(time_tasks(executor, n)) for n in (1, 64)]))


def measure(base: Path, hosts: SshHosts) -> None:
    """Print all figures."""
    local = base / "local.toml"
    local.write_text(
        '[cluster]\nuse_cluster = true\ntype = "local"\n'
        "[cluster.local]\nn_workers = 2\nthreads_per_worker = 1\ndashboard_port = 0\n"
    )
    plain, ssh, file = base / "plain.toml", base / "ssh.toml", base / "run" / "scheduler.json"
    plain.write_text("")
    ssh.write_text(cluster_config(hosts))
    run = simulate_run(base / "data", RunPlan((StreamPlan("img16", 1, 200_000),)))
    n_bytes = sum(path.stat().st_size for path in run.glob("*.pff"))
    print(f"{os.cpu_count()} processors; the run has {n_bytes / 1e6:.0f} MB")
    began_s = time.perf_counter()
    words = [*COMMAND, "cluster", str(ssh), str(file)]
    cluster = hosts.start("a", *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(file.exists)
        print(f"the cluster is up after {time.perf_counter() - began_s:.1f} s")
        for name, config, scheduler in (("local", local, ""), ("ssh", ssh, str(file))):
            script = (sys.executable, __file__, str(config), scheduler)
            done = hosts.run("a", *script)
            print(f"{name}: tasks/s, 1 and 64 at once: {done.stdout.strip() or done.stderr}")
        ways = {"threads": (plain, ()), "local": (local, ()), "ssh": (ssh, (str(file),))}
        seconds = {name: [] for name in ways}
        for number in range(3):
            for name, (config, more) in ways.items():
                l0_dir = base / f"{name}{number}"
                words = [*COMMAND, "convert", "--json", str(run), str(l0_dir), str(config), *more]
                done = hosts.run("a", *words)
                seconds[name].append(json.loads(done.stdout)["streams"][0]["seconds"])
        for name, taken in seconds.items():
            middle = statistics.median(taken)
            print(f"convert, {name}: {middle:.2f} s, {n_bytes / middle / 1e6:.0f} MB/s {taken}")
    finally:
        cluster.terminate()
        cluster.wait()


def main() -> None:
    """Measure; with arguments, as a guest of a cluster."""
    if len(sys.argv) > 1:
        guest(*sys.argv[1:])
        return
    with tempfile.TemporaryDirectory() as base, SshHosts(Path(base)) as hosts:
        measure(Path(base), hosts)


if __name__ == "__main__":
    main()
