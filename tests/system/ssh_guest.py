"""A Dask client of a cluster, as a script: ``ssh_guest.py SCHEDULER_FILE COMMAND ...``.

It writes what it found as JSON. Its functions run on workers.
"""

import json
import os
import sys
import time
from pathlib import Path

from distributed import Client

from panoseti_zarr.cluster.dask_backend.scheduler_file import find_scheduler
from panoseti_zarr.config import TlsConfig


def look(dask_worker):
    """Say of a worker what it is and has done."""
    mask = os.umask(0)
    os.umask(mask)
    return {
        "n_tasks": dask_worker.state.executed_count,
        "umask": mask,
        "memory_limit": dask_worker.memory_manager.memory_limit,
        "scratch": dask_worker.local_directory,
    }


def write_stderr(n_bytes):
    """Write lines on stderr."""
    line = "x" * 99 + "\n"
    for _ in range(n_bytes // len(line)):
        sys.stderr.write(line)
    return os.getpid()


def hold_tasks(directory):
    """Have each chunk task of this process wait, once it has read, until a file is there."""
    from panoseti_zarr.io.fs import failpoints

    def wait(step):
        if step == "chunk.read":
            Path(directory, "held").touch()
            while not Path(directory, "go").exists():
                time.sleep(0.01)
            Path(directory, "gone").touch()

    failpoints.listen(wait)


def main(file, command, *arguments):
    address, security = find_scheduler(file, TlsConfig())
    with Client(address, security=security, set_as_default=False, timeout=20) as client:
        if command == "look":
            found = client.run(look)
        elif command == "write_stderr":
            found = client.run(write_stderr, int(arguments[0]))
        elif command == "run_on":
            done = client.submit(os.getpid, pure=False, workers=arguments[0])
            found = done.result(timeout=30)
        elif command == "hold":
            workers = [a for a in client.nthreads() if arguments[0] in a]
            found = client.run(hold_tasks, arguments[1], workers=workers)
        sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
