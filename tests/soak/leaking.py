"""A service that leaks on purpose: ``leaking.py KIND serve ...``.

Each end of a job leaves 100 kB of memory, a descriptor or a thread behind; or (``messages``) each
connection of Dask keeps its last 1,000 messages.
"""

import os
import sys
import threading

LEFT: list[object] = []


def leave(kind: str) -> None:
    """Leave something behind."""
    if kind == "memory":
        LEFT.append(os.urandom(100_000))
    elif kind == "descriptor":
        LEFT.append(os.open(os.devnull, os.O_RDONLY))
    elif kind == "thread":
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def main() -> None:
    """Let the end of a job leak, and be the service."""
    import dask

    from panoseti_zarr.cli.app import main as run_command
    from panoseti_zarr.cluster.dask_backend import dask_config
    from panoseti_zarr.daemon.state.job_queue import JobQueue

    kind = sys.argv.pop(1)
    if kind == "messages":
        name = "distributed.admin.low-level-log-length"
        dask.config.set({name: 50 * dask_config.DASK_SETTINGS[name]})
    end = JobQueue._end

    def leaking_end(self, event):
        leave(kind)
        return end(self, event)

    JobQueue._end = leaking_end
    run_command()


if __name__ == "__main__":
    main()
