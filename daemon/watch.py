"""Notice changes between rescans: hints, on which nothing depends.

A root is watched for its children, a run that is not done for its files, neither below that.
Where inotify does not see what other machines do (network file systems), directories are polled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from daemon.mounts import mount_of

if TYPE_CHECKING:
    from watchdog.observers.api import BaseObserver, ObservedWatch

MAX_RUN_WATCHES = 64
"""Runs that are watched at once; the rescan sees the others."""

_POLL_S = 5.0
# Neither reads, which are ours too, nor each write to a growing file.
_TELLING: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
]

Hint = Callable[[str, str | None], None]


class Watcher:
    """Watches roots and runs; not for several threads at once.

    Parameters
    ----------
    mode : str
        ``inotify``, ``polling`` or ``auto``.
    hint : callable
        Called from a watching thread with a root and the name of a run in it, or None.
    """

    def __init__(self, mode: str, hint: Hint) -> None:
        self._mode = mode
        self._hint = hint
        self._observers: dict[str, BaseObserver] = {}
        self._roots: dict[str, tuple[int, int, ObservedWatch]] = {}
        self._runs: dict[tuple[str, str], ObservedWatch] = {}

    def watch_root(self, root: str) -> None:
        """Watch a root, anew where it is another directory than before or its watch has died.

        A new watch gives a hint at once, for what happened before it was there.

        Raises
        ------
        OSError
            It cannot be watched.
        """
        status = os.stat(root)
        identity = (status.st_dev, status.st_ino)
        observer = self._observer(root)
        if root in self._roots:
            if self._roots[root][:2] == identity:
                return
            _unschedule(observer, self._roots.pop(root)[2])
        self._roots[root] = (*identity, self._schedule(root, root))
        self._hint(root, None)

    def watch_run(self, root: str, run: str) -> None:
        """Watch a run directory, unless many are watched already; hints as `watch_root`.

        Raises
        ------
        OSError
            It cannot be watched.
        """
        if (root, run) not in self._runs and len(self._runs) < MAX_RUN_WATCHES:
            self._runs[root, run] = self._schedule(root, os.path.join(root, run))
            self._hint(root, run)

    def unwatch_run(self, root: str, run: str) -> None:
        """Watch a run directory no longer."""
        if watch := self._runs.pop((root, run), None):
            _unschedule(self._observer(root), watch)

    def close(self) -> None:
        """End all watching."""
        for observer in self._observers.values():
            observer.stop()

    def _schedule(self, root: str, path: str) -> ObservedWatch:
        handler = _Handler(root, self._hint)
        return self._observer(root).schedule(handler, path, event_filter=_TELLING)

    def _observer(self, root: str) -> BaseObserver:
        """Return the running observer for a root; one that has died is replaced."""
        polls = self._mode == "polling" or (
            self._mode == "auto" and mount_of(Path(root)).is_network
        )
        kind = "polling" if polls else "inotify"
        observer = self._observers.get(kind)
        if observer is not None and not observer.is_alive():
            self._roots.clear()
            self._runs.clear()
            observer = None
        if observer is None:
            observer = PollingObserver(timeout=_POLL_S) if polls else Observer()
            observer.daemon = True
            observer.start()
            self._observers[kind] = observer
        return observer


class _Handler(FileSystemEventHandler):
    """Turns what happened in a root or a run into a hint."""

    def __init__(self, root: str, hint: Hint) -> None:
        super().__init__()
        self._root = root
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Give a hint for each place that an event names."""
        for place in {os.fsdecode(event.src_path), os.fsdecode(event.dest_path or b"")}:
            if place:
                first = os.path.relpath(place, self._root).split(os.sep)[0]
                self._hint(self._root, first if first.endswith(".pffd") else None)


class HintOnce:
    """Passes each hint on once, until it was taken: floods of notices need no memory.

    Parameters
    ----------
    tell : callable
        As `Watcher` calls it.
    """

    def __init__(self, tell: Hint) -> None:
        self._tell = tell
        self._pending: set[tuple[str, str | None]] = set()
        self._lock = threading.Lock()

    def __call__(self, root: str, run: str | None) -> None:
        """Pass a hint on, unless the same one waits to be taken."""
        with self._lock:
            if (root, run) in self._pending:
                return
            self._pending.add((root, run))
        self._tell(root, run)

    def taken(self, root: str, run: str | None) -> None:
        """Note that a hint was taken: the same one counts again."""
        with self._lock:
            self._pending.discard((root, run))


def _unschedule(observer: BaseObserver, watch: ObservedWatch) -> None:
    try:
        observer.unschedule(watch)
    except KeyError:
        # The observer that had it has died.
        return
