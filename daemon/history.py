"""The recent events, kept so that a failure of the state machine can be replayed.

`History` keeps the last events and a checkpoint of the state machine from before them. When an
invariant is violated, the service writes both to its state directory. Replay such a file with

    python -m panoseti_zarr.daemon.history FILE

in the version of panoseti-zarr that wrote it. The file is a pickle: open only those of your own.
"""

from __future__ import annotations

import gzip
import pickle
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from panoseti_zarr import __version__
from panoseti_zarr.daemon.state.events import Event
from panoseti_zarr.daemon.state.instructions import Instruction
from panoseti_zarr.daemon.state.machine import ServiceStateMachine
from panoseti_zarr.errors import InvariantError

N_EVENTS = 2048
"""Events between two checkpoints: at least as many are kept, at most twice as many."""

N_FILES = 5
"""Files that are kept; older ones are deleted."""


@dataclass(frozen=True)
class _Segment:
    """A checkpoint, and the events since."""

    checkpoint: bytes
    events: list[Event]


@dataclass(frozen=True)
class SavedHistory:
    """The content of a history file."""

    version: str
    reason: str
    checkpoint: bytes
    events: list[Event]


class History:
    """Keeps the events that a state machine handled last.

    Parameters
    ----------
    machine : ServiceStateMachine
    """

    def __init__(self, machine: ServiceStateMachine) -> None:
        self._machine = machine
        self._before: _Segment | None = None
        self._now = self._checkpoint()

    def record(self, event: Event) -> None:
        """Keep an event that the machine is about to handle."""
        if len(self._now.events) >= N_EVENTS:
            self._before, self._now = self._now, self._checkpoint()
        self._now.events.append(event)

    def saved(self, reason: str) -> SavedHistory:
        """Return what is kept; ``reason`` says what went wrong."""
        first = self._before or self._now
        events = first.events + (self._now.events if self._before else [])
        return SavedHistory(__version__, reason, first.checkpoint, events)

    def save(self, directory: Path, reason: str) -> Path:
        """Write what is kept to a new file; return its path.

        Parameters
        ----------
        directory : Path
        reason : str
            The failure, in one line.

        Raises
        ------
        OSError
        """
        path = directory / f"history-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.pickle.gz"
        path.write_bytes(gzip.compress(pickle.dumps(self.saved(reason))))
        for old in sorted(directory.glob("history-*.pickle.gz"))[:-N_FILES]:
            old.unlink(missing_ok=True)
        return path

    def _checkpoint(self) -> _Segment:
        return _Segment(pickle.dumps(self._machine), [])


def load(path: Path) -> SavedHistory:
    """Read a file that `History.save` wrote.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is no such file.
    """
    saved = pickle.loads(gzip.decompress(path.read_bytes()))  # noqa: S301 - see the module
    if not isinstance(saved, SavedHistory):
        raise ValueError(f"{path}: not a history of panoseti-zarr")
    return saved


def replay(saved: SavedHistory) -> Iterator[tuple[Event, list[Instruction], ServiceStateMachine]]:
    """Handle the events again; give each with its instructions and the machine after it.

    Raises
    ------
    InvariantError
        The machine's own invariants do not hold after the event given last.
    """
    machine: ServiceStateMachine = pickle.loads(saved.checkpoint)  # noqa: S301 - see the module
    for event in saved.events:
        instructions = machine.handle(event)
        yield event, instructions, machine
        machine.validate()


def main(path: str) -> int:
    """Print a file's events with their instructions; return 1 where an invariant breaks."""
    saved = load(Path(path))
    print(f"panoseti-zarr {saved.version}: {saved.reason}")  # noqa: T201 - a command
    try:
        for event, instructions, _ in replay(saved):
            print(event)  # noqa: T201
            for instruction in instructions:
                print(f"    {instruction}")  # noqa: T201
    except InvariantError as error:
        print(f"violated: {error}")  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
