"""The commands, in a process that sends itself SIGKILL at a step.

The variable ``KILL_AT`` holds names of steps: once each was taken, one after the other, it dies.
"""

import os
import signal

from panoseti_zarr.cli.app import main
from panoseti_zarr.io.fs import failpoints

KILL_AT = os.environ.get("KILL_AT", "").split()


def on_step(step: str) -> None:
    """Die at the last of the steps."""
    if KILL_AT and step == KILL_AT[0]:
        del KILL_AT[0]
        if not KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if KILL_AT:
        failpoints.listen(on_step)
    main()
